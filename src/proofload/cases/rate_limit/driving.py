"""TC-RL: what a rate limit admits and rejects, and what its headers say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime

from proofload.cases.accounts import Account
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit, is_bucket
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
_KNOCKS = 8
"""How often a rejected client knocks again while it waits for the window's end."""
_FORGED_ADDRESSES = 5
_MOST_DIGITS = 15
_SUSTAINED_TOKENS = 10
"""How many tokens flow in while a bucket is kept empty: enough that a refill of another rate shows."""
_MOST_SUSTAINED = 2_000


def missing(target: Target) -> str:
    """Return why the rate-limit cases can't be run on this target, or nothing."""
    return "" if gateway_limit(target) else "the target declares no rate limit (policies.rate_limit)"


def missing_headers(target: Target) -> str:
    """Return why the headers of the limit can't be judged, or nothing."""
    policy = gateway_limit(target)
    if policy is None:
        return missing(target)
    told = policy.headers
    if any((told.limit, told.remaining, told.reset, told.retry_after, told.ietf)):
        return ""
    return "the target declares no header that tells of the limit (policies.rate_limit[].headers)"


def one_window_and(extra_s: int) -> Callable[[Target], int]:
    """Return a function that tells how long a case takes that waits for one window's end."""

    def expected_ns(target: Target) -> int:
        policy = gateway_limit(target)
        return (policy.window if policy else 0) + extra_s * NS_PER_SECOND

    return expected_ns


async def drive_enforcement(lab: Lab) -> None:
    """Spend a whole allowance one by one and another all at once, try to get round the limit, and come back later."""
    policy = _limit(lab)
    (account,) = await lab.accounts(1)
    clients = {name: lab.source() for name in ("spender", "crowd", "bystander", "regular")}
    lab.note("sources", clients)
    spender = clients["spender"]
    began_ns = await _spend_twice(lab, policy, account, clients)
    if is_bucket(policy):
        lab.doing("keeping the bucket empty, to see at which rate it fills")
        await lab.run(lab.steps("sustained", _sustained(policy), account=account, source=spender))
        await _try_evasions(lab, policy, account, spender)
    regular_ns = lab.clock.now_ns()
    if lab.many_sources:
        await lab.run(
            lab.steps("bystander", policy.probe, 3, account=account, source=clients["bystander"]),
            lab.steps("regular", policy.probe, _half(policy), account=account, source=clients["regular"]),
        )
    # The window began with the first request's decision, which its answer bounds.
    latest_ns = regular_ns if lab.many_sources else began_ns
    await _knock_and_return(lab, policy, account, clients, began_ns, latest_ns + policy.window)


async def _spend_twice(lab: Lab, policy: RateLimitPolicy, account: Account, clients: dict[str, str | None]) -> int:
    """Spend one allowance one by one and one all at once; return when that began. In silence: backend hits are ours."""
    size = allowance(policy)
    over = max(5, size // 20)
    crowd_size = size + max(10, size // 2)
    async with lab.silence():
        if lab.many_sources:
            await lab.read_services("uncalibrated")
            await lab.run(lab.steps("calibration", policy.probe, 3, account=account, source=lab.source()))
        await lab.read_services("before")
        lab.doing(f"sending {size} + {over} requests from one client")
        began_ns = lab.clock.now_ns()
        await lab.run(
            lab.steps("sequence", _exhaust(policy, over), account=account, source=clients["spender"])
            if is_bucket(policy)
            else lab.steps("sequence", policy.probe, size + over, account=account, source=clients["spender"])
        )
        if not is_bucket(policy):
            # At once: once the window is over, what is admitted shows nothing.
            await _try_evasions(lab, policy, account, clients["spender"])
        if lab.many_sources:
            lab.doing(f"releasing {crowd_size} requests at once from another client")
            await lab.run(lab.burst("burst", policy.probe, crowd_size, account=account, source=clients["crowd"]))
        await lab.read_services("after")
    return began_ns


async def drive_headers(lab: Lab) -> None:
    """Spend two allowances, note what the headers promise, and come back at the very instants that they name."""
    policy = _limit(lab)
    (account,) = await lab.accounts(1)
    anchor = Anchor.take(lab.clock)
    clients = {name: lab.source() for name in (("reset", "retry-after") if lab.many_sources else ("reset",))}
    lab.note("sources", clients)
    last: dict[str, Answer] = {}
    lab.doing(f"spending {len(clients)} allowances of {allowance(policy)}")
    async with in_time(lab, policy):
        await lab.run(
            *(
                lab.steps(f"spend for {name}", _keep_last(policy, last, name), account=account, source=source)
                for name, source in clients.items()
            )
        )
    promised = {
        "reset": reset_ns(policy.headers, last.get("reset"), anchor),
        "retry-after": retry_after_ns(policy.headers, last.get("retry-after"), anchor),
    }
    if lab.many_sources:
        await lab.run(lab.burst("burst", policy.probe, allowance(policy), account=account, source=lab.source()))
    horizon_ns = lab.clock.now_ns() + 2 * policy.window + ROUNDING_NS
    # A promise of the far future is untrue by itself; the judge says so without our waiting for it.
    due = {name: at for name in clients if (at := promised[name]) is not None and at < horizon_ns}
    lab.note("promised_ns", due)
    if not due:
        return
    await lab.wait_until_ns(min(due.values()) - NS_PER_SECOND // 10, "the instant that the headers promised")
    await lab.run(
        *(
            lab.steps(f"at {name}", _at(policy.probe, at), account=account, source=clients[name])
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


def _limit(lab: Lab) -> RateLimitPolicy:
    policy = gateway_limit(lab.target)
    assert policy is not None
    return policy


def _half(policy: RateLimitPolicy) -> int:
    return max(1, allowance(policy) // 2)


def _keep_last(policy: RateLimitPolicy, last: dict[str, Answer], name: str) -> Script:
    async def spend(user: User) -> None:
        for _ in range(policy.limit + 3):
            last[name] = await user.request(policy.probe)

    async def spend_bucket(user: User) -> None:
        # Tokens flow in while they are spent, and some limiters hold back what they nearly reject.
        rejected = 0
        for _ in range(_most_to_exhaust(policy, 3)):
            last[name] = await user.request(policy.probe)
            rejected += last[name].status == policy.status
            if rejected == 3:
                return

    return spend_bucket if is_bucket(policy) else spend


def _most_to_exhaust(policy: RateLimitPolicy, over: int) -> int:
    return 4 * allowance(policy) + 4 * over


def _exhaust(policy: RateLimitPolicy, over: int) -> Script:
    """Send one by one until `over` were rejected, or so many were sent that an honest bucket must have been empty."""

    async def exhaust(user: User) -> None:
        rejected = 0
        for _ in range(_most_to_exhaust(policy, over)):
            rejected += (await user.request(policy.probe)).status == policy.status
            if rejected == over:
                return

    return exhaust


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


async def _try_evasions(lab: Lab, policy: RateLimitPolicy, account: Account, source: str | None) -> None:
    lab.doing("trying to get round the limit")
    await lab.run(*_evasions(lab, policy, account, source))


def _evasions(lab: Lab, policy: RateLimitPolicy, account: Account, source: str | None) -> list[Sequence]:
    """Return what a limited client might try: each must be rejected like any other request of its own."""
    probe = lab.target.operations[policy.probe]
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

    found = [lab.steps("forged header", forged, account=account, source=source)]
    if probe.method == "GET" and "${" not in probe.path:
        found.append(lab.steps("query", query, account=account, source=source))
    found.append(lab.steps("new connection", policy.probe, 3, account=account, source=source, fresh_connections=True))
    for what, name in other_operations(lab.target, policy).items():
        found.append(lab.steps(f"other {what}", name, 3, account=account, source=source))
    if policy.exempt:
        found.append(lab.steps("exempt", exempt, source=source))
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
    lab: Lab, policy: RateLimitPolicy, account: Account, clients: dict[str, str | None], began_ns: int, over_ns: int
) -> None:
    """Let the limited client knock and the regular one go on below its limit until the window ends; then come back."""
    back = [lab.steps("after window", policy.probe, 3, account=account, source=clients["spender"])]
    if lab.many_sources:
        back.append(lab.steps("regular again", policy.probe, _half(policy), account=account, source=clients["regular"]))
    if policy.window <= _SHORT_NS:
        await _return_in_one_go(lab, policy, account, clients["spender"])
        return
    spare = allowance(policy) - _half(policy)
    for i, after_ns in enumerate(_knocks(policy), 1):
        due_ns = began_ns + after_ns
        if due_ns <= lab.clock.now_ns():
            continue
        await lab.wait_until_ns(due_ns, "the window to end, knocking meanwhile")
        steps = [lab.steps(f"knock {i}", policy.probe, account=account, source=clients["spender"])]
        if lab.many_sources and i < spare:
            steps.append(lab.steps(f"regular {i}", policy.probe, account=account, source=clients["regular"]))
        await lab.run(*steps)
    await lab.wait_until_ns(over_ns + ROUNDING_NS + NS_PER_SECOND // 2, "the window to end")
    await lab.run(*back)


def _knocks(policy: RateLimitPolicy) -> list[int]:
    """Return when to knock, after the window's beginning: now and then, and last when it has all but ended."""
    # A window that ends on a turn of the clock, and not its length after the first request, shows only from there on.
    last_ns = policy.window - Slack.of_window(policy.window).window_ns - NS_PER_SECOND // 10
    even = [policy.window * i // (_KNOCKS + 1) for i in range(1, _KNOCKS + 1)]
    return [*even, last_ns] if last_ns > even[-1] else even


async def _return_in_one_go(lab: Lab, policy: RateLimitPolicy, account: Account, source: str | None) -> None:
    """Spend, knock and come back without a pause: a wait for other cases would outlast so short a window."""
    source, regular = lab.source() or source, lab.source()
    over_ns = policy.window + ROUNDING_NS + NS_PER_SECOND

    def at(due_ns: int, name: str, count: int, client: str | None) -> Sequence:
        return replace(lab.steps(name, policy.probe, count, account=account, source=client), start_after_ns=due_ns)

    steps = [at(0, "knock 0", allowance(policy) + 2, source), at(over_ns, "after window", 3, source)]
    if regular is not None:
        steps += [at(0, "regular 0", _half(policy), regular), at(over_ns, "regular again", _half(policy), regular)]
    # On beyond the end: of a window no longer than the waiting for it, only a knock in between comes soon enough.
    step_ns = policy.window // (_KNOCKS + 1)
    beyond = range(policy.window + step_ns, over_ns, step_ns)
    for i, due_ns in enumerate([*_knocks(policy), *beyond], 1):
        steps.append(at(due_ns, f"knock {i}", 1, source))
        if regular is not None and i < min(_KNOCKS, allowance(policy) - _half(policy)):
            steps.append(at(due_ns, f"regular {i}", 1, regular))
    lab.doing("the window to end, knocking meanwhile", lab.clock.now_ns() + over_ns)
    await lab.run(*steps)
