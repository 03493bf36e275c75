"""TC-MON-004 and TC-AUDIT-005: what counting and recording cost each request, measured with them on and off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.metrics_and_audit import AUDIT_LOG, METRICS_PAGE
from proofload.cases.reads import READ
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import text_of
from proofload.judge.evidence import Evidence
from proofload.judge.latency import Round, enough_rounds, judge_overhead
from proofload.judge.reconcile import request_ids
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.faults import Switch
from proofload.plan.policies import AuditPolicy
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


@dataclass(frozen=True, slots=True)
class Switchable:
    """A control that can be switched off for a moment, and what is sent with it on and off."""

    rule: str
    what: str
    each: int
    """Requests in each block: few, so that what disturbs the machine for some tenths of a second touches both alike."""
    switch: Switch
    at_most: float
    operation: str
    look_at: str


def _metrics(target: Target) -> Switchable | Missing:
    policy, read = METRICS_PAGE.find(target), READ.find(target)
    if isinstance(policy, Missing):
        return policy
    if policy.switch is None:
        return Missing("the target declares no way to switch its metrics off for a moment (policies.metrics.switch)")
    if isinstance(read, Missing):
        return read
    look_at = "what is worked out at each request and could be when the page is asked for; labels looked up each time"
    return Switchable("mon.overhead", "counting", 24, policy.switch, policy.overhead_at_most, read, look_at)


def _audit(target: Target) -> Switchable | Missing:
    policy = AUDIT_LOG.find(target)
    if isinstance(policy, Missing):
        return policy
    if policy.switch is None:
        return Missing("the target declares no way to switch its audit log off for a moment (policies.audit.switch)")
    operation = _audited(target, policy)
    if not operation:
        return Missing("no operation is declared that leaves an audit event (policies.audit.tells)")
    look_at = "a write that waits for a disk or for a collector while the client waits; locks held meanwhile"
    return Switchable("audit.overhead", "recording", 3, policy.switch, policy.overhead_at_most, operation, look_at)


def _audited(target: Target, policy: AuditPolicy) -> str:
    """Return the operation that leaves an event: the log-in, else the first that is declared to."""
    users = target.users
    if users is not None and users.login and "login_succeeded" in policy.events:
        return users.login
    return next(iter(policy.tells), "")


SWITCHABLE_METRICS = Requirement(
    "metrics that can be switched off", "policies.metrics.url, policies.metrics.switch", _metrics
)
SWITCHABLE_AUDIT = Requirement("audit log that can be switched off", "policies.audit, policies.audit.switch", _audit)


@case(
    "TC-MON-004",
    "Cost of the metrics",
    Category.MONITORING,
    Priority.MEDIUM,
    phase=4,
    requires=SWITCHABLE_METRICS,
    uses=lambda found: (found.operation,),
    takes=30 * NS_PER_SECOND,
    alone=True,
)
async def cost_of_metrics(run: CaseContext, found: Switchable) -> None:
    """Counting takes a small share of a request's time, by measurement and not by belief.

    Sends: rounds of four blocks of 24 requests by one client, while no other case sends: with, without, without,
        with; as many as it takes to tell, for two minutes at the most
    Passes when: with 95 % confidence the metrics add no more than the declared share (5 %) to a request
    Reading FAIL: the finding says what a request takes with and without, and how sure that is
    Least evidence: six rounds, and a switch that was seen to work
    """
    await _send(run, found)


@case(
    "TC-AUDIT-005",
    "Cost of the audit log",
    Category.AUDIT,
    Priority.MEDIUM,
    phase=5,
    requires=SWITCHABLE_AUDIT,
    uses=lambda found: (found.operation,),
    takes=30 * NS_PER_SECOND,
    alone=True,
)
async def cost_of_audit(run: CaseContext, found: Switchable) -> None:
    """Putting events on record takes a small share of a request's time, by measurement and not by belief.

    Sends: rounds of four blocks of 3 requests by one client, while no other case sends: with, without, without,
        with; as many as it takes to tell, for two minutes at the most
    Passes when: with 95 % confidence the audit log adds no more than the declared share (5 %) to an
        operation that leaves an event
    Reading FAIL: the finding says what a request takes with and without, and how sure that is
    Least evidence: six rounds, and a switch that was seen to work
    """
    await _send(run, found)


async def _send(run: CaseContext, found: Switchable) -> None:
    """Send blocks in the order on, off, off, on, over and over, by one client, while no other case sends."""
    name = found.operation
    (account,) = await run.accounts(1)
    each = polite_count(run.target, found.each, operations=[name])

    async def block(step: str, i: int) -> None:
        await run.run(run.steps(step, name, each, account=account, source=run.source(), tag=str(i)))

    await run.readings.begin_audit()
    async with run.exclusive():
        # What the gateway says of itself costs it time; so it is asked before and after many rounds, not in them.
        await run.run(run.steps("warm up", name, each, account=account, source=run.source()))
        await run.readings.services("before")
        async with run.faults.switched_off(found.what, found.switch, _LEASE_NS) as toggle:
            await toggle.on()
            until_ns, i = run.clock.now_ns() + _MOST_NS, 0
            while run.clock.now_ns() < until_ns and not (i and i % _GROUP == 0 and _enough(found, run)):
                i += 1
                await block(_ON, i)
                await toggle.off()
                await block(_OFF, i)
                await block(_OFF, i)
                await toggle.on()
                await block(_ON, i)
        await run.readings.services("after")
    await run.readings.audit()


def _enough(found: Switchable, run: CaseContext) -> bool:
    return enough_rounds(_rounds(run.history(), run.case_id), found.at_most)


@cost_of_metrics.judge
def judge_cost_of_metrics(evidence: Evidence, found: Switchable) -> list[Finding]:
    """TC-MON-004: with 95 % confidence, metrics add no more than their declared share to a request."""
    return _judged(evidence, found, _still_counted)


@cost_of_audit.judge
def judge_cost_of_audit(evidence: Evidence, found: Switchable) -> list[Finding]:
    """TC-AUDIT-005: with 95 % confidence, the audit log adds no more than its declared share to an operation."""
    return _judged(evidence, found, _still_written)


def _judged(evidence: Evidence, found: Switchable, silent: Callable[[Evidence], str]) -> list[Finding]:
    """Return the cost; `silent` returns why the switch was not seen to work, or nothing."""
    rounds = _rounds(evidence.history, evidence.case)
    spoilt = _unserved(evidence, found) or (silent(evidence) if rounds else "")
    if spoilt:
        return delivered(evidence, [Finding(found.rule, Outcome.INCONCLUSIVE, spoilt, len(rounds))])
    told = judge_overhead(found.rule, found.what, rounds, at_most=found.at_most, look_at=found.look_at)
    return delivered(evidence, [told])


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
    written = {text_of(policy, entry, "request_id") for entry in decode(policy, evidence.ledgers.audit)}
    if found := len(_ids(evidence, _OFF) & written):
        return f"{found} events were written while the audit log was off"
    return "" if _ids(evidence, _ON) & written else "nothing was written while the audit log was on"


def _ids(evidence: Evidence, step: str) -> set[str]:
    return {one for one in request_ids(evidence.history, rows_of(evidence, step)).to_list() if one}


def _unserved(evidence: Evidence, found: Switchable) -> str:
    """Return that some were rejected, where they were: what is refused at the door says nothing of the cost inside."""
    rows = np.concatenate([rows_of(evidence, step) for step in (_ON, _OFF)])
    accepted = evidence.target.operations[found.operation].statuses if len(rows) else frozenset()
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
