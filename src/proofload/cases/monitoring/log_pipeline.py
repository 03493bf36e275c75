"""TC-MON-003: whether the log keeps up under load: the file, and the Loki server that collects it."""

from __future__ import annotations

import asyncio

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered
from proofload.cases.metrics_and_audit import READ_AT, audited_event, log_evidence
from proofload.cases.reads import GUARDED, without_token
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import expect, judge_audit
from proofload.judge.audit.aggregated import judge_aggregated
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import text_of
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import request_ids
from proofload.judge.verdict import Finding
from proofload.plan.operation import Operation
from proofload.plan.policies import AuditPolicy
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


LOGGED_DENIALS = audited_event(_EVENT) & GUARDED


@case(
    "TC-MON-003",
    "Log aggregation under load",
    Category.MONITORING,
    Priority.MEDIUM,
    phase=4,
    requires=LOGGED_DENIALS,
    uses=lambda found: (found[1],),
    takes=lambda found: found[0].arrives_within + 3 * NS_PER_SECOND,
)
async def aggregation(run: CaseContext, found: tuple[AuditPolicy, str]) -> None:
    """The audit log keeps up with a flood of events, and so does the server that collects it.

    Sends: requests without a token, by 10 clients as fast as they can
    Passes when: each denied request has its entry in the file and, where Loki is declared, there as well,
        within 30 s of the last; and both hold the same events
    Reading FAIL: the finding names the requests whose event was lost, and where
    Least evidence: 100 events that surely happened
    """
    policy, name = found
    await run.readings.begin_audit()
    each = polite_count(run.target, _EACH, operations=[name])
    run.doing("bringing about security events as fast as possible")
    await run.run(run.crowd(_STEP, _denied(run.target.operations[name]), _CLIENTS, each, sources=run.sources(_CLIENTS)))
    done_ns = run.clock.now_ns()
    await run.wait_until_ns(done_ns + policy.arrives_within, "the last events to arrive in the log")
    await run.readings.audit_files()
    run.note(READ_AT, run.clock.now_ns())
    while run.readings.loki_server() is not None:
        await run.readings.loki()
        rows = run.history().of_workloads(run.step(_STEP))
        events = {one for one in request_ids(run.history(), rows).to_list() if one}
        run.note(READ_AT, run.clock.now_ns())
        arrived = {text_of(policy, entry, "request_id") for entry in decode(policy, run.readings.in_loki)}
        if events <= arrived or run.clock.now_ns() > done_ns + (_GIVE_UP_NS if run.readings.loki_error else _BOUND_NS):
            break
        run.doing("waiting for the last events to arrive in Loki", done_ns + _BOUND_NS)
        await asyncio.sleep(_BETWEEN_S)


def _denied(operation: Operation) -> Script:
    async def script(user: User) -> None:
        await without_token(user, operation)

    return script


@aggregation.judge
def judge_aggregation(evidence: Evidence, found: tuple[AuditPolicy, str]) -> list[Finding]:
    """TC-MON-003: no event of a flood is lost on the way to the file or to Loki."""
    policy, _ = found
    rows = [
        int(row)
        for row in evidence.history.of_workloads(f"{evidence.case}/{_STEP}")
        if evidence.history.numbers("status")[row] in (0, 401, 403)
    ]
    expected = expect(evidence.history, rows, _EVENT)
    ledgers = evidence.ledgers
    findings = judge_audit(policy, ledgers, expected, log_evidence(evidence), needed=_NEEDED)
    if policy.loki and policy.loki_query:
        error = ledgers.facts.get("loki_error", "")
        copy, file = (ledgers.aggregated, ledgers.audit) if policy.files else (ledgers.audit, ())
        findings += judge_aggregated(policy, copy, file, expected, error=error, needed=_NEEDED)
    return delivered(evidence, findings)
