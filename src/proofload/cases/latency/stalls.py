"""TC-LATENCY-004 to 006: one user's reads at once, the first requests after a start, and stalls that come again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.fault_control import can_break
from proofload.cases.isolation import gateway_service
from proofload.cases.reads import READ
from proofload.cases.requirement import Missing, Requirement
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


def _own_read(target: Target) -> str | Missing:
    name = READ.find(target)
    if isinstance(name, Missing) or (target.operations[name].auth == "bearer" and target.users is not None):
        return name
    return Missing("no read of the target needs a log-in, so users can't be told apart (operations.auth)")


def _restartable(target: Target) -> tuple[str, str] | Missing:
    """Return the gateway's service, which can be stopped and started, and the read to send."""
    name = READ.find(target)
    if isinstance(name, Missing):
        return name
    gateway = gateway_service(target)
    if gateway is None or not can_break(target, gateway, "stop"):
        return Missing(
            "the target declares no way to restart its gateway (services.NAME with a health URL at its own address, "
            "and faults.NAME)"
        )
    return gateway, name


OWN_READ = Requirement("read that needs a log-in", "operations with auth: bearer, users.login", _own_read)
RESTARTABLE_GATEWAY = Requirement(
    "gateway that can be restarted", "faults.<gateway>, services.<gateway>.health", _restartable
)


@case(
    "TC-LATENCY-004",
    "One user's reads at once",
    Category.LATENCY,
    Priority.MEDIUM,
    phase=8,
    requires=OWN_READ,
    uses=lambda _: (),
    takes=8 * NS_PER_SECOND,
)
async def one_user(run: CaseContext, name: str) -> None:
    """Who reads several things at once does not wait for themselves.

    Sends: 20 reads at once by one user, and as many by as many users, in turn, 12 times each
    Passes when: one user's reads took no longer than those of many users, or not by much: 100 ms at the
        quartile
    Reading FAIL: the finding shows how long each pair took
    Least evidence: 12 pairs, all answered
    """
    accounts = await run.accounts(_AT_ONCE)
    async with run.undisturbed(name), run.exclusive():
        run.doing(f"{_AT_ONCE} of {name} at once, by one user and by many")
        for i in range(1, _PAIRS + 1):
            # Either comes first as often as the other. A source for each connection, so that a limit meets neither.
            turns = [("many", accounts), ("one", accounts[:1])]
            for who, users in turns if i % 2 else reversed(turns):
                await run.run(_burst(run, f"{who} {i}", name, users))


def _burst(run: CaseContext, step: str, name: str, accounts: Sequence[Account]) -> Burst:
    burst = run.burst(step, name, _AT_ONCE)
    identities = tuple(account.identity() for account in accounts)
    return replace(burst, identities=identities, sources=run.sources(_AT_ONCE))


@one_user.judge
def judge_one_user(evidence: Evidence, name: str) -> list[Finding]:
    """TC-LATENCY-004: a user's reads do not wait for one another, for reading declares no lock."""
    history = evidence.history
    ending, sent, done = (history.numbers(name) for name in ("ending", "sent_ns", "done_ns"))
    took: list[tuple[int, int]] = []
    for i in range(1, _PAIRS + 1):
        pair = [rows_of(evidence, f"{who} {i}") for who in ("one", "many")]
        if all(len(rows) == _AT_ONCE and bool((ending[rows] == Ending.ANSWERED).all()) for rows in pair):
            one, many = (int(done[rows].max() - sent[rows].min()) for rows in pair)
            took.append((one, many))
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


@case(
    "TC-LATENCY-005",
    "First requests after a start",
    Category.LATENCY,
    Priority.MEDIUM,
    phase=8,
    requires=RESTARTABLE_GATEWAY,
    breaks=lambda found: (found[0],),
    takes=14 * NS_PER_SECOND,
    alone=True,
)
async def start(run: CaseContext, found: tuple[str, str]) -> None:
    """Nobody pays for a start that was not finished before traffic came.

    Sends: reads by 4 users right after the gateway was stopped and started, 3 times, while no other case sends
    Passes when: the first answer was not far slower than 99 of 100 others after every start
    Reading FAIL: the finding tells how long the first answer took after each start, and the others
    Least evidence: 3 restarts seen by a probe
    """
    gateway, name = found
    accounts = await run.accounts(_CLIENTS)
    each = polite_count(run.target, _EACH)
    async with run.exclusive():
        for i in range(1, _STARTS + 1):
            async with run.fault(gateway, "stop", _LEASE_NS):
                run.doing(f"restarting the gateway, {i} of {_STARTS}")
            crowd = run.crowd(f"start {i}", name, _CLIENTS, each, accounts=accounts, sources=run.sources(_CLIENTS))
            await run.run(crowd)


@start.judge
def judge_start(evidence: Evidence, found: tuple[str, str]) -> list[Finding]:
    """TC-LATENCY-005: the first request after a start is not far slower than all that follow, start after start."""
    proven = [span for span in spans(evidence.edges) if span.service == found[0] and span.held and span.mended]
    firsts: list[Finding] = []
    for i in range(1, _STARTS + 1):
        rows = rows_of(evidence, f"start {i}")
        if len(rows):
            firsts += [one for one in judge_latency(LatencyPolicy(), evidence.history, rows=rows) if one.rule == FIRST]
    broken = [one for one in firsts if one.outcome is Outcome.FAIL]
    if len(proven) < _STARTS or len(firsts) < _STARTS:
        says = f"the gateway was seen to be restarted {len(proven)} times, {_STARTS} needed"
        return delivered(evidence, [Finding(FIRST, Outcome.INCONCLUSIVE, says, len(firsts), _STARTS)])
    if len(broken) == _STARTS:
        says = f"after each of {_STARTS} starts: {broken[0].says}"
        return delivered(evidence, [replace(broken[0], says=says, shown=tuple(one.says for one in broken))])
    says = f"after {len(broken)} of {_STARTS} starts the first request was far slower than the others"
    # Once may be the machine; every time is the program.
    return delivered(evidence, [held(FIRST, says, examined=len(firsts), needed=_STARTS)])


@case(
    "TC-LATENCY-006",
    "Stalls that come again",
    Category.LATENCY,
    Priority.MEDIUM,
    phase=8,
    requires=READ,
    uses=lambda name: (name,),
    takes=_LASTS_NS + 2 * NS_PER_SECOND,
    alone=True,
)
async def stalls(run: CaseContext, name: str) -> None:
    """Nothing stops everything at even intervals: collections, checkpoints, quotas.

    Sends: 20 reads a second for 44 s, as an open load, while nothing else runs
    Passes when: no answers stopped again and again at even intervals
    Reading FAIL: the finding tells the interval, how long each stall was, and the requests that it held up
    Least evidence: 50 answers; a stall is seen that comes back every tenth of the time or so, or more often
    """
    accounts = await run.accounts(_CLIENTS)
    many = _RATE * _LASTS_NS // NS_PER_SECOND
    walkers = max(_CLIENTS, -(-many // polite_count(run.target, _EACH)))
    # A stall holds up a second's worth and more: each who steps in then has an address of his own.
    most = walkers + 2 * _RATE
    async with run.undisturbed(name):
        run.doing(f"{_RATE} of {name} a second", run.clock.now_ns() + _LASTS_NS)
        steady = ConstantRate(
            name=run.step("steady"),
            run=name,
            rate=_RATE,
            for_ns=_LASTS_NS,
            sources=tuple(run.target.sources or run.sources(most)),
            identities=tuple(account.identity() for account in accounts),
            max_users=most,
            warm_users=walkers,
        )
        await run.run(steady)


@stalls.judge
def judge_stalls(evidence: Evidence, _name: str) -> list[Finding]:
    """TC-LATENCY-006: nothing stops everything again and again."""
    rows = rows_of(evidence, "steady")
    names = [name for name, one in evidence.target.operations.items() if one.effect == "none"]
    findings = judge_latency(LatencyPolicy(operations=tuple(names)), evidence.history, rows=rows)
    told = [one for one in findings if one.rule in (STALL, "lat.failures", "lat.percentiles")]
    sent = judge_delivery(evidence.history)
    return [*rest_on(told, sent, fail_survives=False), *sent]
