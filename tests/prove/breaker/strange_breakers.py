"""Breakers as strangers build them: honest ones in many readings, and what each declares of itself."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from tests.prove.breaker.breakers import CODES, MS, SECOND, HonestBreaker, OpensAtFour, OpensAtSix, simulate

from proofload.core.seeds import stream
from proofload.judge.breaker import OPENING, RECOVERY, BackendHits, CircuitContext, judge_breaker
from proofload.plan.policies import CircuitBreakerPolicy


class RatioBreaker(HonestBreaker):
    """Opens by the share of failures. `window`: rolling, tumbling, buckets (of a tenth) or calls."""

    ratio, minimum, span_ns, calls = 0.5, 6, 10 * SECOND, 10
    window, strictly, ignores_neutral = "rolling", False, True

    def __init__(self, open_ns):
        super().__init__(open_ns)
        self.seen, self.began = deque(maxlen=self.calls if self.window == "calls" else None), None

    def leave(self, now, generation, outcome, worker=0):
        if generation != self.generation or self.state == "half-open":
            super().leave(now, generation, outcome, worker)
            return
        if outcome == "neither" and self.ignores_neutral:
            return
        self._forget(now)
        self.seen.append((now, outcome == "failure"))
        bad, total = sum(failed for _, failed in self.seen), len(self.seen)
        share = bad > self.ratio * total if self.strictly else bad >= self.ratio * total
        if total >= self.minimum and bad and share:
            self.open(now)

    def _forget(self, now):
        if self.window == "tumbling":
            if self.began is None or now - self.began >= self.span_ns:
                self.began = now
                self.seen.clear()
            return
        if self.window == "calls":
            return
        oldest = now - self.span_ns
        if self.window == "buckets":
            tenth = self.span_ns // 10
            oldest = (now // tenth - 9) * tenth
        while self.seen and self.seen[0][0] < oldest:
            self.seen.popleft()

    def move(self, state, until=0):
        super().move(state, until)
        if hasattr(self, "seen"):
            self.seen.clear()
            self.began = None


class NeverOpensByRatio(RatioBreaker):
    ratio = 2.0


class OpensAtATenth(RatioBreaker):
    ratio, minimum = 0.1, 2


class LateByRatio(RatioBreaker):
    minimum = 200


RATIO = {"ratio": 0.5, "ratio_window": "10s", "minimum_calls": 6}
ALIKE = {"code_when_open": None}
SVC = b'{"code":"SVC_001"}'


@dataclass(frozen=True)
class Kind:
    """How a breaker is made, and what its target file declares."""

    base: type = HonestBreaker
    traits: dict = field(default_factory=dict)
    declared: dict = field(default_factory=dict)
    body: bytes = CODES["rejected"]


def _ratios():
    for window in ("rolling", "tumbling", "buckets", "calls"):
        for strictly in (False, True):
            for hides in (False, True):
                declared = {**RATIO, "ratio_calls": 10, "ratio_window": None} if window == "calls" else RATIO
                traits = {"window": window, "strictly": strictly, "hides_trip": hides, "ignores_neutral": strictly}
                name = f"ratio {'>' if strictly else '>='} {window}{', tripping call hidden' if hides else ''}"
                yield name, Kind(RatioBreaker, traits, declared)


HONEST = {
    "503 without a code for both": Kind(traits={"dead_answer": (503, b"down")}, declared=ALIKE, body=b"down"),
    "503 SVC_001 for both": Kind(traits={"dead_answer": (503, SVC)}, declared={"code_when_open": "SVC_001"}, body=SVC),
    "502 for both": Kind(
        traits={"dead_answer": (502, b"{}"), "open_status": 502},
        declared={"code_when_open": None, "status_when_open": 502},
    ),
    "502, then 503 without a code": Kind(traits={"dead_answer": (502, b"bad gateway")}, declared=ALIKE),
    "two texts of 503": Kind(traits={"dead_answer": (503, b"connect error 111")}, declared=ALIKE),
    "tripping call hidden": Kind(traits={"hides_trip": True}),
    "tripping call hidden, declared": Kind(traits={"hides_trip": True}, declared={"tripping_call": "circuit"}),
    "limiter in front": Kind(traits={"front": (8, 5 * SECOND)}),
    "tight limiter in front": Kind(traits={"front": (3, SECOND)}),
    "limiter in front, tripping call hidden": Kind(traits={"front": (8, 5 * SECOND), "hides_trip": True}),
    **dict(_ratios()),
}

BROKEN = {
    "opens at 4, 502 then 503 SVC_001": Kind(
        OpensAtFour, {"dead_answer": (502, b"{}")}, {"code_when_open": "SVC_001", "tripping_call": "service"}, SVC
    ),
    "opens at 6, 502 then 503 without a code": Kind(OpensAtSix, {"dead_answer": (502, b"{}")}, ALIKE),
    "tripping call hidden, opens at 4": Kind(OpensAtFour, {"hides_trip": True}, {}),
    "tripping call hidden, opens at 6": Kind(OpensAtSix, {"hides_trip": True}, {"tripping_call": "circuit"}),
    "ratio, never opens": Kind(NeverOpensByRatio, {}, RATIO),
    "ratio, opens at a tenth": Kind(OpensAtATenth, {}, RATIO),
    "ratio, opens late": Kind(LateByRatio, {}, RATIO),
}


def play(kind, seed, scenario, open_ns, **world):
    """Return what the judge says of one world with such a breaker."""
    breaker = type("Drawn", (kind.base,), kind.traits)(open_ns)
    known = dict(CODES)
    CODES["rejected"] = kind.body
    try:
        played = simulate(seed, breaker, scenario, open_ns, **world)
    finally:
        CODES.update(known)
    policy = CircuitBreakerPolicy(service="orders", operation="buy", open_for=f"{open_ns}ns", **kind.declared)
    hits = (BackendHits(0, 1 << 60, played.hits, played.hits),) if seed % 2 else ()
    stage = CircuitContext(policy, played.history, played.spans, hits)
    return judge_breaker(stage, np.arange(len(played.history)), expect=(*OPENING, *RECOVERY))


def strange_trial(seed, name, scenario):
    """Return the findings on an honest breaker of one kind."""
    dice = stream(seed, "strange breaker", name, scenario)
    open_ns = dice.choice([2, 5]) * SECOND
    loss, mean_ns = dice.choice([0, 0, 0.02]), dice.choice([MS // 2, 3 * MS])
    return play(HONEST[name], seed, scenario, open_ns, loss=loss, mean_ns=mean_ns)
