"""TC-MON-002: how far the monitoring lags behind what happened: Prometheus by its scrapes, Loki by its agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.drive.user import User
from proofload.judge.delivery import judge_delivery
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile.freshness import Look, judge_freshness
from proofload.judge.verdict import Finding
from proofload.observe.loki import Loki
from proofload.observe.prometheus import Prometheus, selector
from proofload.plan.operation import Operation
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.exchange import Ending

BOUND_NS = 30 * NS_PER_SECOND
_LOOK_BEYOND_NS = 2 * NS_PER_SECOND
_BETWEEN_S = 0.25
_SENT = 20
_REQUESTS, _EVENTS = "counted", "denied"


def missing(target: Target) -> str:
    """Return why nothing can be measured, or nothing."""
    if not _server(target) and not _loki(target):
        return "the target declares neither a Prometheus server (policies.metrics.prometheus) nor Loki (policies.audit)"
    return "" if _operation(target) else "the target declares no read without effect that can be repeated"


def _server(target: Target) -> str | None:
    policy = target.policies.metrics
    return (policy.prometheus or target.monitoring.prometheus) if policy else None


def _loki(target: Target) -> str | None:
    policy = target.policies.audit
    return policy.loki if policy and policy.loki_query and "access_denied" in policy.events else None


def _operation(target: Target) -> str | None:
    reads = [
        name
        for name, one in sorted(target.operations.items())
        if one.effect == "none" and one.method == "GET" and "${" not in one.path
    ]
    guarded = [name for name in reads if target.operations[name].auth == "bearer"]
    return next(iter(guarded or reads), None)


async def drive_freshness(lab: Lab) -> None:
    """Send a few requests, and look until the server shows them, or until it is certain that they are late."""
    name = _operation(lab.target)
    assert name is not None
    accounts = await lab.accounts(1)
    policy = gateway_limit(lab.target)
    count = min(_SENT, allowance(policy) // 2 or 1) if policy else _SENT
    server, loki = lab.prometheus(), lab.loki()
    if server is not None and _server(lab.target):
        async with lab.using(name), lab.silence():
            await lab.read_prometheus("before")
            await lab.run(lab.steps(_REQUESTS, name, count, account=accounts[0], source=lab.source()))
            lab.note("prometheus", await _look(lab, _REQUESTS, lambda: _counted(lab, server, name)))
    if loki is not None and _loki(lab.target):
        query = lab.target.policies.audit.loki_query if lab.target.policies.audit else None
        assert query is not None
        began_ns = lab.clock.wall_ns()
        await lab.run(lab.steps(_EVENTS, _denied(lab.target.operations[name], count), source=lab.source()))
        lab.note("loki", await _look(lab, _EVENTS, lambda: _arrived(lab, loki, query, began_ns)))


async def _look(lab: Lab, step: str, count: Any) -> dict[str, Any]:
    """Return what was looked for, and each look: asked, answered, how many were there, and what went wrong."""
    rows = lab.history().of_workloads(lab.step(step))
    answered = [one for one in lab.history().exchanges(map(int, rows)) if one.ending is Ending.ANSWERED]
    last_ns = max((one.done_ns for one in answered), default=lab.clock.now_ns())
    looks: list[list[Any]] = []
    lab.doing(f"waiting until {len(answered)} requests are seen", last_ns + BOUND_NS)
    while True:
        asked_ns, seen, error = lab.clock.now_ns(), 0, ""
        try:
            seen = await count()
        except ToolError as problem:
            error = str(problem)
        looks.append([asked_ns, lab.clock.now_ns(), seen, error])
        if seen >= len(answered) or asked_ns > last_ns + BOUND_NS + _LOOK_BEYOND_NS:
            break
        await asyncio.sleep(_BETWEEN_S)
    return {"sent": len(answered), "last_ns": last_ns, "looks": [looks[0], *looks[-2:]]}


async def _counted(lab: Lab, server: Prometheus, name: str) -> int:
    policy, operation = lab.target.policies.metrics, lab.target.operations[name]
    assert policy is not None
    route = {
        **policy.only,
        policy.labels.get("route", "route"): operation.counted_as,
        policy.labels.get("method", "method"): operation.method,
    }
    now = sum(one.value for one in await server.query(selector(policy.requests_total, route)))
    before = lab.ledgers().reading("before", "prometheus")
    stem = policy.requests_total.removesuffix("_total")
    was = sum(before.total(one, route) for one in (stem, f"{stem}_total")) if before else 0
    return round(now - was)


async def _arrived(lab: Lab, loki: Loki, query: str, began_ns: int) -> int:
    policy = lab.target.policies.audit
    assert policy is not None
    rows = lab.history().of_workloads(lab.step(_EVENTS))
    ids = {one.request_id for one in lab.history().exchanges(map(int, rows))}
    field = policy.fields.get("request_id", "request_id")
    entries = await loki.entries(query, began_ns - 5 * NS_PER_SECOND, lab.clock.wall_ns() + 60 * NS_PER_SECOND)
    found = {str((entry.fields or {}).get(field)) for entry in entries}
    return len(ids & found)


def _denied(operation: Operation, count: int) -> Script:
    async def script(user: User) -> None:
        for _ in range(count):
            await user.get(operation.path, name=operation.name)

    return script


def judge_lag(evidence: Evidence) -> list[Finding]:
    """TC-MON-002: what happened is to be seen within 30 s, at every server that is declared."""
    findings: list[Finding] = []
    for source, rule in (("prometheus", "mon.stale_server"), ("loki", "audit.stale_loki")):
        told = evidence.facts.get(source)
        if told is not None:
            looks = [Look(*one) for one in told["looks"]]
            findings.append(judge_freshness(rule, source.capitalize(), told["sent"], told["last_ns"], looks, BOUND_NS))
    delivered: Sequence[Finding] = [one for one in judge_delivery(evidence.history) if one.rule != "delivery.send_lag"]
    return [*findings, *delivered]


CASES = (
    Case(
        id="TC-MON-002",
        title="Monitoring follows in real time",
        category=Category.MONITORING,
        priority=Priority.MEDIUM,
        phase=4,
        purpose=f"What happens is to be seen in Prometheus and in Loki within {format_duration(BOUND_NS)}.",
        sends=f"{_SENT} requests in silence, and {_SENT} without a token where audit events go to Loki",
        passes_when="all of them are counted by the Prometheus server, and all events are found in Loki, within the "
        "bound after the last answer",
        read_fail="the finding says how many were seen, and how late: look at the scrape interval, or at the agent "
        "that ships the log",
        least_evidence="one request that was answered, and a look that showed it",
        needs=("policies.metrics.prometheus, or policies.audit.loki with loki_query",),
        missing=missing,
        expected_ns=lambda _: 12 * NS_PER_SECOND,
        drive=drive_freshness,
        judge=judge_lag,
        uses=frozenset({"quiet"}),
    ),
)
