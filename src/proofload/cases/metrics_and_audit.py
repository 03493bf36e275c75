"""What the gateway's counters and the audit log say of the answers of one case: shared by cases that look into them."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.cases.accounts import Account
from proofload.cases.context import CaseContext
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import AuditEvidence, Forgery, digests_of, expect, judge_audit
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import Foreign, Route, judge_metrics
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import AuditPolicy, MetricsPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_SETTLES_NS = NS_PER_SECOND + NS_PER_SECOND // 10
AT_SERVER = "at the Prometheus server: "
"""How a finding begins that rests on what the Prometheus server holds, not on the target's own page."""
READ_AT = "audit_read_ns"
"""The fact that tells when the audit log was read to its end."""
DIGESTS = "digests"
"""The fact that holds the digests of the passwords and tokens that were sent or received."""
_COUNTED = ("mon.missing", "mon.altered", "mon.labels")
EVERYWHERE = ("audit.request_id", "audit.secret")
"""Rules on a log that every case which reads it tells: whether ids match at all, and whether it gives a secret away."""
_ON_RECORD = ("audit.missing", "audit.wrong_ip", *EVERYWHERE)
_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)


def _counted(target: Target) -> MetricsPolicy | Missing:
    policy = target.policies.metrics
    return policy if policy and policy.url else Missing("the target declares no metrics page (policies.metrics.url)")


def _readable(target: Target) -> AuditPolicy | Missing:
    policy = target.policies.audit
    if policy is None or not policy.is_readable:
        return Missing("the target declares no audit log (policies.audit.files, or loki with loki_query)")
    return policy


METRICS_PAGE = Requirement("metrics page of the gateway", "policies.metrics.url", _counted)
AUDIT_LOG = Requirement("audit log", "policies.audit", _readable)


def audited_event(event: str) -> Requirement[AuditPolicy]:
    """Return the requirement of an audit log that holds an event, by our name for it."""

    def find(target: Target) -> AuditPolicy | Missing:
        audit = target.policies.audit
        if audit is None or not audit.is_readable or event not in audit.events:
            return Missing(f"the target declares no audit log with the event {event} (policies.audit)")
        return audit

    return Requirement(f"audit log with the event {event}", f"policies.audit.events.{event}", find)


def arrival_ns(target: Target) -> int:
    """Return how long an audit event may take to be found; 0 where there is no audit log."""
    return target.policies.audit.arrives_within if target.policies.audit else 0


async def settle_metrics_and_audit(run: CaseContext) -> None:
    """Wait until the last counts and events must have been written."""
    audit = run.target.policies.audit
    later_ns = max(_SETTLES_NS, audit.arrives_within if audit else 0)
    await run.wait_until_ns(run.clock.now_ns() + later_ns, "the last counts and events to be written")


async def read_log(run: CaseContext) -> None:
    """Read the audit log, and note when."""
    await run.readings.audit()
    run.note(READ_AT, run.clock.now_ns())


def note_secrets(run: CaseContext, *groups: Iterable[Account]) -> None:
    """Keep the digests of these accounts' passwords and tokens: by them they are found in a log, and not told."""
    secrets = {secret for accounts in groups for one in accounts for secret in (one.password, one.token) if secret}
    run.note(DIGESTS, sorted({*run.facts.get(DIGESTS, ()), *digests_of(secrets)}))


def log_evidence(
    evidence: Evidence, *, canaries: Sequence[str] = (), forgeries: Sequence[Forgery] = ()
) -> AuditEvidence:
    """Return what a case that read the log by `read_log` knows of it; an empty log does not say when it was read."""
    last_ns = max((entry.read_ns for entry in evidence.ledgers.audit), default=evidence.anchor.monotonic_ns)
    read_ns = int(evidence.facts.get(READ_AT, last_ns))
    digests = tuple(evidence.facts.get(DIGESTS, ()))
    return AuditEvidence(read_ns, evidence.anchor, tuple(canaries), tuple(forgeries), digests)


def wrong_password(password: str) -> str:
    """Return the password with one character changed to another of its class: wrong, and as good by any rule.

    >>> wrong_password("hunter22"), wrong_password("__7A"), wrong_password("--")
    ('iunter22', '__8A', '---')
    """
    for place, sign in enumerate(password):
        for signs in _CLASSES:
            if sign in signs:
                other = signs[(signs.index(sign) + 1) % len(signs)]
                return f"{password[:place]}{other}{password[place + 1 :]}"
    return f"{password}-"


def with_wrong_password(account: Account) -> Account:
    """Return the user as somebody who mistook the password by one character."""
    return Account(account.name, wrong_password(account.password), None)


def partly_anew(operation: str) -> Script:
    """Return a script that sends the operation, every third time over a new connection.

    Kept connections may all be those of one worker; what another one loses is not seen then.
    """

    async def script(user: User) -> None:
        if user.iterations % 3 == 0:
            user.reconnect()
        await user.request(operation)

    return script


def routes_of(target: Target) -> dict[str, Route]:
    """Return what the metrics call each operation, by its name."""
    return {name: Route(one.counted_as, one.method) for name, one in target.operations.items()}


def counted(evidence: Evidence, policy: MetricsPolicy) -> list[Finding]:
    """Return whether each answer of the case was counted; counts beyond ours are the matter of TC-MON-001."""
    readings = [one for label in ("before", "after") if (one := evidence.ledgers.reading(label, "gateway")) is not None]
    used = {str(name) for name in evidence.history.frame["operation"].unique()}
    operations = {name: route for name, route in routes_of(evidence.target).items() if name in used}
    foreign = Foreign(exclusive=policy.exclusive)
    found = judge_metrics(policy, evidence.history, readings, operations=operations, where=policy.only, foreign=foreign)
    return [one for one in found if one.rule in _COUNTED]


def on_record(
    evidence: Evidence, audit: AuditPolicy, rows: NDArray[np.int64], event: str, *, needed: int
) -> list[Finding]:
    """Return whether each of these exchanges left its event in the audit log."""
    if error := evidence.ledgers.facts.get("audit.error"):
        return [Finding("audit.missing", Outcome.INCONCLUSIVE, f"the audit log could not be read: {error}")]
    expected = expect(evidence.history, rows.tolist(), event, ip=True)
    found = judge_audit(audit, evidence.ledgers, expected, log_evidence(evidence), needed=needed)
    return [one for one in found if one.rule in _ON_RECORD]
