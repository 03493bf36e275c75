"""Contention answers: each needs a holder, of the same user, at the same time; and the right status and code."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import accumulate

from proofload.core.units import format_duration
from proofload.judge.answers import AnswerKind, bears_code
from proofload.judge.lock.effects import Attempt, Effect, by_user, told
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LockPolicy
from proofload.record.fault_edge import FaultSpan

RELEASE_GRACE_NS = 100_000_000
"""How long after its answer an honest server may still be about to release: it may answer first."""

_NAMED = 5
_CAUSES = {
    AnswerKind.RATE_LIMITED: "a rate limit",
    AnswerKind.CIRCUIT_OPEN: "an open circuit",
    AnswerKind.OVERLOADED: "an overload",
    AnswerKind.FAILED: "a failure",
}


class _Holders:
    """When the attempts of some users may have held the lock, to be asked by interval."""

    def __init__(self, spans: Sequence[tuple[int, int, Attempt]]) -> None:
        ordered = sorted(spans, key=lambda span: span[0])
        self.begins = [begin for begin, _, _ in ordered]
        self.latest = list(accumulate((end for _, end, _ in ordered), max))

    def overlap(self, begin_ns: int, end_ns: int) -> bool:
        """Say whether any span overlaps the interval; touching is overlapping."""
        before = bisect_right(self.begins, end_ns)
        return before > 0 and self.latest[before - 1] >= begin_ns


def judge_contention(
    policy: LockPolicy, found: Sequence[Attempt], faults: Sequence[FaultSpan], grace_ns: int = RELEASE_GRACE_NS
) -> list[Finding]:
    """Return `lock.contention_without_holder`, `lock.users_contend` and `lock.not_released`.

    A contention answer needs another operation of the same user that may have held the lock inside its interval. Where
    there is none, the latest operation of the user that failed or was never answered may have left the lock behind;
    else an operation of another user at the same time points to a lock that users share.
    """
    contended = [
        one
        for one in found
        if one.effect is Effect.CONTENDED
        and not any(
            fault.wide_from_ns <= one.exchange.done_ns and one.exchange.sent_ns <= fault.wide_to_ns for fault in faults
        )
    ]
    grouped = by_user(found)
    users = {user: _Holders(_spans(policy, of_user, grace_ns)) for user, of_user in grouped.items()}
    everyone = _Holders([(one.exchange.sent_ns, one.exchange.done_ns, one) for one in found if one.could_hold])
    alone: list[Attempt] = []
    shared: list[Attempt] = []
    left: list[tuple[Attempt, Attempt]] = []
    for one in contended:
        begin, end = one.exchange.sent_ns, one.exchange.done_ns
        if users[one.movement.user].overlap(begin, end):
            continue
        culprit = _left_behind(grouped[one.movement.user], one)
        if culprit is not None:
            left.append((culprit, one))
        elif everyone.overlap(begin, end):
            shared.append(one)
        else:
            alone.append(one)
    # Where some are contention for certain, the others need not be named.
    alone, shared = _certain_first(alone), _certain_first(shared)
    left = [pair for pair in left if pair[1].is_certain] or left
    return [
        _doubted(policy, _without_holder(alone, contended), alone),
        _doubted(policy, _users_contend(shared, found), shared),
        _doubted(policy, _not_released(policy, left, found, grace_ns), [blocked for _, blocked in left]),
    ]


def _certain_first(blamed: list[Attempt]) -> list[Attempt]:
    return [one for one in blamed if one.is_certain] or blamed


def _doubted(policy: LockPolicy, finding: Finding, blamed: Sequence[Attempt]) -> Finding:
    """Return the finding, INCONCLUSIVE where none of the answers that it rests on is contention for certain."""
    if finding.outcome is not Outcome.FAIL or any(one.is_certain for one in blamed):
        return finding
    status = blamed[0].exchange.status
    says = (
        f"{finding.says}; not certain, for {status} may be contention or {_others(blamed)}: "
        f"declare a code that only the lock's answer holds (policies.locks, {policy.name})"
    )
    return replace(finding, outcome=Outcome.INCONCLUSIVE, says=says)


def _others(blamed: Sequence[Attempt]) -> str:
    """Return what else may have given the answers."""
    causes = 0
    for one in blamed:
        causes |= one.causes
    found = [name for kind, name in _CAUSES.items() if causes & kind.bit]
    return " or ".join(found) or "another refusal"


def judge_status(policy: LockPolicy, found: Sequence[Attempt]) -> Finding:
    """Return `lock.wrong_status`: what meets a held lock is refused as declared, and never with a 500.

    Broken by an answer that bears the contention code under another status; and by a 500, the declared status without
    any code, or for a deposit (which nothing else can refuse) a 409 or 423, while the lock was surely held. Where it
    only may have been held, such an answer leaves the rule INCONCLUSIVE.
    """
    rule = "lock.wrong_status"
    wrong: list[Attempt] = []
    unsure: list[Attempt] = []
    contended = 0
    for of_user in by_user(found).values():
        maybe = _overlapping(of_user)
        holders = _Holders([(one.exchange.sent_ns, one.exchange.done_ns, one) for one in of_user if one.could_hold])
        cores = _surely_held(policy, of_user)
        for one in of_user:
            contended += one.effect is Effect.CONTENDED
            if one.effect is Effect.CONTENDED and one.exchange.status != policy.status:
                wrong.append(one)
            elif _suspicious(policy, one):
                begin, end = one.exchange.sent_ns, one.exchange.done_ns
                if _is_read(policy, one) and any(
                    low <= begin and end <= high and holder is not one for low, high, holder in cores
                ):
                    wrong.append(one)
                elif one.exchange.row in maybe or (not one.could_hold and holders.overlap(begin, end)):
                    unsure.append(one)
    promised = f"{policy.status}" + (f" {policy.code}" if policy.code else "")
    some = wrong or unsure
    if some:
        says = f"{len(some)} answers to concurrent operations of one user are neither done nor {promised}"
        return Finding(
            rule,
            Outcome.FAIL if wrong else Outcome.INCONCLUSIVE,
            says if wrong else f"{says}, though nothing proves that they met a held lock",
            contended + len(some),
            rows=tuple(one.exchange.row for one in some[:10]),
            shown=tuple(told(one, some[0].exchange.sent_ns) for one in some[:_NAMED]),
            look_at="how the failure to take the lock is turned into an answer",
            figures={"count": len(some)},
        )
    if policy.on_contention == "wait" and not contended:
        return Finding(rule, Outcome.SKIPPED, "the policy is to wait, and nothing was refused")
    return held(rule, f"all {contended} contention answers are {promised}", examined=contended)


def _surely_held(policy: LockPolicy, of_user: Sequence[Attempt]) -> list[tuple[int, int, Attempt]]:
    """Return when the lock was surely held, by whom: the middle that every hold inside an interval must cover."""
    hold = policy.holds_at_least or 0
    return [
        (one.exchange.done_ns - hold, one.exchange.sent_ns + hold, one)
        for one in of_user
        if one.effect is Effect.DONE and one.exchange.done_ns - one.exchange.sent_ns < 2 * hold
    ]


def _spans(policy: LockPolicy, of_user: Sequence[Attempt], grace_ns: int) -> list[tuple[int, int, Attempt]]:
    """Return when each attempt may have held the lock.

    One that was never answered may still wait in a queue when we give up, and then hold the lock until it expires.
    """
    spans = []
    for one in of_user:
        if not one.could_hold:
            continue
        until = one.exchange.done_ns + grace_ns
        if one.effect is Effect.UNKNOWN:
            until += policy.expires_after + (one.exchange.done_ns - one.exchange.sent_ns)
        spans.append((one.exchange.sent_ns, until, one))
    return spans


def _left_behind(of_user: Sequence[Attempt], one: Attempt) -> Attempt | None:
    """Return the user's latest operation before this one, where it failed, was refused or was never answered."""
    before = [other for other in of_user if other.could_hold and other.exchange.done_ns < one.exchange.sent_ns]
    last = max(before, key=lambda other: other.exchange.done_ns, default=None)
    return last if last is not None and last.effect is not Effect.DONE else None


def _without_holder(alone: Sequence[Attempt], contended: Sequence[Attempt]) -> Finding:
    rule = "lock.contention_without_holder"
    if alone:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(alone)} of {len(contended)} contention answers came while nothing of that user was under way",
            len(contended),
            rows=tuple(one.exchange.row for one in alone[:10]),
            shown=tuple(told(one, alone[0].exchange.sent_ns) for one in alone[:_NAMED]),
            look_at="the key of the lock, its expiry, and whether every way out releases it",
            figures={"count": len(alone)},
        )
    if not contended:
        return Finding(rule, Outcome.SKIPPED, "no operation was refused for contention")
    says = f"all {len(contended)} contention answers overlap another operation of their user"
    return held(rule, says, examined=len(contended))


def _users_contend(shared: Sequence[Attempt], found: Sequence[Attempt]) -> Finding:
    rule = "lock.users_contend"
    if shared:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(shared)} operations were refused though only other users were active",
            len(found),
            rows=tuple(one.exchange.row for one in shared[:10]),
            shown=tuple(told(one, shared[0].exchange.sent_ns) for one in shared[:_NAMED]),
            look_at="the key of the lock: does it hold the user?",
            figures={"count": len(shared)},
        )
    together = _users_at_once(found)
    if together < 2:
        return Finding(rule, Outcome.SKIPPED, "operations of different users never overlapped")
    says = f"operations of up to {together} users at once, none refused for another's sake"
    return held(rule, says, examined=together, needed=2)


def _not_released(
    policy: LockPolicy, left: Sequence[tuple[Attempt, Attempt]], found: Sequence[Attempt], grace_ns: int
) -> Finding:
    rule = "lock.not_released"
    if left:
        culprit, blocked = max(left, key=lambda pair: pair[1].exchange.sent_ns - pair[0].exchange.done_ns)
        after = blocked.exchange.sent_ns - culprit.exchange.done_ns
        zero_ns = culprit.exchange.sent_ns
        limit = policy.expires_after if culprit.effect is Effect.UNKNOWN else grace_ns
        return Finding(
            rule,
            Outcome.FAIL,
            f"the lock was still taken {format_duration(after)} after its last operation ended, "
            f"expected within {format_duration(limit)}",
            len(left),
            rows=(culprit.exchange.row, blocked.exchange.row),
            shown=(told(culprit, zero_ns), told(blocked, zero_ns)),
            look_at="the release on the ways out by an error or a timeout, and the expiry for a holder that died",
            figures={"count": len(left), "after_ns": after},
        )
    again = failed = 0
    for of_user in by_user(found).values():
        ended: int | None = None
        for one in of_user:
            if ended is not None and one.exchange.sent_ns > ended and one.effect is Effect.DONE:
                again += 1
                ended = None
            if one.could_hold and one.effect is not Effect.DONE:
                failed += 1
                ended = one.exchange.done_ns
    if not failed:
        return Finding(
            rule, Outcome.SKIPPED, "no operation failed or was left unanswered, so nothing had to be cleaned up"
        )
    return held(rule, f"after {failed} failed operations the lock was free again", examined=again)


def _users_at_once(found: Sequence[Attempt]) -> int:
    events: list[tuple[int, int, Hashable]] = []
    for one in found:
        if one.could_hold or one.effect is Effect.CONTENDED:
            events += [(one.exchange.sent_ns, 0, one.movement.user), (one.exchange.done_ns, 1, one.movement.user)]
    active: dict[Hashable, int] = {}
    most = 0
    for _, ends, user in sorted(events, key=lambda event: event[:2]):
        active[user] = active.get(user, 0) + (-1 if ends else 1)
        if not active[user]:
            del active[user]
        most = max(most, len(active))
    return most


def _overlapping(of_user: Sequence[Attempt]) -> set[int]:
    """Return the rows of the attempts that may hold the lock and overlap another such."""
    ordered = [one for one in of_user if one.could_hold]
    rows: set[int] = set()
    latest: Attempt | None = None
    for one in ordered:
        if latest is not None and one.exchange.sent_ns <= latest.exchange.done_ns:
            rows |= {one.exchange.row, latest.exchange.row}
        if latest is None or one.exchange.done_ns > latest.exchange.done_ns:
            latest = one
    return rows


def _suspicious(policy: LockPolicy, one: Attempt) -> bool:
    """Say whether the answer is one that a held lock must not give."""
    status = one.exchange.status
    if one.effect in (Effect.DONE, Effect.CONTENDED, Effect.NONE, Effect.UNKNOWN) or one.by_another:
        return False
    uncoded = policy.code is not None and one.exchange.body is not None and one.code is None
    if status == 500 != policy.status or (status == policy.status and uncoded):
        return True
    return one.movement.kind == "deposit" and status in (409, 423)


def _is_read(policy: LockPolicy, one: Attempt) -> bool:
    """Say whether the answer was read for certain: no code that was overlooked, and no other control's answer."""
    body = one.exchange.body
    if one.exchange.status != policy.status or policy.code is None:
        return True
    if one.causes & (AnswerKind.CIRCUIT_OPEN.bit | AnswerKind.RATE_LIMITED.bit | AnswerKind.OVERLOADED.bit):
        return False
    # Only an object in JSON shows that there is no code in it; a page or a text may tell it in other words.
    readable = body is not None and body.lstrip()[:1] == b"{"
    return readable and body is not None and not bears_code(body, policy.code)
