"""What is sent while a window ends and after it: retries, the return, and the schedule that tells the models apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proofload.cases.context import CaseContext
from proofload.cases.rate_limit.clients import Client, send
from proofload.cases.rate_limit.spending import ROUNDING_NS
from proofload.core.clock import Anchor
from proofload.core.units import NS_PER_SECOND
from proofload.judge.rate_limit import Slack, separating_phase_ns, separating_schedule
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.workload import AnyWorkload

MODEL = "model"
"""What the steps begin with that tell the declared model from the others."""
LONGEST_MODEL_NS = 120 * NS_PER_SECOND
"""The schedule takes two windows: of a longer one it is not worth the wait."""
WHOLE_MODEL_NS = 20 * NS_PER_SECOND
"""Of a longer window only a window and a half of the schedule is sent, and at once: nobody waits for two and more."""
SHORT_NS = 10 * NS_PER_SECOND
_RETRIES = 8
"""How often a rejected client tries again while it waits for the window's end."""
_CONNECTIONS = 16
_AFTER = 3


@dataclass(frozen=True, slots=True)
class SpentBetween:
    """Who spent an allowance when: `began_ns` is before its first request, `over_ns` after its window's end."""

    began_ns: int
    over_ns: int


def model_start_ns(policy: RateLimitPolicy, anchor: Anchor, now_ns: int) -> int:
    """Return the next monotonic instant at which a wall-clock window is as far gone as the schedule wants."""
    into = (anchor.to_wall_ns(now_ns) - separating_phase_ns(policy)) % policy.window
    return now_ns + (-into) % policy.window


def model_steps(
    run: CaseContext, policy: RateLimitPolicy, client: Client, start_ns: int
) -> list[tuple[int, AnyWorkload]]:
    """Return the groups of the separating schedule, each with the instant at which it is due."""
    steps: list[tuple[int, AnyWorkload]] = []
    longest_ns = 2 * policy.window if policy.window <= WHOLE_MODEL_NS else policy.window * 3 // 2
    groups = [group for group in separating_schedule(policy) if group[0] <= longest_ns]
    for number, (offset_ns, count) in enumerate(groups, 1):
        group = run.burst(f"{MODEL} {number}", policy.probe, count, account=client.account, source=client.source)
        # Few connections, one request after the other on each: at once as far as a window is concerned.
        steps.append((start_ns + offset_ns, replace(group, connections=min(count, _CONNECTIONS))))
    return steps


async def await_the_end(
    run: CaseContext, policy: RateLimitPolicy, clients: dict[str, Client], spent: SpentBetween, *, apart: bool
) -> None:
    """Let limited clients retry and others go on below their limit until the window ends; then come back.

    Side by side with it a fresh client follows the schedule that tells the declared model from others. `apart` says
    that clients have an allowance each.
    """
    models = apart and policy.window <= LONGEST_MODEL_NS
    if policy.window <= SHORT_NS:
        await _in_one_go(run, policy, clients, apart=apart, models=models)
        return
    due = _long_steps(run, policy, clients, spent, apart=apart)
    if models:
        now_ns = run.clock.now_ns()
        whole = policy.window <= WHOLE_MODEL_NS
        start_ns = model_start_ns(policy, Anchor.take(run.clock), now_ns) if whole else now_ns
        due += model_steps(run, policy, clients[MODEL], start_ns)
    # One after the other: others may send, or be alone with the target, while this case waits.
    for at_ns, step in sorted(due, key=lambda one: one[0]):
        if step.name == run.step("after window") or at_ns > run.clock.now_ns():
            await run.wait_until_ns(at_ns, "the window to end, retrying meanwhile")
        elif "retry" in step.name:
            continue
        await send(run, step)


def _long_steps(
    run: CaseContext, policy: RateLimitPolicy, clients: dict[str, Client], spent: SpentBetween, *, apart: bool
) -> list[tuple[int, AnyWorkload]]:
    spender, crowd, regular = clients["spender"], clients["crowd"], clients["regular"]

    def step(name: str, client: Client, count: int = 1) -> AnyWorkload:
        return run.steps(name, policy.probe, count, account=client.account, source=client.source)

    half = half_of(policy)
    back_ns = spent.over_ns + ROUNDING_NS + NS_PER_SECOND // 2
    due: list[tuple[int, AnyWorkload]] = [(back_ns, step("after window", spender, _AFTER))]
    if apart:
        due += [(back_ns, step("crowd again", crowd, _AFTER)), (back_ns, step("regular again", regular, half))]
        due.append((spent.began_ns + policy.window * 11 // 20, step("crowd meanwhile", crowd)))
    for number, after_ns in enumerate(retries(policy), 1):
        due.append((spent.began_ns + after_ns, step(f"retry {number}", spender)))
        if apart and number < policy.allowance - half:
            due.append((spent.began_ns + after_ns, step(f"regular retry {number}", regular)))
    return due


def half_of(policy: RateLimitPolicy) -> int:
    """Return half an allowance, one at least."""
    return max(1, policy.allowance // 2)


def retries(policy: RateLimitPolicy) -> list[int]:
    """Return when to retry, after the window's beginning: now and then, and last when it has all but ended."""
    # A window that ends on a turn of the clock, and not its length after the first request, shows only from there on.
    last_ns = policy.window - Slack.of_window(policy.window).window_ns - NS_PER_SECOND // 10
    even = [policy.window * i // (_RETRIES + 1) for i in range(1, _RETRIES + 1)]
    return [*even, last_ns] if last_ns > even[-1] else even


async def _in_one_go(
    run: CaseContext, policy: RateLimitPolicy, clients: dict[str, Client], *, apart: bool, models: bool
) -> None:
    """Spend, retry and come back without a pause: a wait for other cases would outlast so short a window."""
    steps = _short_steps(run, policy, clients, apart=apart)
    if models:
        anchor = Anchor.take(run.clock)
        start_ns = model_start_ns(policy, anchor, run.clock.now_ns())
        await run.wait_until_ns(start_ns, "the part of a window at which models differ")
    async with run.traffic.turn():
        if models:
            now_ns = run.clock.now_ns()
            # Late by a wait for others: close enough is close enough, and else the next window will do.
            start_ns = now_ns if now_ns < start_ns + policy.window // 10 else model_start_ns(policy, anchor, now_ns)
            steps += [(at_ns - now_ns, step) for at_ns, step in model_steps(run, policy, clients[MODEL], start_ns)]
        run.doing("the window to end, retrying meanwhile", run.clock.now_ns() + max(at_ns for at_ns, _ in steps))
        await send(run, *(replace(step, start_after_ns=at_ns) for at_ns, step in steps))


def _short_steps(
    run: CaseContext, policy: RateLimitPolicy, clients: dict[str, Client], *, apart: bool
) -> list[tuple[int, AnyWorkload]]:
    over_ns = policy.window + ROUNDING_NS + NS_PER_SECOND
    half = half_of(policy)
    due: list[tuple[int, AnyWorkload]] = []

    def add(at_ns: int, name: str, client: Client, count: int = 1) -> None:
        due.append((at_ns, run.steps(name, policy.probe, count, account=client.account, source=client.source)))

    spender, regular, crowd = (clients[name] for name in ("late spender", "late regular", "late crowd"))
    add(0, "retry 0", spender, policy.allowance + 2)
    add(over_ns, "after window", spender, _AFTER)
    if apart:
        burst_size = policy.allowance + max(5, policy.allowance // 4)
        due.append((0, run.burst("late burst", policy.probe, burst_size, account=crowd.account, source=crowd.source)))
        add(policy.window * 11 // 20, "crowd meanwhile", crowd)
        add(over_ns, "crowd again", crowd, _AFTER)
        add(0, "regular 0", regular, half)
        add(over_ns, "regular again", regular, half)
    # On beyond the end: of a window no longer than the waiting for it, only a retry in between comes soon enough.
    step_ns = policy.window // (_RETRIES + 1)
    beyond = range(policy.window + step_ns, over_ns, step_ns)
    for number, due_ns in enumerate([*retries(policy), *beyond], 1):
        add(due_ns, f"retry {number}", spender)
        if apart and number < min(_RETRIES, policy.allowance - half):
            add(due_ns, f"regular retry {number}", regular)
    return due


def names_of_clients(policy: RateLimitPolicy) -> Sequence[str]:
    """Return the clients that the case needs."""
    names = ["spender", "crowd", "bystander", "regular", "calibration", MODEL]
    return [*names, "late spender", "late crowd", "late regular"] if policy.window <= SHORT_NS else names
