"""TC-AUDIT-002 to 004: events over several services, of a service that is killed, and among thousands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofload.cases.accounts import LOG_IN
from proofload.cases.audit.capture import AUDITED_EVENTS
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.fault_control import can_break
from proofload.cases.isolation import service_of, too_few_to_trip
from proofload.cases.metrics_and_audit import (
    EVERYWHERE,
    audited_event,
    log_evidence,
    note_secrets,
    read_log,
    with_wrong_password,
)
from proofload.cases.reads import GUARDED, guarded, without_token
from proofload.cases.requirement import Missing, Requirement
from proofload.core.seeds import stream
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import ExpectedEvent, expect, judge_audit
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import text_of
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.operation import Operation
from proofload.plan.policies import AuditPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.fault_edge import spans

_PAYERS, _EACH, _AT_ONCE = 3, 5, 8
_ODD = ("two words", "<b>markup</b>", '{"event":"x"}', "x" * 3000)
UNCHECKED = "audit.request_id_unchecked"
_CORRELATED = ("audit.missing", "audit.duplicated", "audit.phantom", "audit.wrong_user", *EVERYWHERE)
_MOST_USERS = 4
_TRIES = 60
_RUN_UP_NS = 3 * NS_PER_SECOND // 2
_DEAD_NS = 15 * NS_PER_SECOND
_FLOODERS, _FLOOD_EACH = 48, 75
DENIED, FAILED = "access_denied", "login_failed"
_LOST = ("audit.missing", *EVERYWHERE)


@dataclass(frozen=True, slots=True)
class MortalLogin:
    """An audit log with failed log-ins, the log-in, and its service, which can be killed."""

    audit: AuditPolicy
    login: str
    service: str


def _correlated(target: Target) -> AuditPolicy | Missing:
    policy = AUDITED_EVENTS.find(target)
    if isinstance(policy, Missing) or policy.tells:
        return policy
    return Missing("the target does not say which events an operation leaves (audit.tells)")


def _mortal_login(target: Target) -> MortalLogin | Missing:
    found = (audited_event(FAILED) & LOG_IN).find(target)
    if isinstance(found, Missing):
        return found
    audit, login = found
    service = service_of(target, login)
    if service is None or not can_break(target, service, "kill"):
        return Missing(
            "the service of the log-in can't be killed, and seen to be (faults: supervised or docker, and "
            "services.NAME.health)"
        )
    return MortalLogin(audit, login, service)


CORRELATED = Requirement("audit log that says which events an operation leaves", "policies.audit.tells", _correlated)
MORTAL_LOGIN = Requirement(
    "audit log with failed log-ins, whose service can be killed",
    "policies.audit.events.login_failed, users.login, faults (supervised or docker) of the log-in's service",
    _mortal_login,
)
DENIALS = audited_event(DENIED) & GUARDED


@case(
    "TC-AUDIT-002",
    "Audit events over several services",
    Category.AUDIT,
    Priority.HIGH,
    phase=5,
    requires=CORRELATED,
    uses=lambda _: (),
    takes=lambda policy: policy.arrives_within + 6 * NS_PER_SECOND,
)
async def correlation(run: CaseContext, policy: AuditPolicy) -> None:
    """What one request does in several services can be told from the log, by its id; and only what it did.

    Sends: operations that leave events in several services, by several users; the same many times at once for
        one user, so that most are refused; and request ids with blanks, markup and kilobytes
    Passes when: each success left all of its events under its request id, no refusal left any, and no odd id
        was written down
    Reading FAIL: the finding names the request and the event that is missing, or that tells of what did not
        happen
    Least evidence: 10 events of requests that succeeded
    """
    names = sorted(policy.tells)
    accounts = await run.accounts(_PAYERS)
    run.note("names", [account.name for account in accounts])
    note_secrets(run, accounts)
    canary = f"canary{stream(run.seed, 'request ids').getrandbits(48):012x}"
    run.note("canary", canary)
    name = guarded(run.target)
    denied = run.target.operations[name] if name else None
    async with run.undisturbed(*names):
        await run.readings.begin_audit()
        run.doing("doing what leaves events in several services")
        sources = run.sources(_PAYERS)
        await run.run(run.crowd("done", _in_turn(names), _PAYERS, 1, accounts=accounts, sources=sources))
        for name in names:
            burst = run.burst(f"refused {name}", _once(name), _AT_ONCE, account=accounts[0], source=run.source())
            await run.run(burst)
        await run.run(run.steps("odd", _odd(names[0], denied, canary), account=accounts[0], source=run.source()))
        await _read_later(run, policy)


@correlation.judge
def judge_correlation(evidence: Evidence, policy: AuditPolicy) -> list[Finding]:
    """TC-AUDIT-002: each success left its events in every service under one request id, and no refusal left any."""
    names = evidence.facts.get("names", [])
    expected: list[ExpectedEvent] = []
    forbidden: list[ExpectedEvent] = []
    status, operation = evidence.history.numbers("status"), evidence.history.frame["operation"].to_list()
    steps = ("done", *(f"refused {name}" for name in sorted(policy.tells)))
    for rows, users in ((rows_of(evidence, step), _users(evidence, step, names)) for step in steps):
        for name, events in policy.tells.items():
            mine = [int(row) for row in rows if operation[row] == name]
            good = [row for row in mine if status[row] == 0 or 200 <= status[row] < 300]
            bad = [row for row in mine if status[row] >= 400]
            for event in events:
                expected += expect(evidence.history, good, event, users=users)
                forbidden += expect(evidence.history, bad, event)
    if error := evidence.ledgers.facts.get("audit.error"):
        return [Finding("audit.missing", Outcome.INCONCLUSIVE, f"the audit log could not be read: {error}")]
    found = judge_audit(
        policy, evidence.ledgers, expected, log_evidence(evidence), forbidden=forbidden, needed=2 * _EACH
    )
    return delivered(evidence, [*(one for one in found if one.rule in _CORRELATED), _unchecked(evidence, policy)])


def _unchecked(evidence: Evidence, policy: AuditPolicy) -> Finding:
    """Return whether a request id that holds blanks, markup or kilobytes was believed and written down."""
    canary = str(evidence.facts.get("canary", ""))
    sent = len(rows_of(evidence, "odd"))
    ids = [(one, text_of(policy, one, "request_id")) for one in decode(policy, evidence.ledgers.audit)]
    kept = [(one, given) for one, given in ids if canary and canary in given]
    if kept:
        says = f"{len(kept)} entries hold a request id as a client made it up, with blanks, markup or kilobytes"
        shown = tuple(f"{one.source}:{one.line}: {given[:60]!r}" for one, given in kept[:4])
        look = "where the request id of a client is taken over: keep it only if it is short and harmless"
        return Finding(UNCHECKED, Outcome.FAIL, says, sent, 1, shown=shown, look_at=look)
    return held(UNCHECKED, f"none of {sent} odd request ids stands in the log", examined=sent, needed=len(_ODD))


def _in_turn(names: Sequence[str]) -> Script:
    async def script(user: User) -> None:
        # The money for what costs some comes first where operations are named by what they do, and else is missing:
        # a refusal is as good, for it must leave no event.
        for _ in range(_EACH):
            for name in names:
                await user.request(name, keep_body=True)

    return script


def _once(name: str) -> Script:
    async def script(user: User) -> None:
        await user.request(name, keep_body=True)

    return script


def _odd(name: str, denied: Operation | None, canary: str) -> Script:
    async def script(user: User) -> None:
        for odd in _ODD:
            headers = {"X-Request-ID": f"{canary} {odd}"}
            await user.request(name, headers=headers, keep_body=True)
            if denied is not None:
                # Refused by whoever stands in front, who may be another writer of the log.
                await without_token(user, denied, {**headers, "Authorization": "Bearer none"})

    return script


@case(
    "TC-AUDIT-003",
    "Audit integrity when a service dies",
    Category.AUDIT,
    Priority.HIGH,
    phase=5,
    requires=MORTAL_LOGIN,
    breaks=lambda found: (found.service,),
    takes=lambda found: found.audit.arrives_within + 7 * NS_PER_SECOND,
    alone=True,
)
async def killed(run: CaseContext, found: MortalLogin) -> None:
    """What was answered is on record, though the service is killed the moment after.

    Sends: failing log-ins by a few users, while their service is killed on a lease, seen by a probe
    Passes when: each failed log-in that was answered stands in the log
    Reading FAIL: the finding names the requests whose event died with the service
    Least evidence: 5 failed log-ins that were answered before the kill
    """
    service = found.service
    count = too_few_to_trip(run.target, service, _MOST_USERS)
    accounts = await run.accounts(count)
    wrong = [with_wrong_password(account) for account in accounts]
    note_secrets(run, accounts, wrong)
    async with run.turn():
        await run.readings.begin_audit()
        run.doing("failing to log in, until the service dies")
        script = _until_cut_off(found.login, polite_count(run.target, _TRIES, operations=[found.login]))
        crowd = run.crowd("failing", script, count, 1, accounts=wrong, sources=run.sources(count))
        failing = asyncio.create_task(run.run(crowd))
        try:
            await run.clock.sleep_until_ns(run.clock.now_ns() + _RUN_UP_NS)
            async with run.fault(service, "kill", _DEAD_NS):
                await failing
        finally:
            failing.cancel()
        await _read_later(run, found.audit)


def _until_cut_off(login: str, count: int) -> Script:
    async def script(user: User) -> None:
        for _ in range(count):
            if (await user.request(login, keep_body=True)).status not in (401, 403):
                return

    return script


@killed.judge
def judge_killed(evidence: Evidence, found: MortalLogin) -> list[Finding]:
    """TC-AUDIT-003: what was answered before the service died stands in the log."""
    if not any(span.held for span in spans(evidence.edges)):
        says = "the service was not proven to have been killed"
        return delivered(evidence, [Finding("audit.missing", Outcome.INCONCLUSIVE, says)])
    return delivered(evidence, _lost(evidence, found.audit, "failing", FAILED, needed=5))


@case(
    "TC-AUDIT-004",
    "Thousands of audit events",
    Category.AUDIT,
    Priority.MEDIUM,
    phase=5,
    requires=DENIALS,
    uses=lambda found: (found[1],),
    takes=lambda found: found[0].arrives_within + 7 * NS_PER_SECOND,
)
async def flood(run: CaseContext, found: tuple[AuditPolicy, str]) -> None:
    """Not one event of thousands is lost, and their rate can be watched.

    Sends: 3600 requests without a token, while no other case sends, between two readings of the counters
    Passes when: each stands in the log, and the counter of events, where one is declared, rose by as many
    Reading FAIL: the finding names the requests that are missing, or what the counter shows
    Least evidence: 2,000 denied requests
    """
    audit, name = found
    async with run.exclusive():
        await run.readings.begin_audit()
        await run.readings.services("before")
        run.doing("being denied some thousand times")
        each = polite_count(run.target, _FLOOD_EACH, operations=[name])
        operation = run.target.operations[name]

        async def denied(user: User) -> None:
            await without_token(user, operation)

        await run.run(run.crowd("denied", denied, _FLOODERS, each, sources=run.sources(_FLOODERS)))
        await _read_later(run, audit)
        await run.readings.services("after")


@flood.judge
def judge_flood(evidence: Evidence, found: tuple[AuditPolicy, str]) -> list[Finding]:
    """TC-AUDIT-004: not one of thousands of events is lost, and their counter tells how many there were."""
    return delivered(
        evidence, [*_lost(evidence, found[0], "denied", DENIED, needed=2000), *_counted(evidence, found[0])]
    )


def _counted(evidence: Evidence, audit: AuditPolicy) -> list[Finding]:
    """Return whether the counters of events, over all services, rose by as much as we brought about."""
    metrics, rule = evidence.target.policies.metrics, "audit.not_counted"
    if metrics is None or metrics.audit_events is None:
        return []
    rows = rows_of(evidence, "denied")
    status = evidence.history.numbers("status")[rows]
    surely, perhaps = int(np.isin(status, (401, 403)).sum()), int((status == 0).sum())
    event = audit.events[DENIED]
    sums: dict[str, float] = {"before": 0.0, "after": 0.0}
    for reading in evidence.ledgers.readings:
        if reading.error:
            return [Finding(rule, Outcome.INCONCLUSIVE, f"{reading.source} could not be read: {reading.error}")]
        for sample in reading.samples:
            if sample.name == metrics.audit_events and sample.labels.get("event") == event:
                sums[reading.label.rpartition("/")[2]] += sample.value
    if not any(sample.name == metrics.audit_events for one in evidence.ledgers.readings for sample in one.samples):
        says = f"no page that was read has {metrics.audit_events}: check policies.metrics.audit_events"
        return [Finding(rule, Outcome.INCONCLUSIVE, says, surely, 100)]
    rose = round(sums["after"] - sums["before"])
    says = f"{surely} requests were denied, and {metrics.audit_events} of {event} rose by {rose}"
    if rose < surely or (metrics.exclusive and rose > surely + perhaps):
        look = "where the counter of events is raised: beside each write of the log, once"
        return [Finding(rule, Outcome.FAIL, says, surely, 100, shown=(says,), look_at=look, figures={"rose": rose})]
    return [held(rule, says, examined=surely, needed=100)]


def _lost(evidence: Evidence, audit: AuditPolicy, step: str, event: str, *, needed: int) -> list[Finding]:
    rows = rows_of(evidence, step)
    status = evidence.history.numbers("status")[rows]
    # What was never answered was never acknowledged: it may stand in the log or not.
    expected = expect(evidence.history, rows[np.isin(status, (0, 401, 403))].tolist(), event)
    found = judge_audit(audit, evidence.ledgers, expected, log_evidence(evidence), needed=needed)
    return [one for one in found if one.rule in _LOST]


async def _read_later(run: CaseContext, policy: AuditPolicy) -> None:
    later_ns = run.clock.now_ns() + policy.arrives_within + NS_PER_SECOND // 2
    await run.wait_until_ns(later_ns, "the last events to arrive in the audit log")
    await read_log(run)


def _users(evidence: Evidence, step: str, names: Sequence[str]) -> dict[int, str]:
    rows: NDArray[np.int64] = rows_of(evidence, step)
    numbers = [int(number) for number in np.unique(evidence.history.numbers("user")[rows])]
    if not names:
        return {}
    return {number: names[i] if step == "done" else names[0] for i, number in enumerate(numbers)}
