"""TC-MON-003: whether the log keeps up under load: the file, and the Loki server that collects it."""

from __future__ import annotations

import asyncio

from proofload.cases import metrics_and_audit as books
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import AuditEvidence, expect, judge_audit
from proofload.judge.audit.aggregated import judge_aggregated
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.target import Target
from proofload.plan.workload import Script

_CLIENTS = 10
_EACH = 40
_STEP = "denied"
_EVENT = "access_denied"
_NEEDED = 100
_BOUND_NS = 30 * NS_PER_SECOND
_BETWEEN_S = 0.3
_GIVE_UP_NS = 8 * NS_PER_SECOND
"""How long a Loki that does not answer is asked again."""


def missing(target: Target) -> str:
    """Return why nothing can be looked for, or nothing."""
    if reason := books.missing_log(target):
        return reason
    policy = target.policies.audit
    assert policy is not None
    if _EVENT not in policy.events:
        return f"the target declares no event {_EVENT} (policies.audit.events)"
    return "" if _guarded(target) else "the target declares no read that needs a token"


def _guarded(target: Target) -> str | None:
    return next(
        (
            name
            for name, one in sorted(target.operations.items())
            if one.auth == "bearer" and one.effect == "none" and one.method == "GET"
        ),
        None,
    )


async def drive_aggregation(lab: Lab) -> None:
    """Bring about security events as fast as several clients can, and see them arrive."""
    policy, name = lab.target.policies.audit, _guarded(lab.target)
    assert policy is not None
    assert name is not None
    lab.begin_audit()
    each = polite_count(lab.target, _EACH)
    lab.doing("bringing about security events as fast as possible")
    await lab.run(
        lab.crowd(
            _STEP, _without_token(lab.target.operations[name].path, name), _CLIENTS, each, sources=lab.sources(_CLIENTS)
        )
    )
    done_ns = lab.clock.now_ns()
    await lab.wait_until_ns(done_ns + policy.arrives_within, "the last events to arrive in the log")
    lab.read_audit()
    while lab.loki() is not None:
        await lab.read_loki()
        events = {
            one.request_id for one in lab.history().exchanges(map(int, lab.history().of_workloads(lab.step(_STEP))))
        }
        field = policy.fields.get("request_id", "request_id")
        found = {str((entry.fields or {}).get(field)) for entry in lab.aggregated()}
        if events <= found or lab.clock.now_ns() > done_ns + (_GIVE_UP_NS if lab.loki_error() else _BOUND_NS):
            break
        lab.doing("waiting for the last events to arrive in Loki", done_ns + _BOUND_NS)
        await asyncio.sleep(_BETWEEN_S)


def _without_token(path: str, name: str) -> Script:
    async def script(user: User) -> None:
        await user.get(path, name=name)

    return script


def judge_aggregation(evidence: Evidence) -> list[Finding]:
    """TC-MON-003: no event of a flood is lost on the way to the file or to Loki."""
    policy = evidence.target.policies.audit
    assert policy is not None
    rows = [
        int(row)
        for row in evidence.history.of_workloads(f"{evidence.case}/{_STEP}")
        if evidence.history.numbers("status")[row] in (0, 401, 403)
    ]
    expected = expect(evidence.history, rows, _EVENT)
    ledgers = evidence.ledgers
    read_ns = max((entry.read_ns for entry in ledgers.audit), default=evidence.anchor.monotonic_ns)
    known = AuditEvidence(read_ns, evidence.anchor)
    findings = judge_audit(policy, ledgers, expected, known, needed=_NEEDED)
    if policy.loki and policy.loki_query:
        error = ledgers.facts.get("loki_error", "")
        copy, file = (ledgers.aggregated, ledgers.audit) if policy.files else (ledgers.audit, ())
        findings += judge_aggregated(policy, copy, file, expected, error=error, needed=_NEEDED)
    delivered = [one for one in judge_delivery(evidence.history) if one.rule != "delivery.send_lag"]
    return [*rest_on(findings, delivered), *delivered]


CASES = (
    Case(
        id="TC-MON-003",
        title="Log aggregation under load",
        category=Category.MONITORING,
        priority=Priority.MEDIUM,
        phase=4,
        purpose="The audit log keeps up with a flood of events, and so does the server that collects it.",
        sends=f"requests without a token, by {_CLIENTS} clients as fast as they can",
        passes_when="each denied request has its entry in the file and, where Loki is declared, there as well, within "
        "30 s of the last; and both hold the same events",
        read_fail="the finding names the requests whose event was lost, and where",
        least_evidence=f"{_NEEDED} events that surely happened",
        needs=("policies.audit.files, or policies.audit.loki with loki_query", "policies.audit.events.access_denied"),
        missing=missing,
        expected_ns=lambda target: (
            (target.policies.audit.arrives_within if target.policies.audit else 0) + 3 * NS_PER_SECOND
        ),
        drive=drive_aggregation,
        judge=judge_aggregation,
    ),
)
