"""TC-RL: what a rate limit admits and rejects, and what its headers say."""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, allowance, is_bucket, its_probe
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.short_window import in_time
from proofload.core.clock import Anchor
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User
from proofload.judge.rate_limit import Slack
from proofload.plan.policies import RateLimitHeaders, RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script, Sequence

ROUNDING_NS = NS_PER_SECOND
"""Stores keep whole seconds of expiry: a window may last this much longer than declared."""
_SHORT_NS = 10 * NS_PER_SECOND
_RETRIES = 8
"""How often a rejected client tries again while it waits for the window's end."""
_FORGED_ADDRESSES = 5
_MOST_DIGITS = 15
_SUSTAINED_TOKENS = 10
"""How many tokens flow in while a bucket is kept empty: enough that a refill of another rate shows."""
_MOST_SUSTAINED = 2_000


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


@case(
    "TC-RL-001",
    "Gateway rate limit enforcement",
    Category.RATE_LIMIT,
    Priority.CRITICAL,
    phase=2,
    requires=GATEWAY_LIMIT,
    uses=its_probe,
    takes=lambda limit: limit.window + 4 * NS_PER_SECOND,
    spends=True,
)
async def enforcement(run: CaseContext, limit: RateLimitPolicy) -> None:
    """The gateway admits exactly its limit for each client, and nothing gets round it.

    Sends: the limit and a few more one by one from one address; half as many again, all at once, from another;
        forged forwarding headers, queries and new connections from the limited address; a client below the
        limit; knocks until the window ends, and requests after it
    Passes when: never more than the limit was admitted in a window, no request below it was rejected, other
        clients were served meanwhile, nothing opened a new allowance, exempt paths stayed exempt, and no
        rejected request reached the backend
    Reading FAIL: the finding shows the smallest set of requests that breaks the promise, such as the 101st
        admitted one with its times; rows are line numbers of history/TC-RL-001.parquet
    Least evidence: more requests than the limit surely decided inside one window
    """
    policy = limit
    (account,) = await run.accounts(1)
    clients = {name: run.source() for name in ("spender", "crowd", "bystander", "regular")}
    run.note("sources", clients)
    spender = clients["spender"]
    began_ns = await _spend_twice(run, policy, account, clients)
    if is_bucket(policy):
        run.doing("keeping the bucket empty, to see at which rate it fills")
        await run.run(run.steps("sustained", _sustained(policy), account=account, source=spender))
        await _try_evasions(run, policy, account, spender)
    regular_ns = run.clock.now_ns()
    if run.many_sources:
        await run.run(
            run.steps("bystander", policy.probe, 3, account=account, source=clients["bystander"]),
            run.steps("regular", policy.probe, _half(policy), account=account, source=clients["regular"]),
        )
    # The window began with the first request's decision, which its answer bounds.
    latest_ns = regular_ns if run.many_sources else began_ns
    await _knock_and_return(run, policy, account, clients, began_ns, latest_ns + policy.window)


async def _spend_twice(
    run: CaseContext, policy: RateLimitPolicy, account: Account, clients: dict[str, str | None]
) -> int:
    """Spend one allowance one by one and one all at once; return when that began. In silence: backend hits are ours."""
    size = allowance(policy)
    over = max(5, size // 20)
    crowd_size = size + max(10, size // 2)
    async with run.exclusive():
        if run.many_sources:
            await run.readings.services("uncalibrated")
            await run.run(run.steps("calibration", policy.probe, 3, account=account, source=run.source()))
        await run.readings.services("before")
        run.doing(f"sending {size} + {over} requests from one client")
        began_ns = run.clock.now_ns()
        await run.run(
            run.steps("sequence", exhaust(policy, over), account=account, source=clients["spender"])
            if is_bucket(policy)
            else run.steps("sequence", policy.probe, size + over, account=account, source=clients["spender"])
        )
        if not is_bucket(policy):
            # At once: once the window is over, what is admitted shows nothing.
            await _try_evasions(run, policy, account, clients["spender"])
        if run.many_sources:
            run.doing(f"releasing {crowd_size} requests at once from another client")
            await run.run(run.burst("burst", policy.probe, crowd_size, account=account, source=clients["crowd"]))
        await run.readings.services("after")
    return began_ns


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
    (account,) = await run.accounts(1)
    anchor = Anchor.take(run.clock)
    clients = {name: run.source() for name in (("reset", "retry-after") if run.many_sources else ("reset",))}
    run.note("sources", clients)
    last: dict[str, Answer] = {}
    run.doing(f"spending {len(clients)} allowances of {allowance(policy)}")
    async with in_time(run, policy):
        await run.run(
            *(
                run.steps(f"spend for {name}", _keep_last(policy, last, name), account=account, source=source)
                for name, source in clients.items()
            )
        )
    promised = {
        "reset": reset_ns(policy.headers, last.get("reset"), anchor),
        "retry-after": retry_after_ns(policy.headers, last.get("retry-after"), anchor),
    }
    if run.many_sources:
        await run.run(run.burst("burst", policy.probe, allowance(policy), account=account, source=run.source()))
    horizon_ns = run.clock.now_ns() + 2 * policy.window + ROUNDING_NS
    # A promise of the far future is untrue by itself; the judge says so without our waiting for it.
    due = {name: at for name in clients if (at := promised[name]) is not None and at < horizon_ns}
    run.note("promised_ns", due)
    if not due:
        return
    await run.wait_until_ns(min(due.values()) - NS_PER_SECOND // 10, "the instant that the headers promised")
    await run.run(
        *(
            run.steps(f"at {name}", _at(policy.probe, at), account=account, source=clients[name])
            for name, at in due.items()
        )
    )


def reset_ns(headers: RateLimitHeaders, answer: Answer | None, anchor: Anchor) -> int | None:
    """Return the monotonic instant that an answer's reset header names, or None where it names none."""
    text = answer.headers.get(headers.reset.lower()) if answer and headers.reset else None
    if answer is None or text is None or not text.strip().isdecimal() or len(text) > _MOST_DIGITS:
        return None
    if headers.reset_unit == "delta_seconds":
        return answer.done_ns + int(text) * NS_PER_SECOND
    unit_ns = NS_PER_SECOND if headers.reset_unit == "epoch_seconds" else 1_000_000
    return anchor.to_monotonic_ns(int(text) * unit_ns)


def retry_after_ns(headers: RateLimitHeaders, answer: Answer | None, anchor: Anchor) -> int | None:
    """Return the monotonic instant that an answer's Retry-After names, or None where it names none."""
    text = answer.headers.get(headers.retry_after.lower()) if answer and headers.retry_after else None
    if answer is None or text is None or len(text) > 64:
        return None
    if text.strip().isdecimal() and len(text) <= _MOST_DIGITS:
        return answer.done_ns + int(text) * NS_PER_SECOND
    try:
        return anchor.to_monotonic_ns(round(parsedate_to_datetime(text).timestamp()) * NS_PER_SECOND)
    except (ValueError, OverflowError):
        return None


def _half(policy: RateLimitPolicy) -> int:
    return max(1, allowance(policy) // 2)


def _keep_last(policy: RateLimitPolicy, last: dict[str, Answer], name: str) -> Script:
    async def spend(user: User) -> None:
        for _ in range(policy.limit + 3):
            last[name] = await user.request(policy.probe)

    async def spend_bucket(user: User) -> None:
        # Tokens flow in while they are spent, and some limiters hold back what they nearly reject.
        rejected = 0
        for _ in range(_most_toexhaust(policy, 3)):
            last[name] = await user.request(policy.probe)
            rejected += last[name].status == policy.status
            if rejected == 3:
                return

    return spend_bucket if is_bucket(policy) else spend


def _most_toexhaust(policy: RateLimitPolicy, over: int) -> int:
    return 4 * allowance(policy) + 4 * over


def exhaust(policy: RateLimitPolicy, over: int) -> Script:
    """Send an allowance and `over` more one by one; of a bucket, that fills meanwhile, until `over` were rejected."""
    if not is_bucket(policy):
        return _so_many(policy.probe, allowance(policy) + over)

    async def spend(user: User) -> None:
        rejected = 0
        for _ in range(_most_toexhaust(policy, over)):
            rejected += (await user.request(policy.probe)).status == policy.status
            if rejected == over:
                return

    return spend


def _so_many(operation: str, count: int) -> Script:
    async def send(user: User) -> None:
        for _ in range(count):
            await user.request(operation)

    return send


def _sustained(policy: RateLimitPolicy) -> Script:
    """Send at twice the rate of the refill, from an empty bucket, while a few tokens flow in."""
    every_ns = max(1, policy.window // (2 * policy.limit))
    count = min(_MOST_SUSTAINED, 2 * max(_SUSTAINED_TOKENS, 2 * policy.limit * NS_PER_SECOND // policy.window))

    async def sustain(user: User) -> None:
        began_ns = (await user.request(policy.probe)).sent_ns
        for place in range(1, count):
            await user.pause_until_ns(began_ns + place * every_ns)
            await user.request(policy.probe)

    return sustain


def _at(operation: str, due_ns: int) -> Script:
    async def twice(user: User) -> None:
        await user.pause_until_ns(due_ns)
        await user.request(operation)
        # Headers speak in whole seconds: what is still rejected after one more second was promised in vain.
        await user.pause_until_ns(due_ns + ROUNDING_NS + NS_PER_SECOND // 10)
        await user.request(operation)

    return twice


async def _try_evasions(run: CaseContext, policy: RateLimitPolicy, account: Account, source: str | None) -> None:
    run.doing("trying to get round the limit")
    await run.run(*_evasions(run, policy, account, source))


def _evasions(run: CaseContext, policy: RateLimitPolicy, account: Account, source: str | None) -> list[Sequence]:
    """Return what a limited client might try: each must be rejected like any other request of its own."""
    probe = run.target.operations[policy.probe]
    bearer = {"Authorization": f"Bearer {account.token}"} if probe.auth == "bearer" else {}

    async def forged(user: User) -> None:
        for i in range(_FORGED_ADDRESSES):
            address = f"198.51.100.{i + 1}"
            told = {"X-Forwarded-For": address, "X-Real-IP": address, "Forwarded": f"for={address}"}
            await user.request(policy.probe, headers=told)

    async def query(user: User) -> None:
        mark = "&" if "?" in probe.path else "?"
        for i in range(3):
            await user.get(f"{probe.path}{mark}proofload={i}", headers=bearer, name=policy.probe)

    async def exempt(user: User) -> None:
        for path in policy.exempt:
            if "*" not in path:
                await user.get(path)
                await user.get(path)

    found = [run.steps("forged header", forged, account=account, source=source)]
    if probe.method == "GET" and "${" not in probe.path:
        found.append(run.steps("query", query, account=account, source=source))
    found.append(run.steps("new connection", policy.probe, 3, account=account, source=source, fresh_connections=True))
    for what, name in other_operations(run.target, policy).items():
        found.append(run.steps(f"other {what}", name, 3, account=account, source=source))
    if policy.exempt:
        found.append(run.steps("exempt", exempt, source=source))
    return found


def other_operations(target: Target, policy: RateLimitPolicy) -> dict[str, str]:
    """Return an operation under the same limit by another path, and one by another method, where there are such.

    Neither has a lasting effect, so trying to get round the limit by it does no harm where that works.
    """
    probe = target.operations[policy.probe]
    found: dict[str, str] = {}
    for name, one in sorted(target.operations.items()):
        if one.effect == "none" and policy.covers(one.path) and one.path != probe.path:
            found.setdefault("path" if one.method == probe.method else "method", name)
    return found


async def _knock_and_return(
    run: CaseContext,
    policy: RateLimitPolicy,
    account: Account,
    clients: dict[str, str | None],
    began_ns: int,
    over_ns: int,
) -> None:
    """Let the limited client knock and the regular one go on below its limit until the window ends; then come back."""
    back = [run.steps("after window", policy.probe, 3, account=account, source=clients["spender"])]
    if run.many_sources:
        back.append(run.steps("regular again", policy.probe, _half(policy), account=account, source=clients["regular"]))
    if policy.window <= _SHORT_NS:
        await _return_in_one_go(run, policy, account, clients["spender"])
        return
    spare = allowance(policy) - _half(policy)
    for i, after_ns in enumerate(_knocks(policy), 1):
        due_ns = began_ns + after_ns
        if due_ns <= run.clock.now_ns():
            continue
        await run.wait_until_ns(due_ns, "the window to end, knocking meanwhile")
        steps = [run.steps(f"knock {i}", policy.probe, account=account, source=clients["spender"])]
        if run.many_sources and i < spare:
            steps.append(run.steps(f"regular {i}", policy.probe, account=account, source=clients["regular"]))
        await run.run(*steps)
    await run.wait_until_ns(over_ns + ROUNDING_NS + NS_PER_SECOND // 2, "the window to end")
    await run.run(*back)


def _knocks(policy: RateLimitPolicy) -> list[int]:
    """Return when to knock, after the window's beginning: now and then, and last when it has all but ended."""
    # A window that ends on a turn of the clock, and not its length after the first request, shows only from there on.
    last_ns = policy.window - Slack.of_window(policy.window).window_ns - NS_PER_SECOND // 10
    even = [policy.window * i // (_RETRIES + 1) for i in range(1, _RETRIES + 1)]
    return [*even, last_ns] if last_ns > even[-1] else even


async def _return_in_one_go(run: CaseContext, policy: RateLimitPolicy, account: Account, source: str | None) -> None:
    """Spend, knock and come back without a pause: a wait for other cases would outlast so short a window."""
    source, regular = run.source() or source, run.source()
    over_ns = policy.window + ROUNDING_NS + NS_PER_SECOND

    def at(due_ns: int, name: str, count: int, client: str | None) -> Sequence:
        return replace(run.steps(name, policy.probe, count, account=account, source=client), start_after_ns=due_ns)

    steps = [at(0, "knock 0", allowance(policy) + 2, source), at(over_ns, "after window", 3, source)]
    if regular is not None:
        steps += [at(0, "regular 0", _half(policy), regular), at(over_ns, "regular again", _half(policy), regular)]
    # On beyond the end: of a window no longer than the waiting for it, only a knock in between comes soon enough.
    step_ns = policy.window // (_RETRIES + 1)
    beyond = range(policy.window + step_ns, over_ns, step_ns)
    for i, due_ns in enumerate([*_knocks(policy), *beyond], 1):
        steps.append(at(due_ns, f"knock {i}", 1, source))
        if regular is not None and i < min(_RETRIES, allowance(policy) - _half(policy)):
            steps.append(at(due_ns, f"regular {i}", 1, regular))
    run.doing("the window to end, knocking meanwhile", run.clock.now_ns() + over_ns)
    await run.run(*steps)
