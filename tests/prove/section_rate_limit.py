"""The section of docs/proof.md on rate limits."""

from __future__ import annotations

from tests.prove.explained import LIMITER_DEFECTS, LIMITERS, limiters
from tests.prove.rate_limit.limiters import HONEST
from tests.prove.rate_limit.trials import DECISIONS, detection, honest_trial

from proofload.judge.verdict import Outcome

TITLE = "Rate limits"
TEXT = (
    "Simulated limiters decide at true instants; a client sees them through a network with delays, loss and skewed "
    "clocks. *Could be told*: brute force over the true instants, with every way in which unanswered requests may have "
    "counted, finds no honest limiter that gives the answers that the client saw. *Found*: the judges, who see only "
    "intervals, said FAIL. *Abstained*: over-admission or wrongful rejection was INCONCLUSIVE, mostly as the traffic "
    "never reached the limit. A sliding window counter may round its estimate either way, so an allowance that is one "
    "off is told only where the older window is empty, or by its headers."
)
CORE = ("rl.over_admission", "rl.wrongful_rejection")
LIMITS = (5, 20, 100)


def honest(count):
    """Yield (what, histories, FAIL, INCONCLUSIVE somewhere) for each kind of honest limiter."""
    share = -(-count // len(HONEST))
    for model in HONEST:
        failed = abstained = 0
        for seed in range(share):
            found = honest_trial(seed, model)
            failed += any(one.outcome >= Outcome.FAIL for one in found)
            abstained += any(one.outcome is Outcome.INCONCLUSIVE for one in found if one.rule in CORE)
        yield model, share, failed, abstained


def rows(scale):
    """Yield one row of the table for each defect and limit; `scale` is the number of worlds for each."""
    for name in DECISIONS:
        for limit in LIMITS:
            could, found, size = detection(name, limit, scale)
            yield {
                "defect": name,
                "limit": limit,
                "requests": size,
                "worlds": scale,
                "could be told": could,
                "found": found,
            }


SMALL = (
    "Limits of two and three, and up to eight requests at once, spread, or about a window's edge. *Could be told*: "
    "every placing of the decisions inside their intervals, tick by tick, is tried, and with none of them an honest "
    "limiter answers so. *Unsound*: a FAIL although one does. An interval is up to `blur` ticks longer than the truth "
    "at either end; a window is 20 ticks. What the judge leaves is mostly its slack for stores whose timers are late."
)


def small(scale):
    """Yield one row for each model, defect and blur, over worlds that can be tried exhaustively."""
    for model in LIMITERS:
        for defect in LIMITER_DEFECTS:
            for blur in (0, 3, 8):
                tally = limiters(defect, model, blur, 10 * scale)
                yield {"model": model, "defect": defect, "blur": blur, **tally.row()}
