"""Judges how far a monitoring server lags behind: looks at it, each with its interval, against a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proofload.core.units import NS_PER_SECOND
from proofload.judge.verdict import Finding, Outcome, held


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a server: it showed `seen` of what was sent at some instant inside [asked_ns, answered_ns]."""

    asked_ns: int
    answered_ns: int
    seen: int
    error: str = ""


def judge_freshness(
    rule: str, where: str, sent: int, last_ns: int, looks: Sequence[Look], bound_ns: int, needed: int = 1
) -> Finding:
    """Return whether all of `sent`, the last of it done at `last_ns`, was seen within the bound.

    PASS where a look that was over in time showed all; FAIL where one that began after the bound did not.

    >>> judge_freshness("r", "P", 5, 0, [Look(31, 32, 4)], 30).outcome.name
    'FAIL'
    """
    good = [look for look in looks if not look.error]
    if not good or not sent:
        why = next((look.error for look in looks if look.error), "nothing was sent that could be seen")
        return Finding(rule, Outcome.INCONCLUSIVE, f"{where} could not be read: {why}" if sent else why, 0, needed)
    full = [look for look in good if look.seen >= sent]
    if full:
        behind_ns = full[0].answered_ns - last_ns
        shown = f"{where} showed all {sent} at most {behind_ns / NS_PER_SECOND:.1f} s after the last answer"
        if behind_ns <= bound_ns:
            return held(rule, shown, examined=sent, needed=needed, at_most_behind_ns=behind_ns)
        return Finding(rule, Outcome.INCONCLUSIVE, f"{shown}; whether within the bound was not seen", sent, needed)
    late = [look for look in good if look.asked_ns > last_ns + bound_ns]
    if not late:
        return Finding(rule, Outcome.INCONCLUSIVE, f"{where} was not looked at for long enough", sent, needed)
    says = (
        f"{where} showed {late[-1].seen} of {sent} when asked {(late[-1].asked_ns - last_ns) / NS_PER_SECOND:.1f} s "
        f"after the last answer, promised were {bound_ns / NS_PER_SECOND:g} s"
    )
    return Finding(
        rule,
        Outcome.FAIL,
        says,
        sent,
        needed,
        look_at="the scrape interval and the scrape's errors, or the agent between the log and Loki",
        figures={"seen": late[-1].seen, "sent": sent},
    )
