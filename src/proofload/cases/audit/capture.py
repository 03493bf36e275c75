"""TC-AUDIT: whether every security event stands in the audit log, once and whole, and nothing that must not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import allowance, gateway_limit, polite_count
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.metrics_and_audit import (
    AUDIT_LOG,
    log_evidence,
    note_secrets,
    partly_anew,
    read_log,
    with_wrong_password,
)
from proofload.cases.reads import guarded, without_token
from proofload.cases.requirement import Missing, Requirement
from proofload.core.seeds import stream
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import ExpectedEvent, Forgery, expect, judge_audit
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.policies import AuditPolicy, RateLimitPolicy
from proofload.plan.target import Target

_CLIENTS = 5
_EACH = 12
_FORGERIES = 3
_LEAST = 5
"""How often each declared event must have happened."""
_OPENED = "circuit_opened"
_HERE = {
    "login_failed": ("login failed", "401 or 403", "no log-in is declared (users.login)"),
    "login_succeeded": ("login", "2xx", "no log-in is declared (users.login)"),
    "access_denied": ("access denied", "401 or 403", "no operation that needs a token is declared (auth: bearer)"),
    "rate_limited": ("limited", "", "no rate limit over all services is declared (policies.rate_limit)"),
}
"""The events that this case brings about: in which step, by which statuses they are known, and what may be lacking."""


def _with_events(target: Target) -> AuditPolicy | Missing:
    policy = AUDIT_LOG.find(target)
    if isinstance(policy, Missing) or policy.events:
        return policy
    return Missing("the target declares no event that its audit log holds (policies.audit.events)")


AUDITED_EVENTS = Requirement("audit log with events", "policies.audit.files, policies.audit.events", _with_events)


@dataclass(frozen=True, slots=True)
class EventSources:
    """The log, and by what each of its events can be brought about; None where the target has no such thing."""

    policy: AuditPolicy
    login: str | None
    denied: str | None
    """An operation that needs a token."""
    limit: RateLimitPolicy | None

    def operations(self) -> list[str]:
        """Return what is called to bring them about."""
        limited = self.limit.probe if self.limit is not None else None
        return [one for one in (self.login, self.denied, limited) if one is not None]


def _sources(target: Target) -> EventSources | Missing:
    policy = AUDITED_EVENTS.find(target)
    if isinstance(policy, Missing):
        return policy
    login = target.users.login if target.users is not None else None
    return EventSources(policy, login, guarded(target), gateway_limit(target))


EVENT_SOURCES = Requirement(AUDITED_EVENTS.name, AUDITED_EVENTS.declare, _sources)


@case(
    "TC-AUDIT-001",
    "Audit log capture",
    Category.AUDIT,
    Priority.HIGH,
    phase=5,
    requires=EVENT_SOURCES,
    uses=EventSources.operations,
    takes=lambda found: found.policy.arrives_within + 5 * NS_PER_SECOND,
    spends=True,
)
async def capture(run: CaseContext, found: EventSources) -> None:
    """Every security event stands in the audit log: once, whole, true, in time, and without a secret.

    Sends: failed and successful log-ins, requests without or with a worthless token, and requests beyond the
        limit, by several clients side by side; user names with line ends and a forged event in them
    Passes when: each event has exactly one entry with its request id, user, address and time; no line is broken
        or forged; no password or token stands in any
    Reading FAIL: the finding names the request whose event is missing, doubled or wrong, or the line that is
        broken
    Least evidence: 20 events that surely happened, and 5 of each declared event that can be brought about here
    """
    policy = found.policy
    accounts = await run.accounts(_CLIENTS)
    canary = f"canary-{stream(run.seed, 'audit canary').getrandbits(64):016x}"
    run.note("canaries", [f"{canary}-password", f"{canary}-token"])
    wrong = [with_wrong_password(account) for account in accounts]
    note_secrets(run, accounts, wrong)
    await run.readings.begin_audit()
    run.doing("bringing about security events")
    if found.login is not None:
        await _logins(run, accounts, wrong, canary, found.login, set(policy.events))
    if found.denied is not None and "access_denied" in policy.events:
        await run.run(
            run.crowd(
                "access denied",
                _denied(run.target, found.denied, canary),
                _CLIENTS,
                polite_count(run.target, _EACH, operations=[found.denied]),
                sources=run.sources(_CLIENTS),
            )
        )
    limit = found.limit
    if limit is not None and "rate_limited" in policy.events:
        over = max(20, allowance(limit) // 5)
        source = run.source()
        await run.run(
            run.steps("limited", partly_anew(limit.probe), allowance(limit) + over, account=accounts[0], source=source)
        )
    await run.wait_until_ns(run.clock.now_ns() + policy.arrives_within, "the last events to arrive in the audit log")
    await read_log(run)


async def _logins(
    run: CaseContext,
    accounts: Sequence[Account],
    wrong: Sequence[Account],
    canary: str,
    login: str,
    events: set[str],
) -> None:
    tail = f"{canary}-forged"
    run.note("names", {"login failed": [one.name for one in wrong], "login": [one.name for one in accounts]})
    each = polite_count(run.target, _EACH, operations=[login])
    script = partly_anew(login)
    # Before the failures: a target may lock a user out after some of them.
    if "login_succeeded" in events:
        await run.run(
            run.crowd("login", script, _CLIENTS, min(4, each), accounts=accounts, sources=run.sources(_CLIENTS))
        )
    if "login_failed" in events:
        await run.run(
            run.crowd("login failed", script, _CLIENTS, each, accounts=wrong, sources=run.sources(_CLIENTS)),
        )
        head = f"{run.target.users.prefix if run.target.users else ''}{canary}"
        name = f'{head}\r\n{{"event":"login_succeeded","user":"{tail}"}}'
        run.note("forgeries", [{"head": head, "tail": tail}])
        forger = Account(name, f"{canary}-password", None)
        await run.run(run.steps("forged line", login, _FORGERIES, account=forger, source=run.source()))


@capture.judge
def judge_capture(evidence: Evidence, found: EventSources) -> list[Finding]:
    """TC-AUDIT-001: each event once, with the fields that it needs; no forged line, no secret."""
    policy = found.policy
    expected = [event for event in _expected(evidence) if event.event in policy.events]
    facts = evidence.facts
    known = log_evidence(
        evidence,
        canaries=facts.get("canaries", ()),
        forgeries=[Forgery(one["head"], one["tail"]) for one in facts.get("forgeries", ())],
    )
    findings = judge_audit(
        policy,
        evidence.ledgers,
        expected,
        known,
        needed=20,
        each=_LEAST,
        elsewhere=_elsewhere(policy),
        why=_why_not(evidence, found),
    )
    return delivered(evidence, findings)


def _elsewhere(policy: AuditPolicy) -> set[str]:
    """Return the declared events that other cases bring about: what `tells` names (TC-AUDIT-002), and openings."""
    return {_OPENED, *(event for events in policy.tells.values() for event in events)} - _HERE.keys()


def _why_not(evidence: Evidence, found: EventSources) -> dict[str, str]:
    """Return what kept each event from happening, for those that did not."""
    why = dict.fromkeys(
        found.policy.events, "nothing declared brings it about; declare which operation does (policies.audit.tells)"
    )
    able = {
        "login_failed": found.login,
        "login_succeeded": found.login,
        "access_denied": found.denied,
        "rate_limited": found.limit,
    }
    for event, (step, statuses, lacking) in _HERE.items():
        if able[event] is None:
            why[event] = lacking
            continue
        counts = Counter(_statuses(evidence, step))
        seen = ", ".join(f"{count} × {status or 'no answer'}" for status, count in sorted(counts.items())) or "nothing"
        wanted = statuses or str(found.limit.status if found.limit is not None else "")
        why[event] = f"the requests that should bring it about were answered {seen}, expected {wanted}"
    return why


def _statuses(evidence: Evidence, step: str) -> list[int]:
    return [int(status) for status in evidence.history.numbers("status")[rows_of(evidence, step)]]


def _expected(evidence: Evidence) -> list[ExpectedEvent]:
    """Return the events that the answers show to have happened."""
    many = evidence.target.users is not None and bool(len(evidence.history))
    limit = gateway_limit(evidence.target)
    found: list[ExpectedEvent] = []
    for step, event, status in (
        ("login failed", "login_failed", (401, 403)),
        ("login", "login_succeeded", range(200, 300)),
        ("access denied", "access_denied", (401, 403)),
        ("limited", "rate_limited", (limit.status,) if limit else ()),
    ):
        rows = _rows(evidence, step, status)
        names = evidence.facts.get("names", {}).get(step, [])
        found += expect(evidence.history, rows, event, users=_users(evidence, step, names), ip=many)
    return found


def _rows(evidence: Evidence, step: str, statuses: Iterable[int]) -> list[int]:
    name = f"{evidence.case}/{step}"
    here = pl.col("workload").cast(pl.String) == name
    unanswered = pl.col("status") == 0
    rows = evidence.history.rows_where(here, pl.col("status").is_in(list(statuses)) | unanswered)
    return [int(row) for row in rows]


def _users(evidence: Evidence, step: str, names: list[str]) -> dict[int, str]:
    """Return who each user number of a step was: users take the accounts in turn, by their place in the step."""
    if not names:
        return {}
    here = pl.col("workload").cast(pl.String) == f"{evidence.case}/{step}"
    numbers: list[int] = sorted(evidence.history.frame.filter(here)["user"].unique().to_list())
    return {number: names[i % len(names)] for i, number in enumerate(numbers)}


def _denied(target: Target, name: str, canary: str) -> Any:
    operation = target.operations[name]

    async def script(user: User) -> None:
        if user.iterations % 3 == 0:
            user.reconnect()
        # One without a token, one with a token that nobody gave out: both must be denied, and neither be logged.
        await without_token(user, operation, {"Authorization": f"Bearer {canary}-token"} if user.index % 2 else None)

    return script
