"""TC-MON-004 and TC-AUDIT-005: what counting and recording cost each request, measured with them on and off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from proofload.cases import metrics_and_audit as books
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.latency.stalls import missing_read, read_of
from proofload.core.units import NS_PER_SECOND
from proofload.judge.evidence import Evidence
from proofload.judge.latency import Round, enough_rounds, judge_overhead
from proofload.judge.reconcile import request_ids
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.faults import Switch
from proofload.plan.target import Target
from proofload.record.history import History

_MOST_NS = 120 * NS_PER_SECOND
"""No further round is begun after so long: a restless machine takes many, a quiet one few."""
_LEASE_NS = _MOST_NS + 30 * NS_PER_SECOND
_GROUP = 50
"""Rounds after which the books are read, and it is asked whether there were enough."""
_ON, _OFF = "on", "off"
_READINGS = 2
_BLOCK = ("workload", "tag", "connection")
_WARMING_UP = 6
"""One request of so many comes first in its block, and is not measured."""


@dataclass(frozen=True)
class _Measured:
    """One of the two: what is switched off, and what is sent meanwhile."""

    rule: str
    what: str
    each: int
    """Requests in each block: few, so that what disturbs the machine for some tenths of a second touches both alike."""
    switch: Callable[[Target], Switch | None]
    at_most: Callable[[Target], float]
    operation: Callable[[Target], str]
    silent: Callable[[Evidence], str]
    """Returns why the switch was not seen to work, or nothing."""
    look_at: str


def _metrics_switch(target: Target) -> Switch | None:
    return target.policies.metrics.switch if target.policies.metrics else None


def _audit_switch(target: Target) -> Switch | None:
    return target.policies.audit.switch if target.policies.audit else None


def _audited(target: Target) -> str:
    """Return the operation that leaves an event: the log-in, else the first that is declared to."""
    policy, users = target.policies.audit, target.users
    assert policy is not None
    if users is not None and users.login and "login_succeeded" in policy.events:
        return users.login
    return next(iter(policy.tells), "")


def missing_metrics(target: Target) -> str:
    """Return why the cost of metrics can't be measured, or nothing."""
    if reason := books.missing_metrics(target):
        return reason
    policy = target.policies.metrics
    assert policy is not None
    if policy.switch is None:
        return "the target declares no way to switch its metrics off for a moment (policies.metrics.switch)"
    return missing_read(target)


def missing_audit(target: Target) -> str:
    """Return why the cost of the audit log can't be measured, or nothing."""
    if reason := books.missing_log(target):
        return reason
    policy = target.policies.audit
    assert policy is not None
    if policy.switch is None:
        return "the target declares no way to switch its audit log off for a moment (policies.audit.switch)"
    return "" if _audited(target) else "no operation is declared that leaves an audit event (policies.audit.tells)"


def _still_counted(evidence: Evidence) -> str:
    policy = evidence.target.policies.metrics
    assert policy is not None
    readings = [one for one in evidence.ledgers.readings if one.source == "gateway"]
    if len(readings) < _READINGS or any(one.error for one in readings):
        return "the metrics page could not be read"
    totals = [one.total(policy.requests_total, policy.only) for one in readings]
    on, off = (len(rows_of(evidence, step)) for step in (_ON, _OFF))
    counted = totals[-1] - totals[0]
    if counted > on:
        return f"{min(counted - on, off):g} requests were counted while the metrics were off"
    return "" if 2 * counted > on else f"{counted:g} of {on} requests were counted while the metrics were on"


def _still_written(evidence: Evidence) -> str:
    policy = evidence.target.policies.audit
    assert policy is not None
    name = policy.fields.get("request_id", "request_id")
    written = {str(entry.fields.get(name)) for entry in evidence.ledgers.audit if entry.fields is not None}
    if found := len(_ids(evidence, _OFF) & written):
        return f"{found} events were written while the audit log was off"
    return "" if _ids(evidence, _ON) & written else "nothing was written while the audit log was on"


def _ids(evidence: Evidence, step: str) -> set[str]:
    return {one for one in request_ids(evidence.history, rows_of(evidence, step)).to_list() if one}


METRICS = _Measured(
    "mon.overhead",
    "counting",
    24,
    _metrics_switch,
    lambda target: target.policies.metrics.overhead_at_most if target.policies.metrics else 0,
    read_of,
    _still_counted,
    "what is worked out at each request and could be when the page is asked for; labels looked up anew each time",
)
AUDIT = _Measured(
    "audit.overhead",
    "recording",
    3,
    _audit_switch,
    lambda target: target.policies.audit.overhead_at_most if target.policies.audit else 0,
    _audited,
    _still_written,
    "a write that waits for a disk or for a collector while the client waits; locks held meanwhile",
)


def _driver(measured: _Measured) -> Callable[[Lab], object]:
    async def drive(lab: Lab) -> None:
        """Send blocks in the order on, off, off, on, over and over, by one client, in silence."""
        switch, name = measured.switch(lab.target), measured.operation(lab.target)
        assert switch is not None
        (account,) = await lab.accounts(1)
        each = polite_count(lab.target, measured.each)

        async def block(step: str, i: int) -> None:
            await lab.run(lab.steps(step, name, each, account=account, source=lab.source(), tag=str(i)))

        lab.begin_audit()
        async with lab.using(name), lab.silence():
            # What the gateway says of itself costs it time; so it is asked before and after many rounds, not in them.
            await lab.run(lab.steps("warm up", name, each, account=account, source=lab.source()))
            await lab.read_services("before")
            async with lab.switched_off(measured.what, switch, _LEASE_NS) as toggle:
                await toggle.on()
                until_ns, i = lab.clock.now_ns() + _MOST_NS, 0
                while lab.clock.now_ns() < until_ns and not (i and i % _GROUP == 0 and _enough(measured, lab)):
                    i += 1
                    await block(_ON, i)
                    await toggle.off()
                    await block(_OFF, i)
                    await block(_OFF, i)
                    await toggle.on()
                    await block(_ON, i)
            await lab.read_services("after")
        await lab.read_log()

    return drive


def _enough(measured: _Measured, lab: Lab) -> bool:
    return enough_rounds(_rounds(lab.history(), lab.case_id), measured.at_most(lab.target))


def _judge(measured: _Measured) -> Callable[[Evidence], list[Finding]]:
    def judge(evidence: Evidence) -> list[Finding]:
        rounds = _rounds(evidence.history, evidence.case)
        spoilt = _unserved(evidence, measured) or (measured.silent(evidence) if rounds else "")
        if spoilt:
            return delivered(evidence, [Finding(measured.rule, Outcome.INCONCLUSIVE, spoilt, len(rounds))])
        at_most = measured.at_most(evidence.target)
        told = judge_overhead(measured.rule, measured.what, rounds, at_most=at_most, look_at=measured.look_at)
        return delivered(evidence, [told])

    return judge


def _unserved(evidence: Evidence, measured: _Measured) -> str:
    """Return that some were rejected, where they were: what is refused at the door says nothing of the cost inside."""
    rows = np.concatenate([rows_of(evidence, step) for step in (_ON, _OFF)])
    accepted = evidence.target.operations[measured.operation(evidence.target)].statuses if len(rows) else frozenset()
    refused = int((~np.isin(evidence.history.numbers("status")[rows], sorted(accepted))).sum())
    return f"{refused} of {len(rows)} requests were not served" if refused else ""


def _rounds(history: History, case_id: str) -> list[Round]:
    """Return each round's usual time with and without: slow stragglers say nothing of the cost, so it is the median."""
    if "tag" not in history.frame.columns:
        return []
    steps = {f"{case_id}/{step}": step for step in (_ON, _OFF)}
    table = (
        history.frame.lazy()
        .with_row_index("row")
        .with_columns(pl.col("workload").cast(pl.String), pl.col("tag").cast(pl.String))
        .filter(pl.col("workload").is_in(list(steps)))
        # The first of a block find the other way of doing things still in the machine's caches.
        .filter(pl.int_range(pl.len()).over(_BLOCK) >= pl.len().over(_BLOCK) // _WARMING_UP)
        .with_columns(step=pl.col("workload").replace(steps), i=pl.col("tag").cast(pl.UInt32))
        .group_by("i", "step")
        .agg(took=(pl.col("done_ns") - pl.col("sent_ns")).median(), row=pl.col("row").min())
        .sort("i")
        .collect()
    )
    both: dict[int, dict[str, float]] = {}
    first: dict[int, int] = {}
    for one in table.iter_rows(named=True):
        both.setdefault(one["i"], {})[one["step"]] = one["took"]
        first[one["i"]] = min(one["row"], first.get(one["i"], one["row"]))
    return [Round(took[_ON], took[_OFF], first[i]) for i, took in both.items() if len(took) == len(steps)]


def _case(measured: _Measured, **told: object) -> Case:
    return Case(
        priority=Priority.MEDIUM,
        sends=f"rounds of four blocks of {measured.each} requests by one client, in silence: with, without, without, "
        "with; as many as it takes to tell, for two minutes at the most",
        read_fail="the finding says what a request takes with and without, and how sure that is",
        least_evidence="six rounds, and a switch that was seen to work",
        drive=_driver(measured),  # type: ignore[arg-type]
        judge=_judge(measured),
        disturbs=frozenset({"everything"}),
        **told,  # type: ignore[arg-type]
    )


METRICS_CASES = (
    _case(
        METRICS,
        id="TC-MON-004",
        title="Cost of the metrics",
        category=Category.MONITORING,
        phase=4,
        purpose="Counting takes a small share of a request's time, by measurement and not by belief.",
        passes_when="with 95 % confidence the metrics add no more than the declared share (5 %) to a request",
        needs=("policies.metrics.url", "policies.metrics.switch"),
        missing=missing_metrics,
        expected_ns=lambda _: 30 * NS_PER_SECOND,
    ),
)
AUDIT_CASES = (
    _case(
        AUDIT,
        id="TC-AUDIT-005",
        title="Cost of the audit log",
        category=Category.AUDIT,
        phase=5,
        purpose="Putting events on record takes a small share of a request's time, by measurement and not by belief.",
        passes_when="with 95 % confidence the audit log adds no more than the declared share (5 %) to an operation "
        "that leaves an event",
        needs=("policies.audit", "policies.audit.switch"),
        missing=missing_audit,
        expected_ns=lambda _: 25 * NS_PER_SECOND,
    ),
)
