"""TC-MON-002: how far the monitoring lags behind what happened: Prometheus by its scrapes, Loki by its agents."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.evidence_rows import delivered
from proofload.cases.reads import guarded, repeatable, without_token
from proofload.cases.requirement import Missing, Requirement
from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import text_of
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import difference, request_ids
from proofload.judge.reconcile.freshness import Look, judge_freshness
from proofload.judge.reconcile.labels import fit_labels
from proofload.judge.verdict import Finding
from proofload.observe.loki import Loki
from proofload.observe.prometheus import Prometheus
from proofload.plan.operation import Operation
from proofload.plan.policies import MetricsPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.exchange import Ending
from proofload.record.ledger import Reading

BOUND_NS = 30 * NS_PER_SECOND
_LOOK_BEYOND_NS = 2 * NS_PER_SECOND
_BETWEEN_S = 0.25
_SENT = 20
_REQUESTS, _EVENTS = "counted", "denied"


@dataclass(frozen=True, slots=True)
class Watched:
    """The operation that is sent, and whether a Prometheus server and Loki are asked for it."""

    operation: str
    denied: str | None
    """What must be denied without a token; None where Loki is not asked."""
    by_prometheus: bool
    by_loki: bool


def _watched(target: Target) -> Watched | Missing:
    metrics, audit = target.policies.metrics, target.policies.audit
    by_prometheus = bool(metrics and (metrics.prometheus or target.monitoring.prometheus))
    by_loki = bool(audit and audit.loki and audit.loki_query and "access_denied" in audit.events)
    if not by_prometheus and not by_loki:
        return Missing(
            "the target declares neither a Prometheus server (policies.metrics.prometheus) nor Loki (policies.audit)"
        )
    denied = guarded(target) if by_loki else None
    reads = sorted(repeatable(target), key=lambda one: target.operations[one].auth != "bearer")
    if not reads:
        return Missing("the target declares no read without effect that can be repeated")
    return Watched(reads[0], denied, by_prometheus, by_loki)


WATCHED = Requirement(
    "Prometheus server or Loki, and a read without effect",
    "policies.metrics.prometheus, or policies.audit.loki with loki_query",
    _watched,
)


@case(
    "TC-MON-002",
    "Monitoring follows in real time",
    Category.MONITORING,
    Priority.MEDIUM,
    phase=4,
    requires=WATCHED,
    uses=lambda _: (),
    takes=12 * NS_PER_SECOND,
    needs_quiet=True,
)
async def freshness(run: CaseContext, found: Watched) -> None:
    """What happens is to be seen in Prometheus and in Loki within 30s.

    Sends: 20 requests while no other case sends, and 20 without a token where audit events go to Loki
    Passes when: all of them are counted by the Prometheus server, and all events are found in Loki, within the
        bound after the last answer
    Reading FAIL: the finding says how many were seen, and how late: look at the scrape interval, or at the
        agent that ships the log
    Least evidence: one request that was answered, and a look that showed it
    """
    name = found.operation
    accounts = await run.accounts(1)
    policy = gateway_limit(run.target)
    count = min(_SENT, allowance(policy) // 2 or 1) if policy else _SENT
    server, loki = run.readings.prometheus_server(), run.readings.loki_server()
    if server is not None and found.by_prometheus:
        async with run.undisturbed(name), run.exclusive():
            await run.readings.prometheus("before")
            await run.run(run.steps(_REQUESTS, name, count, account=accounts[0], source=run.source()))
            run.note("prometheus", await _look(run, _REQUESTS, lambda: _counted(run, server, name)))
    if loki is not None and found.denied is not None:
        query = run.target.policies.audit.loki_query if run.target.policies.audit else None
        assert query is not None
        began_ns = run.clock.wall_ns()
        await run.run(run.steps(_EVENTS, _denied(run.target.operations[found.denied], count), source=run.source()))
        run.note("loki", await _look(run, _EVENTS, lambda: _arrived(run, loki, query, began_ns)))


async def _look(run: CaseContext, step: str, count: Any) -> dict[str, Any]:
    """Return what was looked for, and each look: asked, answered, how many were there, and what went wrong."""
    rows = run.history().of_workloads(run.step(step))
    answered = [one for one in run.history().exchanges(map(int, rows)) if one.ending is Ending.ANSWERED]
    last_ns = max((one.done_ns for one in answered), default=run.clock.now_ns())
    looks: list[list[Any]] = []
    run.doing(f"waiting until {len(answered)} requests are seen", last_ns + BOUND_NS)
    while True:
        asked_ns, seen, error = run.clock.now_ns(), 0, ""
        try:
            seen = await count()
        except ToolError as problem:
            error = str(problem)
        looks.append([asked_ns, run.clock.now_ns(), seen, error])
        if seen >= len(answered) or asked_ns > last_ns + BOUND_NS + _LOOK_BEYOND_NS:
            break
        await asyncio.sleep(_BETWEEN_S)
    return {"sent": len(answered), "last_ns": last_ns, "looks": [looks[0], *looks[-2:]]}


async def _counted(run: CaseContext, server: Prometheus, name: str) -> int:
    policy, operation = run.target.policies.metrics, run.target.operations[name]
    assert policy is not None
    before = run.ledgers().reading("before", "prometheus")
    if before is None:
        return 0
    now_ns = run.clock.now_ns()
    samples = await server.counters(policy.requests_total, policy.only)
    return counted_between(policy, operation, before, Reading("prometheus", "now", now_ns, now_ns, samples))


def counted_between(policy: MetricsPolicy, operation: Operation, before: Reading, now: Reading) -> int:
    """Return by how much the counts of an operation rose, whatever its labels are called.

    A label that is not there tells nothing: while nobody else sends, all that rose is ours.
    """
    labels = fit_labels([before, now], policy, policy.only, [operation.counted_as])
    place = labels.place(operation.counted_as, operation.method)
    rose = difference([before, now], policy, policy.only, labels).increments
    return sum(count for key, count in rose.items() if "route" in labels.unfit or key[:2] == place)


async def _arrived(run: CaseContext, loki: Loki, query: str, began_ns: int) -> int:
    policy = run.target.policies.audit
    assert policy is not None
    rows = run.history().of_workloads(run.step(_EVENTS))
    ids = {one for one in request_ids(run.history(), rows).to_list() if one}
    entries = await loki.entries(query, began_ns - 5 * NS_PER_SECOND, run.clock.wall_ns() + 60 * NS_PER_SECOND)
    found = {text_of(policy, entry, "request_id") for entry in decode(policy, entries)}
    return len(ids & found)


def _denied(operation: Operation, count: int) -> Script:
    async def script(user: User) -> None:
        for _ in range(count):
            await without_token(user, operation)

    return script


@freshness.judge
def judge_lag(evidence: Evidence, found: Watched) -> list[Finding]:
    """TC-MON-002: what happened is to be seen within 30 s, at every server that is declared."""
    findings: list[Finding] = []
    for source, rule in (("prometheus", "mon.stale_server"), ("loki", "audit.stale_loki")):
        told = evidence.facts.get(source)
        if told is not None:
            looks = [Look(*one) for one in told["looks"]]
            findings.append(judge_freshness(rule, source.capitalize(), told["sent"], told["last_ns"], looks, BOUND_NS))
    return [*findings, *delivered(evidence, [])]
