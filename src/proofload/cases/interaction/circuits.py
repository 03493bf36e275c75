"""TC-INT-003 to 005: circuits beside rejections, beside contention, and what the other controls see of an open one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from proofload.cases.case import Category, Priority, case
from proofload.cases.circuit_breaker.calls import (
    CIRCUIT,
    FAULT_NS,
    call,
    calls_in,
    circuit_context,
    failing_kind,
    its_operation,
    its_service,
    settle,
    unsettled,
)
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, allowance, limit_context
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.isolation import service_of
from proofload.cases.metrics_and_audit import (
    AT_SERVER,
    DIGESTS,
    METRICS_PAGE,
    audited_event,
    counted,
    note_secrets,
    read_log,
    settle_metrics_and_audit,
)
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.workloads import once
from proofload.core.units import NS_PER_SECOND
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import text_of
from proofload.judge.audit.legible import illegible
from proofload.judge.audit.lines import judge_secrets
from proofload.judge.breaker import CallKind, calls_of, judge_never_trips
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_admission
from proofload.judge.reconcile import request_ids
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy, CircuitBreakerPolicy, LockPolicy, MetricsPolicy, RateLimitPolicy
from proofload.plan.target import Target

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

LimitedCircuit = tuple[CircuitBreakerPolicy, RateLimitPolicy]
LockedCircuit = tuple[LockPolicy, CircuitBreakerPolicy]
RecordedCircuit = tuple[LimitedCircuit, tuple[MetricsPolicy, AuditPolicy]]


def _limited(target: Target) -> LimitedCircuit | Missing:
    limit = GATEWAY_LIMIT.find(target)
    if isinstance(limit, Missing):
        return limit
    return next(
        (
            (one, limit)
            for one in target.policies.circuit_breaker
            if limit.covers(target.operations[one.operation].path)
        ),
        Missing("no declared circuit lies behind a declared limit (policies)"),
    )


def _limited_and_breakable(target: Target) -> LimitedCircuit | Missing:
    circuit, limit = CIRCUIT.find(target), GATEWAY_LIMIT.find(target)
    if isinstance(circuit, Missing):
        return circuit
    if isinstance(limit, Missing) or not limit.covers(target.operations[circuit.operation].path):
        return Missing("the circuit that can be broken does not lie behind a declared limit (policies.rate_limit)")
    return circuit, limit


def _locked(target: Target) -> LockedCircuit | Missing:
    """Return a lock that money is not needed for, and the circuit of its service."""
    for lock in target.policies.locks:
        service = service_of(target, lock.operation)
        for circuit in target.policies.circuit_breaker:
            if circuit.service == service and lock.kind == "deposit":
                return lock, circuit
    return Missing("no declared lock on deposits lies behind a declared circuit (policies)")


LIMITED_CIRCUIT = Requirement(
    "circuit breaker behind a rate limit", "policies.rate_limit, policies.circuit_breaker", _limited
)
LOCKED_CIRCUIT = Requirement(
    "lock on deposits behind a circuit breaker", "policies.locks, policies.circuit_breaker", _locked
)
RECORDED_CIRCUIT = Requirement(
    "circuit breaker behind a rate limit, whose service can be stopped and probed",
    "policies.circuit_breaker, faults, policies.rate_limit",
    _limited_and_breakable,
) & (METRICS_PAGE & audited_event(OPENED))


@case(
    "TC-INT-003",
    "Rejections open no circuit",
    Category.INTERACTION,
    Priority.HIGH,
    phase=3,
    requires=LIMITED_CIRCUIT,
    uses=lambda found: its_operation(found[0]),
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def rejections(run: CaseContext, found: LimitedCircuit) -> None:
    """That a client is over its limit is no failure of the service that it asked for.

    Sends: one client far beyond its limit on an operation behind a circuit, then another client
    Passes when: the circuit stayed closed and the other client was served
    Reading FAIL: the finding shows the call that met an open circuit, and what came before it
    Least evidence: twice as many rejections as failures open the circuit
    """
    policy, limit = found
    (account,) = await run.accounts(1)
    await settle(run, policy, account)
    run.doing("having one client rejected, beside one that is served")
    await run.run(
        run.steps("rejected", call(policy, allowance(limit) + 3 * _OVER), account=account, source=run.source())
    )
    await run.run(run.steps("then another", call(policy, _GOOD), account=account, source=run.source()))


@rejections.judge
def judge_rejections(evidence: Evidence, found: LimitedCircuit) -> list[Finding]:
    """TC-INT-003: rejections of the limiter are no failures of the service behind it."""
    if doubt := unsettled(evidence):
        return doubt
    policy, limit = found
    rows = calls_in(evidence.history, f"{evidence.case}/rejected", f"{evidence.case}/then another")
    status = evidence.history.numbers("status")[list(rows)] if rows else np.empty(0, dtype=np.int64)
    seen = int(np.count_nonzero(status == limit.status))
    told = held(REJECTED, f"{seen} requests were rejected", examined=seen, needed=2 * policy.failures)
    return delivered(
        evidence, [*judge_never_trips(circuit_context(policy, evidence.history, evidence), rows, "rejections"), told]
    )


@case(
    "TC-INT-004",
    "Lock contention opens no circuit",
    Category.INTERACTION,
    Priority.HIGH,
    phase=7,
    requires=LOCKED_CIRCUIT,
    uses=lambda _: (),
    takes=3 * NS_PER_SECOND,
)
async def contention(run: CaseContext, found: LockedCircuit) -> None:
    """That a user's lock is held is no failure of the service.

    Sends: one user many times at once against its own lock, three times, then another user
    Passes when: the circuit stayed closed however often contention was answered
    Reading FAIL: the finding shows the call that met an open circuit, and what came before it
    Least evidence: twice as many contention answers as failures open the circuit
    """
    lock, circuit = found
    accounts = await run.accounts(2)
    async with run.undisturbed(lock.operation, circuit.operation):
        await settle(run, circuit, accounts[1])
        run.doing(f"{lock.concurrency} at once for one user, {_BURSTS} times")
        for i in range(1, _BURSTS + 1):
            crowd = max(lock.concurrency, 2 * circuit.failures)
            await run.run(
                run.burst(f"contending {i}", once(lock.operation), crowd, account=accounts[0], source=run.source())
            )
        well = run.steps("then another", call(circuit, _GOOD), account=accounts[1], source=run.source())
        await run.run(well)


@contention.judge
def judge_contention(evidence: Evidence, found: LockedCircuit) -> list[Finding]:
    """TC-INT-004: that a user's lock is held is no failure of the service."""
    if doubt := unsettled(evidence):
        return doubt
    _, circuit = found
    rows = calls_in(evidence.history, f"{evidence.case}/contending", f"{evidence.case}/then another")
    context = circuit_context(circuit, evidence.history, evidence)
    neutral = calls_of(context, rows).of(CallKind.NEUTRAL) if rows else np.zeros(0, dtype=np.bool_)
    seen = int(np.count_nonzero(neutral))
    told = held(CONTENDED, f"{seen} operations met a held lock", examined=seen, needed=2 * circuit.failures)
    return delivered(evidence, [*judge_never_trips(context, rows, "contention"), told])


@case(
    "TC-INT-005",
    "An open circuit is seen by the other controls",
    Category.INTERACTION,
    Priority.HIGH,
    phase=5,
    requires=RECORDED_CIRCUIT,
    uses=lambda _: (),
    breaks=lambda found: its_service(found[0][0]),
    takes=lambda found: 6 * NS_PER_SECOND + found[1][1].arrives_within,
    spends=True,
)
async def open_circuit(run: CaseContext, found: RecordedCircuit) -> None:
    """What an open circuit answers is counted, its opening is logged, and it costs allowance like any other answer.

    Sends: a stopped service's circuit is opened, then called beyond a client's whole allowance between two
        readings
    Passes when: each answer was counted, the opening stands in the audit log, and the limit came at its number
    Reading FAIL: the finding names the missing series, the missing event, or the request limited too early or
        late
    Least evidence: a fault that was seen to hold, and half the limit of calls that met the open circuit
    """
    (policy, limit), _ = found
    (account,) = await run.accounts(1)
    note_secrets(run, [account])
    await settle(run, policy, account)
    async with run.fault(policy.service, failing_kind(run.target, policy), FAULT_NS), run.exclusive():
        await run.readings.begin_audit()
        await run.readings.services("before")
        await run.readings.prometheus("served")
        await _look(run, "served")
        run.doing(f"opening the circuit of {policy.service}")
        await run.run(run.steps("failing", call(policy, policy.failures + 3), account=account, source=run.source()))
        run.doing("calling the open circuit beyond a whole allowance")
        spend = run.steps("open", call(policy, allowance(limit) + _OVER), account=account, source=run.source())
        await run.run(spend)
        await _look(run, "open")
        await run.readings.prometheus("open")
        await settle_metrics_and_audit(run)
        await run.readings.services("after")
        await read_log(run)


async def _look(run: CaseContext, label: str) -> None:
    """Read the pages several times: each of several workers may show what it alone believes."""
    for i in range(_LOOKS):
        await run.readings.services(f"{label} {i}")


@open_circuit.judge
def judge_open(evidence: Evidence, found: RecordedCircuit) -> list[Finding]:
    """TC-INT-005: an open circuit is counted and on record, and its answers count against the limit like any others."""
    if doubt := unsettled(evidence):
        return doubt
    (policy, limit), (metrics, audit) = found
    context = circuit_context(policy, evidence.history, evidence)
    rows = rows_of(evidence, "open")
    rejected = calls_of(context, rows).of(CallKind.REJECTED) if len(rows) else np.zeros(0, dtype=np.bool_)
    seen = int(np.count_nonzero(rejected))
    told = held(SEEN_OPEN, f"{seen} calls met the open circuit", examined=seen, needed=allowance(limit) // 2)
    of_limit = limit_context(evidence, limit, admitted_statuses=frozenset({policy.status_when_open}))
    admitted = judge_admission(of_limit, rows) if seen else []
    pages = {label: [f"{label} {i}" for i in range(_LOOKS)] for label in ("served", "open")}
    own = [
        _opening(evidence, audit, seen),
        *_kept_secret(evidence, audit),
        *_gauge(evidence, policy, seen, "gateway", pages),
    ]
    if evidence.ledgers.reading("open", "prometheus") is not None:
        there = _gauge(evidence, policy, seen, "prometheus", {label: [label] for label in pages})
        own += [replace(finding, says=f"{AT_SERVER}{finding.says}") for finding in there]
    return delivered(evidence, [*admitted, *counted(evidence, metrics), *own, told])


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


def _kept_secret(evidence: Evidence, audit: AuditPolicy) -> list[Finding]:
    if "audit.error" in evidence.ledgers.facts:
        return []
    return [judge_secrets(decode(audit, evidence.ledgers.audit), (), evidence.facts.get(DIGESTS, ()))]


def _opening(evidence: Evidence, audit: AuditPolicy, seen: int) -> Finding:
    """Return whether the audit log tells of the opening, in an event that one of our own requests brought about."""
    if error := evidence.ledgers.facts.get("audit.error"):
        return Finding(RECORDED, Outcome.INCONCLUSIVE, f"the audit log could not be read: {error}")
    if not seen:
        return Finding(RECORDED, Outcome.INCONCLUSIVE, "the circuit was not seen to be open, so nothing is missed")
    name = audit.events[OPENED]
    entries = decode(audit, evidence.ledgers.audit)
    if problem := illegible(audit, entries, 1):
        return Finding(RECORDED, Outcome.INCONCLUSIVE, problem)
    ours = {*evidence.history.frame["request_id"].to_list(), *request_ids(evidence.history).to_list()}
    openings = [entry for entry in entries if text_of(audit, entry, "event") == name]
    # Written by what counts the failures, it may know of no request: while the service is broken by us, it is ours.
    ours |= {""} if audit.request_ids != "theirs" else {text_of(audit, entry, "request_id") for entry in openings}
    events = [entry for entry in openings if text_of(audit, entry, "request_id") in ours]
    if events:
        return held(RECORDED, f"the opening is in the audit log ({name})", examined=len(events))
    if openings:
        says = f"{len(openings)} entries tell of {name} meanwhile, none under a request id of ours"
        return Finding(RECORDED, Outcome.INCONCLUSIVE, says, len(entries), 1, look_at="policies.audit.request_ids")
    return Finding(
        RECORDED,
        Outcome.FAIL,
        f"{seen} calls met an open circuit, and no {name} in the audit log tells of its opening",
        len(entries),
        1,
        shown=(f"{len(entries)} entries were written meanwhile, none of them a {name} of our requests",),
        look_at="who listens to the changes of a circuit, and whether they reach the audit log",
    )
