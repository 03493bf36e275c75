"""The IETF draft's structured fields: `RateLimit-Policy` declares, `RateLimit` tells what is left and until when.

draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy: "default";q=100;w=60` and `RateLimit: "default";r=50;t=30`,
with `t` in seconds from the answer. The pairs of drafts 6 and 7 (`limit=100, remaining=50, reset=5`, and `100;w=60`
for a policy) are read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofload.core.units import NS_PER_SECOND
from proofload.judge.models.attempts import Ints
from proofload.judge.rate_limit.context import RateLimitContext
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.rate_limit.fields import structured
from proofload.judge.rate_limit.header_bounds import ToldKey
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import RateLimitPolicy

MISSING, BROKEN, POLICY = "rl.header_missing", "rl.ietf_malformed", "rl.limit_header_wrong"
REMAINING, RESET = "rl.remaining_wrong", "rl.reset_untrue"

_LOOK = "where the RateLimit fields are written, and whether they come from the step that counted the request"
_NONE = -1
_Items = list[tuple[str, dict[str, int]]]


@dataclass(frozen=True, slots=True)
class IetfFields:
    """What the fields say on some rows; -1 where they don't."""

    quota: Ints
    window_s: Ints
    left: Ints
    reset_s: Ints
    malformed: Ints
    """Places whose text is no structured field."""
    absent: Ints


def judge_ietf(scene: RateLimitContext, told: Sequence[ToldKey]) -> list[Finding]:
    """Return the findings on both fields over the answers of every key."""
    rows = np.concatenate([one.rows for one in told]) if told else np.empty(0, dtype=np.int64)
    said = _read(scene, rows)
    findings = [
        _rule(
            scene,
            rows,
            MISSING,
            said.absent,
            len(rows),
            "RateLimit and RateLimit-Policy are on every answer",
            "missing",
        ),
        _rule(
            scene, rows, BROKEN, said.malformed, len(rows) - len(said.absent), "the fields are well formed", "malformed"
        ),
        _policy(scene, rows, said),
    ]
    if told:
        findings += _true(scene, rows, said, told)
    return findings


def _policy(scene: RateLimitContext, rows: Ints, said: IetfFields) -> Finding:
    quotas, windows = list(scene.policy.told_limits), sorted(_windows_s(scene.policy))
    wrong = (said.quota != _NONE) & ~np.isin(said.quota, quotas)
    wrong |= (said.window_s != _NONE) & ~np.isin(said.window_s, windows)
    promised = " or ".join(str(one) for one in quotas)
    right = f"RateLimit-Policy promises {promised} in {' or '.join(str(one) for one in windows)} s"
    examined = int(np.count_nonzero(said.quota != _NONE))
    return _rule(scene, rows, POLICY, np.flatnonzero(wrong), examined, right, f"another policy than {right}")


def _windows_s(policy: RateLimitPolicy) -> set[int]:
    """Return the whole seconds that an honest `w` may tell: the window, or how long a whole bucket takes to fill."""
    filled_ns = policy.window * policy.allowance / policy.limit
    return {
        whole for ns in (policy.window, filled_ns) for whole in (int(ns // NS_PER_SECOND), -int(-ns // NS_PER_SECOND))
    }


def _true(scene: RateLimitContext, rows: Ints, said: IetfFields, told: Sequence[ToldKey]) -> list[Finding]:
    low, high = (np.concatenate([getattr(one, name) for one in told]) for name in ("remaining_lo", "remaining_hi"))
    has_left = said.left != _NONE
    off = np.flatnonzero(has_left & ((said.left < low) | (said.left > high)))
    left = _rule(scene, rows, REMAINING, off, int(np.count_nonzero(has_left)), "r counts down", "r untrue")
    sent, done = (np.concatenate([getattr(one, name) for one in told]) for name in ("sent_ns", "done_ns"))
    end_lo, end_hi = (np.concatenate([getattr(one, name) for one in told]) for name in ("end_lo_ns", "end_hi_ns"))
    stray = scene.leeway.rounding_ns + scene.leeway.clock_ns
    has_reset = said.reset_s != _NONE
    wait = np.where(has_reset, said.reset_s, 0) * NS_PER_SECOND
    untrue = has_reset & ((done + wait + stray < end_lo) | (sent + wait - stray > end_hi))
    count = int(np.count_nonzero(has_reset))
    return [left, _rule(scene, rows, RESET, np.flatnonzero(untrue), count, "t names the end of the window", "t untrue")]


def _read(scene: RateLimitContext, rows: Ints) -> IetfFields:
    columns = [scene.fields.texts(name, rows) for name in ("RateLimit-Policy", "RateLimit")]
    cache: dict[str, _Items | None] = {}
    numbers = np.full((4, len(rows)), _NONE, dtype=np.int64)
    malformed, absent = [], []
    for place, texts in enumerate(zip(*columns, strict=True)):
        parsed: list[_Items | None] = []
        for text in texts:
            if text is None:
                parsed.append(None)
                continue
            if text not in cache:
                cache[text] = structured(text)
            parsed.append(cache[text])
        whole = parsed[1] is not None and "limit" in parsed[1][0][1]
        if texts[1] is None or (texts[0] is None and not whole):
            absent.append(place)
        elif parsed[1] is None or (texts[0] is not None and parsed[0] is None):
            malformed.append(place)
        else:
            numbers[:, place] = _pick(scene, parsed[0] or [], parsed[1])
    quota, window_s, left, reset_s = numbers
    return IetfFields(
        quota, window_s, left, reset_s, np.array(malformed, dtype=np.int64), np.array(absent, dtype=np.int64)
    )


def _pick(scene: RateLimitContext, policies: _Items, limits: _Items) -> tuple[int, int, int, int]:
    """Return (quota, window, left, reset) of the item that speaks of this policy, or of the first one."""
    if "limit" in limits[0][1]:
        return _pick_pairs(scene, policies, limits[0][1])
    quotas, windows = scene.policy.told_limits, _windows_s(scene.policy)
    mine = next(
        (one for one in policies if one[1].get("q") in quotas and one[1].get("w") in windows),
        policies[0] if policies else None,
    )
    name = mine[0] if mine is not None else limits[0][0]
    limit = next((values for item, values in limits if item == name), limits[0][1])
    quota, window_s = (mine[1].get("q", _NONE), mine[1].get("w", _NONE)) if mine is not None else (_NONE, _NONE)
    return quota, window_s, limit.get("r", _NONE), limit.get("t", _NONE)


def _pick_pairs(scene: RateLimitContext, policies: _Items, told: dict[str, int]) -> tuple[int, int, int, int]:
    """Return the same of the pairs of drafts 6 and 7, whose policies are written `100;w=60`."""
    windows = _windows_s(scene.policy)
    mine = next((int(name) for name, values in policies if name.isdecimal() and values.get("w") in windows), None)
    if mine is not None and mine != told["limit"]:
        # The pairs speak of whichever policy has least left: not of this one.
        return mine, _NONE, _NONE, _NONE
    return told["limit"], _NONE, told.get("remaining", _NONE), told.get("reset", _NONE)


def _rule(
    scene: RateLimitContext, rows: Ints, rule: str, places: Ints, examined: int, right: str, wrong: str
) -> Finding:
    """Return FAIL with the first of `places`, or whether the rule held over `examined` answers."""
    if not len(places):
        return held(rule, right, examined=examined)
    row = int(rows[places[0]])
    headers = scene.history.exchanges([row])[0].headers
    got = "; ".join(f"{name}: {headers[name]}" for name in ("ratelimit-policy", "ratelimit") if name in headers)
    says = f"RateLimit fields {wrong} on {len(places)} of {len(rows)} answers; the first is row {row}"
    shown = steps(scene.history, [row], (got or "no RateLimit field",))
    return Finding(rule, Outcome.FAIL, says, len(rows), 1, (row,), shown, _LOOK, {"times": len(places)})
