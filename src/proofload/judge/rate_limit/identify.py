"""Which model and parameters fit a probing history, which don't, and what would tell the remaining ones apart.

A candidate is refuted when the judges would say FAIL of it: no assignment of decision instants conforms. What remains
is compared by running the models' own steps over probes that a case could send.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.clock import Anchor
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.models.attempts import AttemptKind, Attempts
from proofload.judge.rate_limit.context import RateLimitContext, attempts_of, by_key
from proofload.judge.rate_limit.models import can_judge, examine, model_of
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import Algorithm, RateLimitPolicy
from proofload.record.history import History

RULE = "rl.identified"

ROUND_WINDOWS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Windows that people configure; an unknown one is looked for among these and what the history itself suggests."""


@dataclass(frozen=True, slots=True)
class Identification:
    """What a probing history says of the limiter behind it."""

    fits: tuple[RateLimitPolicy, ...]
    refuted: tuple[tuple[RateLimitPolicy, str], ...]
    """Each candidate that can't be it, with the answer that rules it out."""
    tell_apart: tuple[str, ...]
    """For pairs of what fits: a probe on which they would answer differently."""
    why_not: str = ""
    """Why nothing can be told; empty where something can."""

    @property
    def finding(self) -> Finding:
        """Return it as a finding: PASS where exactly one model is left, INCONCLUSIVE otherwise."""
        shown = (*(f"fits: {describe(one)}" for one in self.fits), *self.tell_apart)
        if len(self.fits) == 1:
            return Finding(RULE, Outcome.PASS, f"the limiter is a {describe(self.fits[0])}", len(self.refuted) + 1)
        if not self.fits:
            says = self.why_not or "no known model fits: the declared one, and every other tried, is refuted"
            refuted = tuple(f"not {describe(one)}: {why}" for one, why in self.refuted[:6])
            return Finding(RULE, Outcome.INCONCLUSIVE, says, len(self.refuted), shown=refuted)
        says = f"{len(self.fits)} models fit: {'; '.join(describe(one) for one in self.fits[:4])}"
        return Finding(RULE, Outcome.INCONCLUSIVE, says, len(self.fits) + len(self.refuted), shown=shown)


def describe(policy: RateLimitPolicy) -> str:
    """Return a candidate as one would say it."""
    name = policy.algorithm.replace("_", " ")
    if policy.algorithm in ("fixed_window", "sliding_window_counter"):
        name += " from the first request" if policy.alignment == "first_request" else " on the clock"
    burst = f", burst {policy.allowance}" if policy.is_bucket else ""
    return f"{name}, {policy.limit} in {format_duration(policy.window)}{burst}"


def identify(
    history: History,
    rows: ArrayLike,
    anchor: Anchor,
    *,
    base: RateLimitPolicy,
    candidates: Sequence[RateLimitPolicy] = (),
    clock_skew_ns: int = 0,
    admitted_statuses: frozenset[int] = frozenset(),
) -> Identification:
    """Return what fits the probing history in `rows`, all of one fresh key.

    `base` lends status, headers and scope; without `candidates` they are drawn from the history itself: the allowance
    from how many were admitted first, windows from when the next ones were, and round ones. `admitted_statuses` are
    answers from 400 up that come from behind the limiter.
    """
    scene = RateLimitContext(base, history, anchor, clock_skew_ns=clock_skew_ns, admitted_statuses=admitted_statuses)
    attempts = attempts_of(scene, rows)
    if not np.any(attempts.rejected):
        return Identification((), (), (), "nothing was rejected: probe with more requests, or faster")
    tried = list(candidates) or list(_drawn(base, attempts))
    fits: list[RateLimitPolicy] = []
    refuted: list[tuple[RateLimitPolicy, str]] = []
    for candidate in tried:
        why = refutation(replace(scene, policy=candidate), attempts, rows)
        if why:
            refuted.append((candidate, why))
        else:
            fits.append(candidate)
    fits = _simplest(fits)
    return Identification(tuple(fits), tuple(refuted), tuple(_tell_apart(fits)))


def refutation(scene: RateLimitContext, attempts: Attempts, rows: ArrayLike) -> str:
    """Return the answer that rules a context's policy out, whatever the instants of decision; empty where none does."""
    if can_judge(scene):
        return ""
    keyed = [attempts] if scene.policy.scope == "global" else [one.attempts for one in by_key(scene, rows)]
    for one in keyed:
        seen = examine(scene, one)
        if seen.over is not None:
            return (
                f"row {seen.over.culprit} was admitted, the {seen.over.counted}th where {seen.over.allowed} are allowed"
            )
        if seen.wrongful is not None:
            wrong = seen.wrongful
            return f"row {wrong.culprit} was rejected with at the most {wrong.counted} of {wrong.allowed} used up"
    return ""


def _drawn(base: RateLimitPolicy, attempts: Attempts) -> Iterator[RateLimitPolicy]:
    """Yield candidates: every model with every allowance and window that the history makes likely."""
    first_no = int(attempts.done_ns[attempts.rejected].min())
    surely = int(np.count_nonzero(attempts.admitted & (attempts.done_ns < first_no)))
    maybe = int(np.count_nonzero((attempts.kind != AttemptKind.REJECTED) & (attempts.sent_ns <= first_no)))
    limits = sorted({limit for limit in (surely, maybe, base.limit) if limit >= 1})
    windows = sorted(
        {*(second * NS_PER_SECOND for second in ROUND_WINDOWS_S), base.window, *_suggested(attempts, first_no)}
    )
    for limit in limits:
        for window in windows:
            for algorithm in ("fixed_window", "sliding_log", "sliding_window_counter"):
                yield _candidate(base, algorithm, limit, window, "first_request")
                if algorithm != "sliding_log":
                    yield _candidate(base, algorithm, limit, window, "clock")
            for rate in sorted({limit, base.limit, 1}):
                yield _candidate(base, "token_bucket", rate, window, "first_request", limit)


def _suggested(attempts: Attempts, first_no: int) -> list[int]:
    """Return windows that the first admission after a rejection suggests, in whole tenths of a second."""
    later = attempts.sent_ns[attempts.admitted & (attempts.sent_ns > first_no)]
    if not len(later):
        return []
    gap = int(later.min()) - int(attempts.sent_ns[0])
    tenth = NS_PER_SECOND // 10
    return [max(1, round(gap / tenth)) * tenth, max(1, gap // NS_PER_SECOND) * NS_PER_SECOND]


def _candidate(
    base: RateLimitPolicy, algorithm: Algorithm, limit: int, window: int, alignment: str, burst: int | None = None
) -> RateLimitPolicy:
    changes = {"algorithm": algorithm, "limit": limit, "window": window, "alignment": alignment, "burst": burst}
    return base.model_copy(update=changes)


def _simplest(fits: Sequence[RateLimitPolicy]) -> list[RateLimitPolicy]:
    """Return candidates without those that promise the same as an earlier one: rates that reduce to one another."""
    kept: list[RateLimitPolicy] = []
    seen: set[tuple[object, ...]] = set()
    for one in fits:
        key: tuple[object, ...] = (one.algorithm, one.limit, one.window, one.alignment)
        if one.is_bucket:
            common = int(np.gcd(one.limit, one.window))
            key = ("bucket", one.limit // common, one.window // common, one.allowance)
        if key not in seen:
            seen.add(key)
            kept.append(one)
    return kept


def _tell_apart(fits: Sequence[RateLimitPolicy], most: int = 6) -> Iterator[str]:
    for count, (one, other) in enumerate(combinations(fits, 2)):
        if count >= most:
            return
        yield difference(one, other)


def difference(one: RateLimitPolicy, other: RateLimitPolicy) -> str:
    """Return a probe on which two candidates answer differently, worked out by running both."""
    for words, sends in _probes(max(one.limit, other.limit, one.allowance, other.allowance), one.window, other.window):
        answers = [_run(policy, sends) for policy in (one, other)]
        if answers[0] != answers[1]:
            at = next(place for place, pair in enumerate(zip(*answers, strict=True)) if pair[0] != pair[1])
            said = ["admitted" if answer[at] else "rejected" for answer in answers]
            when = format_duration(sends[at] - sends[0])
            return (
                f"{words}: the request at +{when} is {said[0]} by a {describe(one)}, {said[1]} by a {describe(other)}"
            )
    return f"no probe tried tells a {describe(one)} from a {describe(other)}"


def _run(policy: RateLimitPolicy, sends: Sequence[int]) -> list[bool]:
    # Each model is fed the states that it made itself.
    model: Any = model_of(policy)
    state: Any = None
    answers = []
    for at_ns in sends:
        admitted, state = model.admit(state, at_ns)
        answers.append(admitted)
    return answers


def _probes(limit: int, *windows: int) -> Iterator[tuple[str, list[int]]]:
    """Yield probes as (what to send, instants): from a fresh key, in the order of how long they take."""
    # An instant that is an edge of every window, plus a part: so that alignment to the clock can show.
    for window in sorted(set(windows)):
        origin = 1_000 * 3_600 * NS_PER_SECOND
        millisecond = 1_000_000
        burst = [origin + window // 3 + place * millisecond for place in range(limit + 1)]
        for tenths in (5, 7, 10, 11, 13, 17, 20, 21):
            again = [origin + window // 3 + window * tenths // 10 + place * millisecond for place in range(limit + 1)]
            part = f"{tenths / 10:g} of {format_duration(window)}"
            yield f"send {limit + 1} at once, and as many again after {part}", burst + again
        spread = [origin + window // 3 + window * place // (limit + 1) for place in range(3 * limit + 3)]
        yield f"send {3 * limit + 3} evenly over three windows of {format_duration(window)}", spread
        late = [origin + window // 3, *(origin + window // 3 + window * 9 // 10 + place for place in range(limit))]
        late += [origin + window // 3 + window * 21 // 20 + place for place in range(limit)]
        yield f"send one, {limit} late in its window of {format_duration(window)}, {limit} early in the next", late
