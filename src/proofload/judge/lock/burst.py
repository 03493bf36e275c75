"""Exactly one of N at once succeeds, where the operation outlasts the skew of the burst."""

from __future__ import annotations

from collections.abc import Sequence

from proofload.core.units import format_duration
from proofload.judge.lock.effects import Attempt, Effect, told
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LockPolicy

_LEAST_QUEUED = 8
_REFUSED = "lock.refused_in_place_of_waiting"
_LOOK = "whether the lock is taken in one atomic step, shared by all workers, and lasts as long as the operation"


def judge_bursts(policy: LockPolicy, bursts: Sequence[Sequence[Attempt]], needed: int = 1) -> list[Finding]:
    """Return `lock.two_succeeded` and `lock.waits_silently` for bursts of operations of one user each.

    Where the policy is to wait: `lock.two_succeeded` and `lock.refused_in_place_of_waiting`.

    Successes hold the lock one after the other, each for `holds_at_least`, each within its own interval. Where so many
    do not fit into the time from the first being sent to the last being answered, two held it at once. Where they fit,
    all of them succeeded and none was refused, they queued, though the policy is to reject.
    """
    if policy.on_contention == "wait":
        return [_one_at_a_time(policy, bursts, needed), _none_refused(policy, bursts, needed)]
    lone = 0
    unsure: list[str] = []
    queued: list[Sequence[Attempt]] = []
    for burst in bursts:
        done = [one for one in burst if one.effect is Effect.DONE]
        refused = [one for one in burst if one.effect is Effect.CONTENDED]
        if len(done) == 1 and refused:
            lone += 1
            continue
        crowded = _crowd(done, policy.holds_at_least or 0)
        if crowded:
            return [_two(policy, crowded, len(burst), len(bursts), needed), _waits(policy, [], bursts, needed)]
        if len(done) >= 3 and not refused and _staircase(done, policy.holds_at_least or 0):
            queued.append(done)
        elif len(done) > 1:
            unsure.append(_why_unsure(policy, burst, done))
        else:
            unsure.append(f"{len(done)} succeeded and {len(refused)} of {len(burst)} were refused for contention")
    rule = "lock.two_succeeded"
    if lone < needed or (unsure and not lone):
        why = f": {unsure[0]}" if unsure else ""
        says = f"exactly one of N succeeded in {lone} of {len(bursts)} bursts, {needed} needed{why}"
        first = Finding(rule, Outcome.INCONCLUSIVE, says, lone, needed)
    else:
        says = f"exactly one of N succeeded in {lone} of {len(bursts)} bursts"
        first = held(rule, says + (f" ({unsure[0]} in another)" if unsure else ""), examined=lone, needed=needed)
    return [first, _waits(policy, queued, bursts, needed)]


def _one_at_a_time(policy: LockPolicy, bursts: Sequence[Sequence[Attempt]], needed: int) -> Finding:
    """Return `lock.two_succeeded` for a lock that makes operations wait: one after the other, each for its hold."""
    rule, queued, why = "lock.two_succeeded", 0, "no burst of two or more was done"
    for burst in bursts:
        done = [one for one in burst if one.effect is Effect.DONE]
        if crowded := _crowd(done, policy.holds_at_least or 0):
            return _two(policy, crowded, len(burst), len(bursts), needed)
        if len(done) >= 2 and _staircase(done, policy.holds_at_least or 0):
            queued += 1
        elif len(done) >= 2:
            why = _why_unsure(policy, burst, done)
    if queued < needed:
        return Finding(rule, Outcome.INCONCLUSIVE, f"whether one waits for the other can't be told: {why}", 0, needed)
    says = f"in {queued} of {len(bursts)} bursts operations were done one after the other"
    return held(rule, says, examined=queued, needed=needed)


def _none_refused(policy: LockPolicy, bursts: Sequence[Sequence[Attempt]], needed: int) -> Finding:
    """Return `lock.refused_in_place_of_waiting`: sooner than a dead holder's lock is free, nothing may be refused."""
    refused = [one for burst in bursts for one in burst if one.effect is Effect.CONTENDED]
    hasty = [one for one in refused if one.is_certain and one.exchange.service_ns < policy.expires_after]
    whole = sum(all(one.effect is Effect.DONE for one in burst) and len(burst) >= 2 for burst in bursts)
    if hasty:
        took = format_duration(max(one.exchange.service_ns for one in hasty))
        says = f"{len(hasty)} operations were refused for contention within {took}, where the policy is to wait"
        first_ns = min(one.exchange.sent_ns for one in hasty)
        return Finding(
            _REFUSED,
            Outcome.FAIL,
            says,
            len(bursts),
            needed,
            rows=tuple(one.exchange.row for one in hasty[:10]),
            shown=tuple(told(one, first_ns) for one in hasty[:8]),
            look_at="how the lock is taken: a try in place of a wait, or a wait that is too short",
        )
    if refused or whole < needed:
        why = f", {len(refused)} were refused after a wait or for a reason unknown" if refused else ""
        says = f"all operations were done in {whole} of {len(bursts)} bursts{why}"
        return Finding(_REFUSED, Outcome.INCONCLUSIVE, says, whole, needed)
    return held(_REFUSED, f"all operations were done in {whole} bursts, none refused", examined=whole, needed=needed)


def _crowd(done: Sequence[Attempt], hold_ns: int) -> list[Attempt]:
    """Return the fewest successes that can't have held the lock one after the other, empty where they can."""
    if hold_ns <= 0:
        return []
    best: list[Attempt] = []
    for first in {one.exchange.sent_ns for one in done}:
        inside = sorted((one for one in done if one.exchange.sent_ns >= first), key=lambda one: one.exchange.done_ns)
        for count, one in enumerate(inside, 1):
            if count * hold_ns > one.exchange.done_ns - first and count > 1 and (not best or count < len(best)):
                best = inside[:count]
                break
    return best


def _staircase(done: Sequence[Attempt], hold_ns: int) -> bool:
    """Say whether the successes came one hold after the other: the k-th took k holds at least."""
    if hold_ns <= 0:
        return False
    first_ns = min(one.exchange.sent_ns for one in done)
    skew_ns = max(one.exchange.sent_ns for one in done) - first_ns
    ends = sorted(one.exchange.done_ns - first_ns for one in done)
    return skew_ns < hold_ns and all(end >= count * hold_ns for count, end in enumerate(ends, 1))


def _why_unsure(policy: LockPolicy, burst: Sequence[Attempt], done: Sequence[Attempt]) -> str:
    sent = [one.exchange.sent_ns for one in burst]
    skew = format_duration(max(sent) - min(sent))
    if policy.holds_at_least is None:
        return f"{len(done)} of {len(burst)} succeeded, and how long an operation holds the lock is not declared"
    hold = format_duration(policy.holds_at_least)
    return f"{len(done)} of {len(burst)} succeeded, which {hold} each and a skew of {skew} leave time for"


def _two(policy: LockPolicy, crowded: Sequence[Attempt], size: int, bursts: int, needed: int) -> Finding:
    first_ns = min(one.exchange.sent_ns for one in crowded)
    took = format_duration(max(one.exchange.done_ns for one in crowded) - first_ns)
    hold = format_duration(policy.holds_at_least or 0)
    return Finding(
        "lock.two_succeeded",
        Outcome.FAIL,
        f"{len(crowded)} of {size} operations at once succeeded within {took}, though each holds the lock for {hold}",
        bursts,
        needed,
        rows=tuple(one.exchange.row for one in crowded),
        shown=tuple(told(one, first_ns) for one in crowded[:8]),
        look_at=_LOOK,
        figures={"succeeded": len(crowded)},
    )


def _waits(
    policy: LockPolicy, queued: Sequence[Sequence[Attempt]], bursts: Sequence[Sequence[Attempt]], needed: int
) -> Finding:
    rule = "lock.waits_silently"
    refused = any(one.effect is Effect.CONTENDED for burst in bursts for one in burst)
    if queued and (refused or sum(len(done) for done in queued) < _LEAST_QUEUED):
        # A network that delays each by just so much looks the same; it can't go on doing so.
        says = f"all {len(queued[0])} of a burst succeeded one after the other: a queue, or delays on the way"
        return Finding(rule, Outcome.INCONCLUSIVE, says, len(bursts), needed)
    if queued:
        done = queued[0]
        first_ns = min(one.exchange.sent_ns for one in done)
        return Finding(
            rule,
            Outcome.FAIL,
            f"all {len(done)} operations of a burst succeeded one after the other, where the policy is to reject with "
            f"{policy.status}",
            len(bursts),
            needed,
            rows=tuple(one.exchange.row for one in done[:10]),
            shown=tuple(told(one, first_ns) for one in sorted(done, key=lambda one: one.exchange.done_ns)[:8]),
            look_at="a lock that blocks, or is retried within the request",
            figures={"bursts": len(queued)},
        )
    return held(rule, "no burst was worked off in a queue", examined=len(bursts), needed=needed)
