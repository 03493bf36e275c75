"""TC-AUDIT-002 to 004: events over several services, of a service that is killed, and among thousands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.cases import metrics_and_audit as books
from proofload.cases.accounts import Account
from proofload.cases.audit.capture import missing as missing_log
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.core.seeds import stream
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import AuditEvidence, ExpectedEvent, expect, judge_audit
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
_CORRELATED = ("audit.missing", "audit.duplicated", "audit.phantom", "audit.wrong_user")
_MOST_USERS = 4
_TRIES = 60
_RUN_UP_NS = 3 * NS_PER_SECOND // 2
_DEAD_NS = 15 * NS_PER_SECOND
_KILLS = frozenset({"supervised", "docker"})
_FLOODERS, _FLOOD_EACH = 48, 75
DENIED, FAILED = "access_denied", "login_failed"
_LOST = ("audit.missing",)


def missing_correlation(target: Target) -> str:
    """Return why no operation can be followed through the log, or nothing."""
    if reason := missing_log(target):
        return reason
    return "" if _policy(target).tells else "the target does not say which events an operation leaves (audit.tells)"


async def drive_correlation(lab: Lab) -> None:
    """Do what leaves events in several services, be refused, and bring odd request ids along."""
    names = sorted(_policy(lab.target).tells)
    accounts = await lab.accounts(_PAYERS)
    lab.note("names", [account.name for account in accounts])
    canary = f"canary{stream(lab.seed, 'request ids').getrandbits(48):012x}"
    lab.note("canary", canary)
    guarded = _guarded(lab.target)
    denied = lab.target.operations[guarded] if guarded else None
    async with lab.using(*names):
        lab.begin_audit()
        lab.doing("doing what leaves events in several services")
        sources = lab.sources(_PAYERS)
        await lab.run(lab.crowd("done", _in_turn(names), _PAYERS, 1, accounts=accounts, sources=sources))
        for name in names:
            burst = lab.burst(f"refused {name}", _once(name), _AT_ONCE, account=accounts[0], source=lab.source())
            await lab.run(burst)
        await lab.run(lab.steps("odd", _odd(names[0], denied, canary), account=accounts[0], source=lab.source()))
        await _read_later(lab)


def judge_correlation(evidence: Evidence) -> list[Finding]:
    """TC-AUDIT-002: each success left its events in every service under one request id, and no refusal left any."""
    policy = _policy(evidence.target)
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
    found = judge_audit(policy, evidence.ledgers, expected, _known(evidence), forbidden=forbidden, needed=2 * _EACH)
    return delivered(evidence, [*(one for one in found if one.rule in _CORRELATED), _unchecked(evidence)])


def _unchecked(evidence: Evidence) -> Finding:
    """Return whether a request id that holds blanks, markup or kilobytes was believed and written down."""
    canary = str(evidence.facts.get("canary", ""))
    sent = len(rows_of(evidence, "odd"))
    field = _policy(evidence.target).fields.get("request_id", "request_id")
    kept = [one for one in evidence.ledgers.audit if canary and canary in str((one.fields or {}).get(field, ""))]
    if kept:
        says = f"{len(kept)} entries hold a request id as a client made it up, with blanks, markup or kilobytes"
        shown = tuple(f"{one.source}:{one.line}: {str((one.fields or {}).get(field))[:60]!r}" for one in kept[:4])
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
                await user.get(denied.path, headers={**headers, "Authorization": "Bearer none"}, name=denied.name)

    return script


def missing_killed(target: Target) -> str:
    """Return why no service that writes events can be killed, or nothing."""
    if reason := missing_log(target):
        return reason
    if FAILED not in _policy(target).events or target.users is None or target.users.login is None:
        return f"the target declares no log-in, or no event {FAILED} (users.login, policies.audit.events)"
    name = _login_service(target)
    fault = target.faults.get(name) if name else None
    if name is None or fault is None or fault.driver not in _KILLS:
        return "the service of the log-in can't be killed (faults: supervised or docker)"
    service = target.services.get(name)
    return "" if service and service.health else f"nothing shows that {name} is gone (services.{name}.health)"


async def drive_killed(lab: Lab) -> None:
    """Let a few users fail to log in, kill the service meanwhile, and read the log once it is back."""
    users, service = lab.target.users, _login_service(lab.target)
    assert users is not None
    assert users.login is not None
    assert service is not None
    count = _few(lab.target, service)
    wrong = [Account(one.name, f"{one.password}-wrong", None) for one in await lab.accounts(count)]
    async with lab.turn():
        lab.begin_audit()
        lab.doing("failing to log in, until the service dies")
        script = _until_cut_off(users.login, polite_count(lab.target, _TRIES))
        crowd = lab.crowd("failing", script, count, 1, accounts=wrong, sources=lab.sources(count))
        failing = asyncio.create_task(lab.run(crowd))
        try:
            await lab.clock.sleep_until_ns(lab.clock.now_ns() + _RUN_UP_NS)
            async with lab.fault(service, "kill", _DEAD_NS):
                await failing
        finally:
            failing.cancel()
        await _read_later(lab)


def _until_cut_off(login: str, count: int) -> Script:
    async def script(user: User) -> None:
        for _ in range(count):
            if (await user.request(login, keep_body=True)).status not in (401, 403):
                return

    return script


def judge_killed(evidence: Evidence) -> list[Finding]:
    """TC-AUDIT-003: what was answered before the service died stands in the log."""
    if not any(span.held for span in spans(evidence.edges)):
        says = "the service was not proven to have been killed"
        return delivered(evidence, [Finding("audit.missing", Outcome.INCONCLUSIVE, says)])
    return delivered(evidence, _lost(evidence, "failing", FAILED, needed=5))


def missing_flood(target: Target) -> str:
    """Return why no flood of events can be brought about, or nothing."""
    if reason := missing_log(target):
        return reason
    if DENIED not in _policy(target).events:
        return f"the target declares no event {DENIED} (policies.audit.events)"
    return "" if _guarded(target) else "the target declares no read that needs a token"


async def drive_flood(lab: Lab) -> None:
    """Be denied some thousand times, in silence between two readings of the services' own counts of events."""
    name = _guarded(lab.target)
    assert name is not None
    async with lab.silence():
        lab.begin_audit()
        await lab.read_services("before")
        lab.doing("being denied some thousand times")
        each = polite_count(lab.target, _FLOOD_EACH)
        path = lab.target.operations[name].path

        async def denied(user: User) -> None:
            await user.get(path, name=name)

        await lab.run(lab.crowd("denied", denied, _FLOODERS, each, sources=lab.sources(_FLOODERS)))
        await _read_later(lab)
        await lab.read_services("after")


def judge_flood(evidence: Evidence) -> list[Finding]:
    """TC-AUDIT-004: not one of thousands of events is lost, and their counter tells how many there were."""
    return delivered(evidence, [*_lost(evidence, "denied", DENIED, needed=2000), *_counted(evidence)])


def _counted(evidence: Evidence) -> list[Finding]:
    """Return whether the counters of events, over all services, rose by as much as we brought about."""
    metrics, rule = evidence.target.policies.metrics, "audit.not_counted"
    if metrics is None or metrics.audit_events is None:
        return []
    rows = rows_of(evidence, "denied")
    status = evidence.history.numbers("status")[rows]
    surely, perhaps = int(np.isin(status, (401, 403)).sum()), int((status == 0).sum())
    event = _policy(evidence.target).events[DENIED]
    sums: dict[str, float] = {"before": 0.0, "after": 0.0}
    for reading in evidence.ledgers.readings:
        if reading.error:
            return [Finding(rule, Outcome.INCONCLUSIVE, f"{reading.source} could not be read: {reading.error}")]
        for sample in reading.samples:
            if sample.name == metrics.audit_events and sample.labels.get("event") == event:
                sums[reading.label.rpartition("/")[2]] += sample.value
    rose = round(sums["after"] - sums["before"])
    says = f"{surely} requests were denied, and {metrics.audit_events} of {event} rose by {rose}"
    if rose < surely or (metrics.exclusive and rose > surely + perhaps):
        look = "where the counter of events is raised: beside each write of the log, once"
        return [Finding(rule, Outcome.FAIL, says, surely, 100, shown=(says,), look_at=look, figures={"rose": rose})]
    return [held(rule, says, examined=surely, needed=100)]


def _lost(evidence: Evidence, step: str, event: str, *, needed: int) -> list[Finding]:
    rows = rows_of(evidence, step)
    status = evidence.history.numbers("status")[rows]
    # What was never answered was never acknowledged: it may stand in the log or not.
    expected = expect(evidence.history, rows[np.isin(status, (0, 401, 403))].tolist(), event)
    found = judge_audit(_policy(evidence.target), evidence.ledgers, expected, _known(evidence), needed=needed)
    return [one for one in found if one.rule in _LOST]


def _known(evidence: Evidence) -> AuditEvidence:
    # An empty log does not say when it was read; the case does.
    read_ns = int(evidence.facts.get(books.READ_AT, evidence.anchor.monotonic_ns))
    return AuditEvidence(read_ns, evidence.anchor)


async def _read_later(lab: Lab) -> None:
    later_ns = lab.clock.now_ns() + _policy(lab.target).arrives_within + NS_PER_SECOND // 2
    await lab.wait_until_ns(later_ns, "the last events to arrive in the audit log")
    await books.read_log(lab)


def _users(evidence: Evidence, step: str, names: Sequence[str]) -> dict[int, str]:
    rows: NDArray[np.int64] = rows_of(evidence, step)
    numbers = [int(number) for number in np.unique(evidence.history.numbers("user")[rows])]
    if not names:
        return {}
    return {number: names[i] if step == "done" else names[0] for i, number in enumerate(numbers)}


def _few(target: Target, service: str) -> int:
    failures: Iterator[int] = (one.failures for one in target.policies.circuit_breaker if one.service == service)
    return max(1, min([_MOST_USERS, *(count - 1 for count in failures)]))


def _login_service(target: Target) -> str | None:
    login = target.users.login if target.users else None
    return target.operations[login].service if login else None


def _guarded(target: Target) -> str | None:
    found = (name for name, one in sorted(target.operations.items()) if one.auth == "bearer" and one.effect == "none")
    return next((name for name in found if "${" not in target.operations[name].path), None)


def _policy(target: Target) -> AuditPolicy:
    policy = target.policies.audit
    assert policy is not None
    return policy


def _takes(target: Target, seconds: int) -> int:
    audit = target.policies.audit
    return seconds * NS_PER_SECOND + (audit.arrives_within if audit else 0)


CASES = (
    Case(
        id="TC-AUDIT-002",
        title="Audit events over several services",
        category=Category.AUDIT,
        priority=Priority.HIGH,
        phase=5,
        purpose="What one request does in several services can be told from the log, by its id; and only what it did.",
        sends="operations that leave events in several services, by several users; the same many times at once for one "
        "user, so that most are refused; and request ids with blanks, markup and kilobytes",
        passes_when="each success left all of its events under its request id, no refusal left any, and no odd id was "
        "written down",
        read_fail="the finding names the request and the event that is missing, or that tells of what did not happen",
        least_evidence=f"{2 * _EACH} events of requests that succeeded",
        needs=("policies.audit.tells",),
        missing=missing_correlation,
        expected_ns=lambda target: _takes(target, 6),
        drive=drive_correlation,
        judge=judge_correlation,
    ),
    Case(
        id="TC-AUDIT-003",
        title="Audit integrity when a service dies",
        category=Category.AUDIT,
        priority=Priority.HIGH,
        phase=5,
        purpose="What was answered is on record, though the service is killed the moment after.",
        sends="failing log-ins by a few users, while their service is killed on a lease, seen by a probe",
        passes_when="each failed log-in that was answered stands in the log",
        read_fail="the finding names the requests whose event died with the service",
        least_evidence="5 failed log-ins that were answered before the kill",
        needs=("policies.audit.events.login_failed", "faults (supervised or docker) of the log-in's service"),
        missing=missing_killed,
        expected_ns=lambda target: _takes(target, 7),
        drive=drive_killed,
        judge=judge_killed,
        disturbs=frozenset({"everything"}),
    ),
    Case(
        id="TC-AUDIT-004",
        title="Thousands of audit events",
        category=Category.AUDIT,
        priority=Priority.MEDIUM,
        phase=5,
        purpose="Not one event of thousands is lost, and their rate can be watched.",
        sends=f"{_FLOODERS * _FLOOD_EACH} requests without a token, in silence, between two readings of the counters",
        passes_when="each stands in the log, and the counter of events, where one is declared, rose by as many",
        read_fail="the finding names the requests that are missing, or what the counter shows",
        least_evidence="2,000 denied requests",
        needs=("policies.audit.events.access_denied", "policies.metrics.audit_events for their rate"),
        missing=missing_flood,
        expected_ns=lambda target: _takes(target, 7),
        drive=drive_flood,
        judge=judge_flood,
    ),
)
