"""The section of docs/proof.md on circuit breakers."""

from __future__ import annotations

from tests.prove.breaker.breaker_trials import SHOWN_BY, detection, fails, honest_trial
from tests.prove.breaker.breakers import DEFECTS, SCENARIOS, SECOND
from tests.prove.breaker.strange_breakers import BROKEN, HONEST, play, strange_trial
from tests.prove.explained import CIRCUIT_DEFECTS, circuits

from proofload.judge.verdict import Outcome

TITLE = "Circuit breakers"
TEXT = (
    "Simulated breakers stand before a service that a fault breaks and mends: refused connections, errors, hanging. "
    "Each defect is played in the scenario that a case would use, and in a crowd of overlapping calls (no loss), where "
    "much can't be told from intervals. *Could be told*: brute force over the true instants, with every fate of "
    "unanswered calls, finds no honest breaker that gives the answers that the client saw. "
    "Breakers of strangers answer like the dead service, hide the call that trips them, go by a share of failures in "
    "any honest reading, or have a limiter in front; half of their worlds have the service's own count."
)


def honest(count):
    """Yield (what, histories, FAIL, abstained) for each scenario, and for each kind of breaker that strangers build."""
    share = -(-count // len(SCENARIOS))
    for scenario in SCENARIOS:
        failed = abstained = 0
        for seed in range(share):
            found = honest_trial(seed, scenario)
            failed += any(one.outcome >= Outcome.FAIL for one in found)
            abstained += any(one.outcome is Outcome.INCONCLUSIVE for one in found if one.rule == "cb.opens_early")
        yield scenario, share, failed, abstained
    yield from strangers(-(-count // (4 * len(HONEST))))


def strangers(share):
    """Yield the same for breakers whose answers are ambiguous, that go by a share, or have a limiter before them."""
    scenes = [name for name in SCENARIOS if name != "crowd"]
    for name in HONEST:
        failed = abstained = 0
        for seed in range(share):
            found = strange_trial(seed, name, scenes[seed % len(scenes)])
            failed += any(one.outcome >= Outcome.FAIL for one in found)
            abstained += any(one.outcome is Outcome.INCONCLUSIVE for one in found if one.rule == "cb.opens_early")
        yield f"stranger: {name}", share, failed, abstained


def rows(scale):
    """Yield one row of the table for each defect and scenario."""
    for name in DEFECTS:
        for scenario, loss in ((SHOWN_BY.get(name, "trip"), 0.005), ("crowd", 0.0)):
            could, found, size = detection(name, scenario, scale, loss=loss)
            yield {
                "defect": name,
                "scenario": scenario,
                "calls": size,
                "worlds": scale,
                "could be told": could,
                "found": found,
            }
    for name, kind in BROKEN.items():
        scenario = "recover" if "ratio" in name else "trip"
        found = sum(bool(fails(play(kind, seed, scenario, 5 * SECOND, loss=0))) for seed in range(scale))
        yield {
            "defect": f"stranger: {name}",
            "scenario": scenario,
            "calls": "",
            "worlds": scale,
            "could be told": scale,
            "found": found,
        }


SMALL = (
    "Circuits that two failures open and two successes close, and some fifteen calls in random order around outages. "
    "*Could be told*: every placing of the decisions and outcomes inside their intervals, tick by tick, is tried, and "
    "with none of them an honest circuit answers so. *Unsound*: a FAIL although one does. An interval is up to `blur` "
    "ticks longer than the truth at either end; an open period is 20 ticks. The replay goes by bounds: where calls "
    "overlap much, it finds less than this exhaustive search, which takes exponential time."
)


def small(scale):
    """Yield one row for each defect and blur, over worlds that can be tried exhaustively."""
    for name in CIRCUIT_DEFECTS:
        for blur in (0, 1, 3):
            tally = circuits(name, blur, 10 * scale)
            yield {"defect": name, "blur": blur, **tally.row()}
