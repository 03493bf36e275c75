"""TC-RL: what a rate limit admits and rejects, and what its headers say."""

from __future__ import annotations

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, gateway_limits, its_probe, others
from proofload.cases.rate_limit.clients import Client, can_be_told_apart, clients_of, send
from proofload.cases.rate_limit.evasions import ALIKE, evasions, find_alike
from proofload.cases.rate_limit.spending import (
    ROUNDING_NS,
    at_promised,
    exhaust,
    keep_last,
    pace_below_ns,
    paced,
    sustained,
)
from proofload.cases.rate_limit.window_end import (
    LONGEST_MODEL_NS,
    WHOLE_MODEL_NS,
    SpentBetween,
    await_the_end,
    half_of,
    names_of_clients,
)
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.short_window import in_time
from proofload.core.clock import Anchor
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer
from proofload.judge.rate_limit.header_values import read_retry_after, read_time
from proofload.plan.policies import RateLimitHeaders, RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script, Sequence

TO_COMPARE = 10
"""How many rejections one by one it takes to compare their speed with that of served requests."""
_OVER_PACED = 5
_LEAST_KEPT = 0.2
_LONGEST_PACED_NS = 180 * NS_PER_SECOND
"""An allowance that takes longer to use up below the other limits is not used up."""


def told_limit(target: Target) -> RateLimitPolicy | Missing:
    """Return the gateway's limit, where a header tells of it."""
    limit = GATEWAY_LIMIT.find(target)
    if isinstance(limit, Missing):
        return limit
    told = limit.headers
    if any((told.limit, told.remaining, told.reset, told.retry_after, told.ietf)):
        return limit
    return Missing("the target declares no header that tells of the limit (policies.rate_limit[].headers)")


TOLD_LIMIT = Requirement("rate limit told by headers", "policies.rate_limit, policies.rate_limit.headers", told_limit)


def _takes(limit: RateLimitPolicy) -> int:
    # The models are told apart over two windows, from a part of the clock's window on.
    if limit.window > LONGEST_MODEL_NS:
        return limit.window + 4 * NS_PER_SECOND
    halves = 6 if limit.window <= WHOLE_MODEL_NS else 3
    return halves * limit.window // 2 + 4 * NS_PER_SECOND


@case(
    "TC-RL-001",
    "Gateway rate limit enforcement",
    Category.RATE_LIMIT,
    Priority.CRITICAL,
    phase=2,
    requires=GATEWAY_LIMIT,
    uses=its_probe,
    takes=_takes,
    spends=True,
)
async def enforcement(run: CaseContext, policy: RateLimitPolicy) -> None:
    """The gateway admits exactly its limit for each client, and nothing gets round it.

    Sends: the limit and a few more one by one from one client; half as many again, all at once, from another;
        the same request in other forms (forged forwarding headers, queries, spellings, new connections) from the
        limited client; a client below the limit; retries until the window ends, and requests after it; groups timed
        so that no two kinds of limiter answer them alike; and each other limit of the gateway in its turn
    Passes when: never more than the limit was admitted in a window, no request below it was rejected, other
        clients were served meanwhile, nothing opened a new allowance, exempt paths stayed exempt, and no
        rejected request reached the backend
    Reading FAIL: the finding shows the smallest set of requests that breaks the promise, such as the 101st
        admitted one with its times; rows are line numbers of history/TC-RL-001.parquet
    Least evidence: more requests than the limit surely decided inside one window
    """
    apart = can_be_told_apart(run.target, policy)
    # All at one stretch: where others measure meanwhile, each turn would have to be waited for.
    async with run.exclusive():
        alike = await find_alike(run, policy)
        run.note(ALIKE, alike)
        clients = await clients_of(run, policy, names_of_clients(policy))
        run.note("sources", {name: client.source for name, client in clients.items()})
        began_ns = await _spend_twice(run, policy, clients, alike)
    if policy.is_bucket:
        run.doing("keeping the bucket empty, to see at which rate it fills")
        await send(run, _steps(run, "sustained", sustained(policy), clients["spender"]))
        await _try_evasions(run, policy, clients["spender"], alike)
    regular_ns = run.clock.now_ns()
    if apart:
        await send(
            run,
            _steps(run, "bystander", policy.probe, clients["bystander"], 3),
            _steps(run, "regular", policy.probe, clients["regular"], half_of(policy)),
        )
    for other in gateway_limits(run.target):
        if other != policy:
            await _spend_other(run, other)
    # The window began with the first request's decision, which its answer bounds.
    latest_ns = regular_ns if apart else began_ns
    await await_the_end(run, policy, clients, SpentBetween(began_ns, latest_ns + policy.window), apart=apart)


def _steps(run: CaseContext, name: str, what: str | Script, client: Client, count: int = 1) -> Sequence:
    return run.steps(name, what, count, account=client.account, source=client.source)


async def _spend_twice(run: CaseContext, policy: RateLimitPolicy, clients: dict[str, Client], alike: list[str]) -> int:
    """Spend one allowance one by one and one all at once, exclusively; return when that began."""
    size = policy.allowance
    over = beyond(size)
    crowd_size = size + max(10, size // 2)
    apart = can_be_told_apart(run.target, policy)
    spender, crowd = clients["spender"], clients["crowd"]
    if apart:
        await run.readings.services("uncalibrated")
        await send(run, _steps(run, "calibration", policy.probe, clients["calibration"], min(3, size)))
    await run.readings.services("before")
    run.doing(f"sending {size} + {over} requests from one client")
    began_ns = run.clock.now_ns()
    await send(
        run,
        _steps(run, "sequence", exhaust(policy, over), spender)
        if policy.is_bucket
        else _steps(run, "sequence", policy.probe, spender, size + over),
    )
    if not policy.is_bucket:
        # At once: once the window is over, what is admitted shows nothing.
        await _try_evasions(run, policy, spender, alike)
    if apart:
        run.doing(f"releasing {crowd_size} requests at once from another client")
        await send(run, run.burst("burst", policy.probe, crowd_size, account=crowd.account, source=crowd.source))
    await run.readings.services("after")
    return began_ns


def beyond(size: int) -> int:
    """Return how many more than the allowance are sent one by one."""
    return max(TO_COMPARE, size // 20)


async def _try_evasions(run: CaseContext, policy: RateLimitPolicy, client: Client, alike: list[str]) -> None:
    run.doing("trying to get round the limit")
    await send(run, *evasions(run, policy, client, alike))


async def _spend_other(run: CaseContext, policy: RateLimitPolicy) -> None:
    """Spend another limit of the gateway on a client of its own, so slowly that no tighter limit is met first."""
    if not can_be_told_apart(run.target, policy):
        return
    count, every_ns = plan_other(run.target, policy)
    if not count:
        return
    (client,) = (await clients_of(run, policy, ["other"])).values()
    run.doing(f"{policy.name}: sending {count} requests where {policy.allowance} are allowed")
    async with in_time(run, policy):
        await send(run, _steps(run, step_of_other(policy), paced(policy.probe, count, every_ns), client))


def step_of_other(policy: RateLimitPolicy) -> str:
    """Return the step that spends another limit of the gateway: names need not be unique."""
    return f"also {policy.name} {policy.limit} in {policy.window}"


def plan_other(target: Target, policy: RateLimitPolicy) -> tuple[int, int]:
    """Return how many requests use up a limit, and how far apart, below the others; none where that can't be done."""
    path = target.operations[policy.probe].path
    rivals = [one for one in others(target, policy) if one.covers(path)]
    count = policy.allowance + _OVER_PACED
    every_ns = pace_below_ns(policy, count, rivals)
    if policy.is_bucket and every_ns:
        # Of what is sent slowly a part is paid by what flows in meanwhile.
        kept = 1 - every_ns * policy.limit / policy.window
        count = int(policy.allowance / kept) + 2 * _OVER_PACED if kept > _LEAST_KEPT else 0
    elif every_ns * policy.allowance >= policy.window * 9 // 10:
        count = 0
    return (count, every_ns) if count * every_ns <= _LONGEST_PACED_NS else (0, 0)


@case(
    "TC-RL-002",
    "Rate limit headers",
    Category.RATE_LIMIT,
    Priority.HIGH,
    phase=2,
    requires=TOLD_LIMIT,
    uses=its_probe,
    takes=lambda limit: limit.window + 3 * NS_PER_SECOND,
    spends=True,
)
async def headers(run: CaseContext, limit: RateLimitPolicy) -> None:
    """What the headers tell a client about its allowance is true.

    Sends: two whole allowances and three requests more, from two addresses; a burst from a third; and requests
        at the instants that Reset and Retry-After named
    Passes when: every answer carries the declared headers; the limit is the limit; Remaining goes down by one
        to 0 and never repeats; Reset is in its unit, and a request at that instant is admitted; so with
        Retry-After
    Reading FAIL: the finding names the first answer whose header is absent or wrong, and what it should have
        said
    Least evidence: as many answers as the limit, and one request sent at the announced reset
    """
    policy = limit
    apart = can_be_told_apart(run.target, policy)
    anchor = Anchor.take(run.clock)
    names = ("reset", "retry-after") if apart else ("reset",)
    clients = await clients_of(run, policy, (*names, "burst") if apart else names)
    run.note("sources", {name: clients[name].source for name in names})
    last: dict[str, Answer] = {}
    run.doing(f"spending {len(names)} allowances of {policy.allowance}")
    async with in_time(run, policy):
        await send(
            run, *(_steps(run, f"spend for {name}", keep_last(policy, last, name), clients[name]) for name in names)
        )
    promised = {
        "reset": reset_ns(policy.headers, last.get("reset"), anchor),
        "retry-after": retry_after_ns(policy.headers, last.get("retry-after"), anchor),
    }
    if apart:
        crowd = clients["burst"]
        burst = run.burst("burst", policy.probe, policy.allowance, account=crowd.account, source=crowd.source)
        await send(run, burst)
    horizon_ns = run.clock.now_ns() + 2 * policy.window + ROUNDING_NS
    # A promise of the far future is untrue by itself; the judge says so without our waiting for it.
    due = {name: at for name in names if (at := promised[name]) is not None and at < horizon_ns}
    run.note("promised_ns", due)
    if not due:
        return
    await run.wait_until_ns(min(due.values()) - NS_PER_SECOND // 10, "the instant that the headers promised")
    await send(
        run, *(_steps(run, f"at {name}", at_promised(policy.probe, at), clients[name]) for name, at in due.items())
    )


def reset_ns(headers: RateLimitHeaders, answer: Answer | None, anchor: Anchor) -> int | None:
    """Return the monotonic instant that an answer's reset header names, or None where it names none."""
    text = answer.headers.get(headers.reset.lower()) if answer and headers.reset else None
    told = read_time(text, headers.reset_unit) if text is not None else None
    return told.instant_ns(answer.done_ns, anchor) if answer and told else None


def retry_after_ns(headers: RateLimitHeaders, answer: Answer | None, anchor: Anchor) -> int | None:
    """Return the monotonic instant that an answer's Retry-After names, or None where it names none."""
    text = answer.headers.get(headers.retry_after.lower()) if answer and headers.retry_after else None
    told = read_retry_after(text) if text is not None else None
    return told.instant_ns(answer.done_ns, anchor) if answer and told else None
