"""TC-INT-003 to 005: circuits beside rejections, beside contention, and what the other controls see of an open one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from proofload.cases import metrics_and_audit as books
from proofload.cases.circuit_breaker.calls import (
    FAULT_NS,
    call,
    calls_in,
    policy_of,
    settle,
    stage_of,
    unsettled,
)
from proofload.cases.circuit_breaker.calls import missing as missing_breaker
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.drive.user import User
from proofload.judge.breaker import CallKind, CircuitContext, calls_of, judge_never_trips
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_admission
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import CircuitBreakerPolicy, LockPolicy, RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.ledger import AuditEntry

_OVER = 10
_GOOD = 3
_BURSTS = 3
_LOOKS = 6
OPENED = "circuit_opened"
REJECTED, CONTENDED, SEEN_OPEN, RECORDED = (
    "int.rejections_seen",
    "int.contention_seen",
    "int.open_circuit_seen",
    "int.opening_not_on_record",
)
STALE = "mon.stale_gauge"


def _limited(target: Target) -> tuple[CircuitBreakerPolicy, RateLimitPolicy] | None:
    """Return a circuit and the limit that its operation falls under."""
    limit = gateway_limit(target)
    if limit is None:
        return None
    return next(
        (
            (one, limit)
            for one in target.policies.circuit_breaker
            if limit.covers(target.operations[one.operation].path)
        ),
        None,
    )


def missing_limited(target: Target) -> str:
    """Return why no circuit lies behind a limit, or nothing."""
    return "" if _limited(target) else "no declared circuit lies behind a declared limit (policies)"


async def drive_rejections(lab: Lab) -> None:
    """Have one client rejected at the very operation whose circuit is watched, and let another call it."""
    found = _limited(lab.target)
    assert found is not None
    policy, limit = found
    (account,) = await lab.accounts(1)
    await settle(lab, policy, account)
    lab.doing("having one client rejected, beside one that is served")
    await lab.run(
        lab.steps("rejected", call(policy, allowance(limit) + 3 * _OVER), account=account, source=lab.source())
    )
    await lab.run(lab.steps("then another", call(policy, _GOOD), account=account, source=lab.source()))


def judge_rejections(evidence: Evidence) -> list[Finding]:
    """TC-INT-003: rejections of the limiter are no failures of the service behind it."""
    if doubt := unsettled(evidence):
        return doubt
    found = _limited(evidence.target)
    assert found is not None
    policy, limit = found
    rows = calls_in(evidence.history, f"{evidence.case}/rejected", f"{evidence.case}/then another")
    status = evidence.history.numbers("status")[list(rows)] if rows else np.empty(0, dtype=np.int64)
    seen = int(np.count_nonzero(status == limit.status))
    told = held(REJECTED, f"{seen} requests were rejected", examined=seen, needed=2 * policy.failures)
    return delivered(evidence, [*judge_never_trips(CircuitContext(policy, evidence.history), rows, "rejections"), told])


def _locked(target: Target) -> tuple[LockPolicy, CircuitBreakerPolicy] | None:
    """Return a lock that money is not needed for, and the circuit of its service."""
    for lock in sorted(target.policies.locks, key=lambda one: one.kind != "deposit"):
        service = target.operations[lock.operation].service
        for circuit in target.policies.circuit_breaker:
            if circuit.service == service and lock.kind == "deposit":
                return lock, circuit
    return None


def missing_locked(target: Target) -> str:
    """Return why no lock lies behind a circuit, or nothing."""
    return "" if _locked(target) else "no declared lock on deposits lies behind a declared circuit (policies)"


async def drive_contention(lab: Lab) -> None:
    """Let one user contend with itself more often than failures would open the circuit; then let others call."""
    found = _locked(lab.target)
    assert found is not None
    lock, circuit = found
    accounts = await lab.accounts(2)
    async with lab.using(lock.operation, circuit.operation):
        await settle(lab, circuit, accounts[1])
        lab.doing(f"{lock.concurrency} at once for one user, {_BURSTS} times")
        for i in range(1, _BURSTS + 1):
            crowd = max(lock.concurrency, 2 * circuit.failures)
            await lab.run(
                lab.burst(f"contending {i}", once(lock.operation), crowd, account=accounts[0], source=lab.source())
            )
        well = lab.steps("then another", call(circuit, _GOOD), account=accounts[1], source=lab.source())
        await lab.run(well)


def judge_contention(evidence: Evidence) -> list[Finding]:
    """TC-INT-004: that a user's lock is held is no failure of the service."""
    if doubt := unsettled(evidence):
        return doubt
    found = _locked(evidence.target)
    assert found is not None
    _, circuit = found
    rows = calls_in(evidence.history, f"{evidence.case}/contending", f"{evidence.case}/then another")
    stage = CircuitContext(circuit, evidence.history)
    neutral = calls_of(stage, rows).of(CallKind.NEUTRAL) if rows else np.zeros(0, dtype=np.bool_)
    seen = int(np.count_nonzero(neutral))
    told = held(CONTENDED, f"{seen} operations met a held lock", examined=seen, needed=2 * circuit.failures)
    return delivered(evidence, [*judge_never_trips(stage, rows, "contention"), told])


def missing_open(target: Target) -> str:
    """Return why an open circuit can't be looked at through the other controls, or nothing."""
    found = _limited(target)
    if reason := missing_breaker(target):
        return reason
    if found is None or found[0] != policy_of(target):
        return "the circuit that can be broken does not lie behind a declared limit (policies.rate_limit)"
    return books.missing_metrics(target) or books.missing_event(target, OPENED)


async def drive_open(lab: Lab) -> None:
    """Open a circuit, and call it beyond a client's whole allowance, between two readings of the books."""
    policy, limit = policy_of(lab.target), gateway_limit(lab.target)
    assert limit is not None
    (account,) = await lab.accounts(1)
    await settle(lab, policy, account)
    async with lab.fault(policy.service, "stop", FAULT_NS), lab.silence():
        lab.begin_audit()
        await lab.read_services("before")
        await lab.read_prometheus("served")
        await _look(lab, "served")
        lab.doing(f"opening the circuit of {policy.service}")
        await lab.run(lab.steps("failing", call(policy, policy.failures + 3), account=account, source=lab.source()))
        lab.doing("calling the open circuit beyond a whole allowance")
        spend = lab.steps("open", call(policy, allowance(limit) + _OVER), account=account, source=lab.source())
        await lab.run(spend)
        await _look(lab, "open")
        await lab.read_prometheus("open")
        await books.settle_books(lab)
        await lab.read_services("after")
        await books.read_log(lab)


async def _look(lab: Lab, label: str) -> None:
    """Read the pages several times: each of several workers may show what it alone believes."""
    for i in range(_LOOKS):
        await lab.read_services(f"{label} {i}")


def judge_open(evidence: Evidence) -> list[Finding]:
    """TC-INT-005: an open circuit is counted and on record, and its answers count against the limit like any others."""
    if doubt := unsettled(evidence):
        return doubt
    policy, limit = policy_of(evidence.target), gateway_limit(evidence.target)
    assert limit is not None
    stage = stage_of(policy, evidence.history, evidence)
    rows = rows_of(evidence, "open")
    rejected = calls_of(stage, rows).of(CallKind.REJECTED) if len(rows) else np.zeros(0, dtype=np.bool_)
    seen = int(np.count_nonzero(rejected))
    told = held(SEEN_OPEN, f"{seen} calls met the open circuit", examined=seen, needed=limit.limit // 2)
    scene = RateLimitContext(
        limit, evidence.history, evidence.anchor, admitted_statuses=frozenset({policy.status_when_open})
    )
    admitted = judge_admission(scene, rows) if seen else []
    pages = {label: [f"{label} {i}" for i in range(_LOOKS)] for label in ("served", "open")}
    own = [_opening(evidence, seen), *_gauge(evidence, policy, seen, "gateway", pages)]
    if evidence.ledgers.reading("open", "prometheus") is not None:
        there = _gauge(evidence, policy, seen, "prometheus", {label: [label] for label in pages})
        own += [replace(finding, says=f"{books.AT_SERVER}{finding.says}") for finding in there]
    return delivered(evidence, [*admitted, *books.counted(evidence), *own, told])


def _gauge(
    evidence: Evidence, policy: CircuitBreakerPolicy, seen: int, source: str, looks: Mapping[str, Sequence[str]]
) -> list[Finding]:
    """Return whether the gauge followed: not open while calls were served, not closed while they met an open circuit.

    Until the service is back no trial can succeed, so what opened cannot have closed when the page was read.
    """
    declared = policy.state
    if declared is None:
        return []
    name = f"{declared.gauge} of {policy.service}"
    told: dict[str, list[float]] = {}
    for when, labels in looks.items():
        readings = [evidence.ledgers.reading(label, source) for label in labels]
        found = [list(one.of(declared.gauge, declared.only)) for one in readings if one is not None]
        if not found or not all(found):
            why = next((one.error for one in readings if one is not None and one.error), "no such series")
            return [Finding(STALE, Outcome.INCONCLUSIVE, f"{name} could not be read: {why}")]
        told[when] = sorted({sample.value for samples in found for sample in samples})
    if not seen:
        return [Finding(STALE, Outcome.INCONCLUSIVE, "the circuit was not seen to be open, so its gauge says nothing")]
    served, opened = (" or ".join(f"{value:g}" for value in told[when]) for when in looks)
    says = f"{name} was {served} while calls were served and {opened} while {seen} calls met the open circuit"
    if declared.open in told["served"] or declared.closed in told["open"]:
        shown = (f"closed is {declared.closed:g}, open is {declared.open:g}; it was read {len(looks['open'])} times",)
        look = "who sets the gauge at a change of state, and whether every worker shows the state that all share"
        return [Finding(STALE, Outcome.FAIL, says, sum(map(len, looks.values())), 2, shown=shown, look_at=look)]
    return [held(STALE, says, examined=sum(map(len, looks.values())), needed=2)]


def _opening(evidence: Evidence, seen: int) -> Finding:
    """Return whether the audit log tells of the opening, in an event that one of our own requests brought about."""
    audit = evidence.target.policies.audit
    assert audit is not None
    if error := evidence.ledgers.facts.get("audit.error"):
        return Finding(RECORDED, Outcome.INCONCLUSIVE, f"the audit log could not be read: {error}")
    if not seen:
        return Finding(RECORDED, Outcome.INCONCLUSIVE, "the circuit was not seen to be open, so nothing is missed")
    name = audit.events[OPENED]
    ours = set(evidence.history.frame["request_id"].to_list())
    events = [entry for entry in evidence.ledgers.audit if _is(entry, name, ours)]
    if events:
        return held(RECORDED, f"the opening stands in the audit log ({name})", examined=len(events))
    return Finding(
        RECORDED,
        Outcome.FAIL,
        f"{seen} calls met an open circuit, and no {name} in the audit log tells of its opening",
        len(evidence.ledgers.audit),
        1,
        shown=(f"{len(evidence.ledgers.audit)} entries were written meanwhile, none of them a {name} of our requests",),
        look_at="who listens to the changes of a circuit, and whether they reach the audit log",
    )


def _is(entry: AuditEntry, name: str, ours: set[str]) -> bool:
    fields = entry.fields or {}
    return fields.get("event") == name and fields.get("request_id") in ours


def once(operation: str) -> Script:
    """Return a script that sends one request and keeps what is answered."""

    async def script(user: User) -> None:
        await user.request(operation, keep_body=True)

    return script
