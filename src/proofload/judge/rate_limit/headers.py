"""What the answers say of the allowance: present, right limit, `Remaining` in step, `Reset` and `Retry-After` true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.models.attempts import Ints
from proofload.judge.rate_limit.context import RateLimitContext, covered
from proofload.judge.rate_limit.counterexample import line, steps
from proofload.judge.rate_limit.fields import Column, Times
from proofload.judge.rate_limit.header_bounds import ToldKey, told_of
from proofload.judge.rate_limit.header_values import UNIT_NAMES, unit_of
from proofload.judge.rate_limit.ietf import judge_ietf
from proofload.judge.rate_limit.models import can_judge
from proofload.judge.sampling import with_share
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import Ending

MISSING, LIMIT, REMAINING = "rl.header_missing", "rl.limit_header_wrong", "rl.remaining_wrong"
DUPLICATE, UNIT, RESET = "rl.remaining_duplicate", "rl.reset_wrong_unit", "rl.reset_untrue"
RETRY_MISSING, RETRY = "rl.retry_after_missing", "rl.retry_after_untrue"

_LOOK_SET = "where the headers are set: on every answer, and after the backend's own headers are copied"
_LOOK_COUNT = "whether `Remaining` comes from the same atomic step that counted the request"
_LOOK_CLOCK = "how the end of the window is worked out: the key's time to live, the unit, the server's clock"


def limited_rows(scene: RateLimitContext, rows: ArrayLike) -> Ints:
    """Return the rows whose answer surely passed the limiter: admitted or rejected by it."""
    chosen = np.asarray(rows, dtype=np.int64)
    answered = scene.history.numbers("ending")[chosen] == Ending.ANSWERED
    chosen = chosen[answered]
    status = scene.history.numbers("status")[chosen]
    extra = list(scene.admitted_statuses)
    passed = ((status >= 200) & (status < 400)) | (status == scene.policy.status) | np.isin(status, extra)
    return np.asarray(chosen[passed], dtype=np.int64)


def judge_headers(scene: RateLimitContext, rows: ArrayLike, *, needed: int | None = None) -> list[Finding]:
    """Return the findings on every declared header over the answers in `rows`; each key may have many windows."""
    chosen = limited_rows(scene, rows)
    names = scene.policy.headers
    least = scene.policy.allowance if needed is None else needed
    findings = [_present(scene, chosen, least)] if any((names.limit, names.remaining, names.reset)) else []
    if names.limit:
        findings.append(_limit(scene, chosen, scene.fields.column(names.limit, chosen), least))
    if names.retry_after:
        findings.append(_retry_present(scene, chosen))
    reason = can_judge(scene)
    if reason:
        return [*findings, Finding(REMAINING, Outcome.INCONCLUSIVE, reason)]
    told = list(told_of(scene, chosen_with_unknown(scene, rows)))
    if names.remaining:
        findings += [_remaining(scene, told, least), *_distinct(scene, told)]
    if names.reset:
        findings += _reset(scene, chosen, told)
    if names.retry_after:
        findings.append(_retry_true(scene, told))
    if names.ietf:
        findings += judge_ietf(scene, told)
    return findings


def chosen_with_unknown(scene: RateLimitContext, rows: ArrayLike) -> Ints:
    """Return every row that may have counted: what has no header may still have spent allowance."""
    chosen = np.asarray(rows, dtype=np.int64)
    ending = scene.history.numbers("ending")[chosen]
    return np.asarray(chosen[(ending == Ending.ANSWERED) | (ending == Ending.UNKNOWN)], dtype=np.int64)


def _broken(
    scene: RateLimitContext, rule: str, rows: Sequence[int], says: str, note: str, look: str, count: int
) -> Finding:
    shown = steps(scene.history, rows, (note,))
    return Finding(rule, Outcome.FAIL, says, count, 1, tuple(rows), shown, look, {"times": count})


def _present(scene: RateLimitContext, rows: Ints, needed: int) -> Finding:
    names = scene.policy.headers
    for name in (names.limit, names.remaining, names.reset):
        if name is None:
            continue
        gone = np.flatnonzero(~scene.fields.column(name, rows).present)
        if len(gone):
            row = int(rows[gone[0]])
            statuses = sorted({int(status) for status in scene.history.numbers("status")[rows[gone]]})
            on = ", ".join(str(status) for status in statuses)
            says = f"{name} is missing on {len(gone)} of {len(rows)} answers (status {on}); the first is row {row}"
            return _broken(scene, MISSING, [row], says, f"no {name}", _LOOK_SET, len(gone))
    told = ", ".join(name for name in (names.limit, names.remaining, names.reset) if name)
    return with_share(held(MISSING, f"{told} are on every answer", examined=len(rows), needed=needed), len(rows))


def _limit(scene: RateLimitContext, rows: Ints, found: Column, needed: int) -> Finding:
    policy = scene.policy
    right = scene.fields.names_limit(found.name, policy.window, policy.told_limits, rows)
    for other in scene.also:
        named = scene.fields.names_limit(found.name, other.window, other.told_limits, rows)
        right |= named & covered(scene, other, rows)
    wrong = np.flatnonzero(found.present & ~right)
    promised = " or ".join(str(one) for one in policy.told_limits)
    if len(wrong):
        row = int(rows[wrong[0]])
        got = found.text(scene.history, row)
        says = f"{found.name} is {got!r} on row {row}, the limit is {promised}; wrong on {len(wrong)} answers"
        return _broken(scene, LIMIT, [row], says, f"{found.name}: {got}", _LOOK_SET, len(wrong))
    examined = int(np.count_nonzero(right))
    return with_share(held(LIMIT, f"{found.name} is {promised}", examined=examined, needed=needed), examined)


def _retry_present(scene: RateLimitContext, rows: Ints) -> Finding:
    name = scene.policy.headers.retry_after
    assert name is not None
    rejected = rows[scene.history.numbers("status")[rows] == scene.policy.status]
    found = scene.fields.retry(name, rejected)
    unusable = np.flatnonzero(~found.read)
    if len(unusable):
        row = int(rejected[unusable[0]])
        what = "missing" if not found.present[unusable[0]] else "neither seconds nor a date"
        says = f"{name} is {what} on {len(unusable)} of {len(rejected)} rejections; the first is row {row}"
        return _broken(scene, RETRY_MISSING, [row], says, f"{name} is {what}", _LOOK_SET, len(unusable))
    return with_share(held(RETRY_MISSING, f"{name} is on every rejection", examined=len(rejected)), len(rejected))


def _remaining(scene: RateLimitContext, told: Sequence[ToldKey], needed: int) -> Finding:
    name = scene.policy.headers.remaining
    assert name is not None
    examined = times = 0
    first: tuple[ToldKey, int, Column] | None = None
    for one in told:
        found = scene.fields.column(name, one.rows)
        outside = (found.values < one.remaining_lo) | (found.values > one.remaining_hi)
        wrong = np.flatnonzero(found.present & (~found.whole | outside))
        examined += int(np.count_nonzero(found.whole))
        times += len(wrong)
        if len(wrong) and first is None:
            first = (one, int(wrong[0]), found)
    if first is None:
        says = f"{name} counts down with each admitted request"
        return with_share(held(REMAINING, says, examined=examined, needed=needed), examined)
    one, place, found = first
    row = int(one.rows[place])
    low, high = int(one.remaining_lo[place]), int(one.remaining_hi[place])
    right = f"{low}" if low == high else f"between {low} and {high}"
    got = found.text(scene.history, row)
    says = f"{name} is {got} on row {row}, where {right} is right; wrong on {times} of {examined} answers"
    rows = [int(one.rows[place - 1]), row] if place else [row]
    return _broken(scene, REMAINING, rows, says, f"{name}: {got}, right is {right}", _LOOK_COUNT, times)


def _distinct(scene: RateLimitContext, told: Sequence[ToldKey]) -> list[Finding]:
    """Return whether no two admissions of one window were told the same `Remaining`: each is one atomic step."""
    name = scene.policy.headers.remaining
    if name is None or scene.policy.algorithm != "fixed_window":
        return []
    most = 0
    for one in told:
        found = scene.fields.column(name, one.rows)
        use = np.flatnonzero(found.whole & ~one.rejected & (one.window >= 0))
        order = use[np.lexsort((one.rows[use], found.values[use], one.window[use]))]
        same = (one.window[order][1:] == one.window[order][:-1]) & (found.values[order][1:] == found.values[order][:-1])
        # Admissions beyond the limit share the 0 with the last rightful one: that is over-admission, no race.
        crowded = np.bincount(one.window[use])[one.window[order][1:]] > scene.policy.limit if len(use) else same
        twice = np.flatnonzero(same & ~(crowded & (found.values[order][1:] == 0)))
        if len(twice):
            pair = [int(one.rows[order[twice[0]]]), int(one.rows[order[twice[0] + 1]])]
            value = int(found.values[order[twice[0]]])
            says = f"{name} is {value} on two admitted requests of one window, rows {pair[0]} and {pair[1]}"
            note = f"both say {name}: {value}; {len(twice)} such pairs"
            return [_broken(scene, DUPLICATE, pair, says, note, _LOOK_COUNT, len(twice))]
        if len(use):
            most = max(most, int(np.unique(one.window[use], return_counts=True)[1].max()))
    says = f"each admitted request of a window has its own {name}: {most} different values in one window"
    return [held(DUPLICATE, says, examined=most, needed=min(2, scene.policy.limit), values=most)]


def _reset(scene: RateLimitContext, rows: Ints, told: Sequence[ToldKey]) -> list[Finding]:
    name = scene.policy.headers.reset
    assert name is not None
    unit = scene.policy.headers.reset_unit
    found = scene.fields.reset(name, unit, rows)
    wrong = _wrong_unit(scene, rows, found)
    if wrong is not None:
        return [wrong]
    if scene.anchor is None and bool(np.any(found.is_wall)):
        return [Finding(RESET, Outcome.INCONCLUSIVE, f"{name} can't be compared: the run has no wall-clock anchor")]
    says = f"{name} is in a unit of its own" if unit == "auto" else f"{name} is in {unit.replace('_', ' ')}"
    right_unit = held(UNIT, says, examined=int(np.count_nonzero(found.read)))
    return [right_unit, _reset_true(scene, name, told)]


def _wrong_unit(scene: RateLimitContext, rows: Ints, found: Times) -> Finding | None:
    """Return what is wrong with the unit of `Reset`: unreadable in the declared one, or certainly in another."""
    unit = scene.policy.headers.reset_unit
    bad = np.flatnonzero(found.present & ~found.read)
    if len(bad):
        row = int(rows[bad[0]])
        got = found.text(scene.history, row)
        if unit == "auto":
            says = f"{found.name} is {got!r} on row {row}, which is in no known unit: declare headers.reset_unit"
            return Finding(UNIT, Outcome.INCONCLUSIVE, says, len(bad), rows=(row,))
        other = unit_of(got)
        what = f"{UNIT_NAMES[other]}" if other is not None else "no time in any known form"
        says = f"{found.name} is {got!r} on row {row}: that is {what}, {unit.replace('_', ' ')} are promised"
        return _broken(scene, UNIT, [row], says, f"{found.name}: {got}", _LOOK_CLOCK, len(bad))
    looks = _looks_like(scene, rows, found)
    if not looks or unit == "auto":
        return None
    row = int(rows[np.flatnonzero(found.read)[0]])
    got, times = found.text(scene.history, row), int(np.count_nonzero(found.read))
    says = f"{found.name} is {got} on row {row}: that is {looks}, {unit.replace('_', ' ')} are promised"
    return _broken(scene, UNIT, [row], says, f"{found.name}: {got}, {looks}", _LOOK_CLOCK, times)


def _looks_like(scene: RateLimitContext, rows: Ints, found: Times) -> str:
    """Return the unit that `Reset` is in where it is certainly not the promised one; empty where it can be that."""
    use = np.flatnonzero(found.read)
    if not len(use):
        return ""
    near_ns = 2 * scene.policy.window + 3_600 * NS_PER_SECOND
    now_ns = np.zeros(len(use), dtype=np.int64)
    if scene.anchor is not None:
        sent = scene.history.numbers("sent_ns")[rows[use]].astype(np.int64)
        now_ns = np.where(found.is_wall[use], sent - scene.anchor.monotonic_ns + scene.anchor.wall_ns, 0)
    elif np.any(found.is_wall):
        return ""
    if np.any(np.abs(found.ns[use] - now_ns) <= near_ns):
        return ""
    texts = {text for text in scene.fields.texts(found.name, rows[use]) if text is not None}
    units = {unit_of(text) for text in texts} - {scene.policy.headers.reset_unit}
    other = units.pop() if len(units) == 1 else None
    return UNIT_NAMES[other] if other is not None else ""


def _as_instants(scene: RateLimitContext, one: ToldKey, found: Times) -> tuple[Ints, Ints]:
    """Return the earliest and latest monotonic instant that a header's time can mean, before rounding.

    The server worked it out somewhere inside the exchange, and may have read its clock and the time to live at
    different instants of it.
    """
    took_ns = one.done_ns - one.sent_ns
    low, high = one.sent_ns + found.ns, one.done_ns + found.ns
    if scene.anchor is None:
        return low, high
    at_ns = found.ns - scene.anchor.wall_ns + scene.anchor.monotonic_ns
    stray_ns = scene.wall_error_ns + took_ns
    return np.where(found.is_wall, at_ns - stray_ns, low), np.where(found.is_wall, at_ns + stray_ns, high)


def _reset_true(scene: RateLimitContext, name: str, told: Sequence[ToldKey]) -> Finding:
    slack = scene.leeway
    unit = scene.policy.headers.reset_unit
    examined = times = 0
    worst: tuple[ToldKey, int, int] | None = None
    for one in told:
        found = scene.fields.reset(name, unit, one.rows)
        low, high = _as_instants(scene, one, found)
        stray = slack.rounding_ns + slack.clock_ns
        early, late = one.end_lo_ns - stray - high, low - stray - one.end_hi_ns
        off = np.where(found.read, np.maximum(early, late), 0)
        examined += int(np.count_nonzero(found.read))
        wrong = np.flatnonzero(off > 0)
        times += len(wrong)
        if len(wrong) and worst is None:
            place = int(wrong[0])
            worst = (one, place, int(-early[place] if early[place] > 0 else late[place]))
    if worst is None:
        return with_share(held(RESET, f"{name} names the end of the window", examined=examined), examined)
    one, place, off_ns = worst
    row = int(one.rows[place])
    got = scene.fields.reset(name, unit, one.rows).text(scene.history, row)
    side = "before" if off_ns < 0 else "after"
    by = format_duration(abs(off_ns))
    says = f"{name} is {got} on row {row}: at least {by} {side} the window ends, rounding and slack allowed for"
    return _broken(
        scene, RESET, [row], f"{says}; untrue on {times} of {examined} answers", f"{name}: {got}", _LOOK_CLOCK, times
    )


def _retry_true(scene: RateLimitContext, told: Sequence[ToldKey]) -> Finding:
    """Return whether a client that waits as `Retry-After` says comes neither too early nor far too late."""
    name = scene.policy.headers.retry_after
    assert name is not None
    slack = scene.leeway
    stray = slack.rounding_ns + slack.clock_ns
    examined = 0
    for one in told:
        found = scene.fields.retry(name, one.rows)
        at_lo, at_hi = _as_instants(scene, one, found)
        known = one.rejected & found.read & (~found.is_wall | (scene.anchor is not None))
        examined += int(np.count_nonzero(known))
        short = known & (at_hi + stray < one.end_lo_ns)
        long = known & (at_lo - stray > one.end_hi_ns)
        wrong = np.flatnonzero(short | long)
        if len(wrong):
            place = int(wrong[0])
            return _retry_wrong(scene, one, place, bool(short[place]), examined, len(wrong))
    return with_share(held(RETRY, f"{name} names the wait until the window ends", examined=examined), examined)


def _retry_wrong(
    scene: RateLimitContext, one: ToldKey, place: int, is_short: bool, examined: int, times: int
) -> Finding:
    name, row = scene.policy.headers.retry_after or "", int(one.rows[place])
    exchange = scene.history.exchanges([row])[0]
    got = exchange.headers.get(name.lower(), "")
    end_ns = int(one.end_lo_ns[place] if is_short else one.end_hi_ns[place])
    wait = format_duration(max(0, end_ns - exchange.done_ns))
    how, bound = ("too short", "at the earliest") if is_short else ("too long", "at the latest")
    says = f"{name} is {got} on row {row}: {how}, the window ends {bound} {wait} after that answer"
    shown = (line(exchange, exchange.sent_ns, f"{name}: {got}"),)
    return Finding(RETRY, Outcome.FAIL, says, examined, 1, (row,), shown, _LOOK_CLOCK, {"times": times})
