"""TC-LATENCY-004 to 006: one user's reads at once, the first requests after a start, and stalls that come again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.latency.load_levels import GATEWAY, reads
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.latency import judge_latency
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LatencyPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Burst, ConstantRate
from proofload.record.exchange import Ending
from proofload.record.fault_edge import spans

_AT_ONCE, _PAIRS = 20, 12
_TIMES, _LEAST_LONGER_NS = 1.5, 100_000_000
"""How much longer one user's reads take where they wait for each other: both, at the lower quartile."""
_SURELY, _BARELY = 11, 9
"""Of the pairs: as many longer ones come by chance 3 times in 1,000; as many or fewer say nothing."""
_STARTS, _CLIENTS, _EACH = 3, 4, 75
_RATE, _LASTS_NS = 20, 44 * NS_PER_SECOND
_LEASE_NS = 20 * NS_PER_SECOND
SERIALIZED, FIRST, STALL = "lat.serialized_by_lock", "lat.slow_first_request", "lat.periodic_stall"


def missing_read(target: Target) -> str:
    """Return why no read can be repeated at will, or nothing."""
    return "" if reads(target) else "the target declares no read of a service (operations.<name>.service)"


def read_of(target: Target) -> str:
    """Return the read to measure, which `missing_read` has seen to be there: one that needs to know its user."""
    # By name as well: a set's own order is another in every process, and a verdict is worked out again in another.
    return min(reads(target).values(), key=lambda name: (target.operations[name].auth != "bearer", name))


def missing_user(target: Target) -> str:
    """Return why one user's reads can't be compared with those of many, or nothing."""
    if reason := missing_read(target):
        return reason
    bearer = target.operations[read_of(target)].auth == "bearer" and target.users is not None
    return "" if bearer else "no read of the target needs a log-in, so users can't be told apart (operations.auth)"


async def drive_one_user(lab: Lab) -> None:
    """Send the same read many times at once, in turn by one user and by as many users."""
    name = read_of(lab.target)
    accounts = await lab.accounts(_AT_ONCE)
    async with lab.using(name), lab.silence():
        lab.doing(f"{_AT_ONCE} of {name} at once, by one user and by many")
        for i in range(1, _PAIRS + 1):
            # Either comes first as often as the other. A source for each connection, so that a limit meets neither.
            turns = [("many", accounts), ("one", accounts[:1])]
            for who, users in turns if i % 2 else reversed(turns):
                await lab.run(_burst(lab, f"{who} {i}", name, users))


def _burst(lab: Lab, step: str, name: str, accounts: Sequence[Account]) -> Burst:
    burst = lab.burst(step, name, _AT_ONCE)
    identities = tuple(account.identity() for account in accounts)
    return replace(burst, identities=identities, sources=lab.sources(_AT_ONCE))


def judge_one_user(evidence: Evidence) -> list[Finding]:
    """TC-LATENCY-004: a user's reads do not wait for one another, for reading declares no lock."""
    history = evidence.history
    ending, sent, done = (history.numbers(name) for name in ("ending", "sent_ns", "done_ns"))
    took: list[tuple[int, int]] = []
    for i in range(1, _PAIRS + 1):
        pair = [rows_of(evidence, f"{who} {i}") for who in ("one", "many")]
        if all(len(rows) == _AT_ONCE and bool((ending[rows] == Ending.ANSWERED).all()) for rows in pair):
            one, many = (int(done[rows].max() - sent[rows].min()) for rows in pair)
            took.append((one, many))
    name = read_of(evidence.target)
    # What else keeps the machine busy only ever adds: the lower quartile is nearest to what the program itself takes.
    one_ns, many_ns = (int(np.quantile([pair[side] for pair in took or [(0, 0)]], 0.25)) for side in (0, 1))
    longer = sum(one > many for one, many in took)
    figures = f"{format_duration(one_ns)} against {format_duration(many_ns)} by as many users"
    says = f"{_AT_ONCE} of {name} at once by one user took {figures}, at the lower quartile of {len(took)} pairs"
    little = one_ns - many_ns <= _LEAST_LONGER_NS
    if len(took) < _PAIRS or little or longer <= _BARELY:
        return delivered(evidence, [held(SERIALIZED, says, examined=len(took), needed=_PAIRS)])
    says = f"{says}; in {longer} of them the one user's took longer"
    if longer < _SURELY or one_ns <= _TIMES * many_ns:
        return delivered(evidence, [Finding(SERIALIZED, Outcome.INCONCLUSIVE, says, len(took), _PAIRS)])
    shown = tuple(f"one user {format_duration(one)}, many users {format_duration(many)}" for one, many in took)
    look = "locks, sessions and transactions keyed by user around what only reads"
    rows = tuple(int(row) for row in rows_of(evidence, "one 1")[:5])
    says = f"{says}: the reads of one user wait for each other, though no lock is declared for them"
    return delivered(evidence, [Finding(SERIALIZED, Outcome.FAIL, says, len(took), _PAIRS, rows, shown, look)])


def missing_start(target: Target) -> str:
    """Return why the gateway can't be started anew, or nothing."""
    if reason := missing_read(target):
        return reason
    service = target.services.get(GATEWAY)
    if GATEWAY not in target.faults or service is None or service.health is None:
        return f"the target declares no way to restart its gateway (faults.{GATEWAY}, services.{GATEWAY}.health)"
    return ""


async def drive_start(lab: Lab) -> None:
    """Stop and start the gateway, and read at once; several times."""
    name = read_of(lab.target)
    accounts = await lab.accounts(_CLIENTS)
    each = polite_count(lab.target, _EACH)
    async with lab.silence():
        for i in range(1, _STARTS + 1):
            async with lab.fault(GATEWAY, "stop", _LEASE_NS):
                lab.doing(f"restarting the gateway, {i} of {_STARTS}")
            crowd = lab.crowd(f"start {i}", name, _CLIENTS, each, accounts=accounts, sources=lab.sources(_CLIENTS))
            await lab.run(crowd)


def judge_start(evidence: Evidence) -> list[Finding]:
    """TC-LATENCY-005: the first request after a start is not far slower than all that follow, start after start."""
    proven = [span for span in spans(evidence.edges) if span.service == GATEWAY and span.held and span.mended]
    found: list[Finding] = []
    for i in range(1, _STARTS + 1):
        rows = rows_of(evidence, f"start {i}")
        if len(rows):
            found += [one for one in judge_latency(LatencyPolicy(), evidence.history, rows=rows) if one.rule == FIRST]
    broken = [one for one in found if one.outcome is Outcome.FAIL]
    if len(proven) < _STARTS or len(found) < _STARTS:
        says = f"the gateway was seen to be restarted {len(proven)} times, {_STARTS} needed"
        return delivered(evidence, [Finding(FIRST, Outcome.INCONCLUSIVE, says, len(found), _STARTS)])
    if len(broken) == _STARTS:
        says = f"after each of {_STARTS} starts: {broken[0].says}"
        return delivered(evidence, [replace(broken[0], says=says, shown=tuple(one.says for one in broken))])
    says = f"after {len(broken)} of {_STARTS} starts the first request was far slower than the others"
    # Once may be the machine; every time is the program.
    return delivered(evidence, [held(FIRST, says, examined=len(found), needed=_STARTS)])


async def drive_stalls(lab: Lab) -> None:
    """Read at a low steady rate for long enough that a stall comes back several times."""
    name = read_of(lab.target)
    accounts = await lab.accounts(_CLIENTS)
    many = _RATE * _LASTS_NS // NS_PER_SECOND
    walkers = max(_CLIENTS, -(-many // polite_count(lab.target, _EACH)))
    # A stall holds up a second's worth and more: each who steps in then has an address of his own.
    most = walkers + 2 * _RATE
    async with lab.using(name):
        lab.doing(f"{_RATE} of {name} a second", lab.clock.now_ns() + _LASTS_NS)
        steady = ConstantRate(
            name=lab.step("steady"),
            run=name,
            rate=_RATE,
            for_ns=_LASTS_NS,
            sources=tuple(lab.target.sources or lab.sources(most)),
            identities=tuple(account.identity() for account in accounts),
            max_users=most,
            warm_users=walkers,
        )
        await lab.run(steady)


def judge_stalls(evidence: Evidence) -> list[Finding]:
    """TC-LATENCY-006: nothing stops everything again and again."""
    rows = rows_of(evidence, "steady")
    names = [name for name, one in evidence.target.operations.items() if one.effect == "none"]
    found = judge_latency(LatencyPolicy(operations=tuple(names)), evidence.history, rows=rows)
    told = [one for one in found if one.rule in (STALL, "lat.failures", "lat.percentiles")]
    sent = judge_delivery(evidence.history)
    return [*rest_on(told, sent, fail_survives=False), *sent]


CASES = (
    Case(
        id="TC-LATENCY-004",
        title="One user's reads at once",
        category=Category.LATENCY,
        priority=Priority.MEDIUM,
        phase=8,
        purpose="Who reads several things at once does not wait for himself.",
        sends=f"{_AT_ONCE} reads at once by one user, and as many by as many users, in turn, {_PAIRS} times each",
        passes_when="one user's reads took no longer than those of many users, or not by much: 100 ms at the quartile",
        read_fail="the finding shows how long each pair took",
        least_evidence=f"{_PAIRS} pairs, all answered",
        needs=("operations with auth: bearer", "users.login"),
        missing=missing_user,
        expected_ns=lambda _: 8 * NS_PER_SECOND,
        drive=drive_one_user,
        judge=judge_one_user,
    ),
    Case(
        id="TC-LATENCY-005",
        title="First requests after a start",
        category=Category.LATENCY,
        priority=Priority.MEDIUM,
        phase=8,
        purpose="Nobody pays for a start that was not finished before traffic came.",
        sends=f"reads by {_CLIENTS} users right after the gateway was stopped and started, {_STARTS} times, in silence",
        passes_when="the first answer was not far slower than 99 of 100 others after every start",
        read_fail="the finding tells how long the first answer took after each start, and the others",
        least_evidence=f"{_STARTS} restarts seen by a probe",
        needs=("faults.gateway", "services.gateway.health"),
        missing=missing_start,
        expected_ns=lambda _: 14 * NS_PER_SECOND,
        drive=drive_start,
        judge=judge_start,
        disturbs=frozenset({"everything"}),
    ),
    Case(
        id="TC-LATENCY-006",
        title="Stalls that come again",
        category=Category.LATENCY,
        priority=Priority.MEDIUM,
        phase=8,
        purpose="Nothing stops everything at even intervals: collections, checkpoints, quotas.",
        sends=f"{_RATE} reads a second for {_LASTS_NS // NS_PER_SECOND} s, as an open load, while nothing else runs",
        passes_when="no answers stopped again and again at even intervals",
        read_fail="the finding tells the interval, how long each stall was, and the requests that it held up",
        least_evidence="50 answers; a stall is seen that comes back every tenth of the time or so, or more often",
        needs=("operations.<name>.service",),
        missing=missing_read,
        expected_ns=lambda _: _LASTS_NS + 2 * NS_PER_SECOND,
        drive=drive_stalls,
        judge=judge_stalls,
        disturbs=frozenset({"everything"}),
    ),
)
