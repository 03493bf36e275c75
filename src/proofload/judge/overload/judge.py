"""Beyond capacity: goodput, the kind and speed of failures, health, crash, and the return to the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.models.attempts import Flags, Ints
from proofload.judge.overload.capacity import Capacity, Step, good, marked
from proofload.judge.overload.shares import at_least, at_most, no_baseline, targets_own, unwell
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import OverloadPolicy
from proofload.record.exchange import NEVER_NS, Ending, Fault
from proofload.record.history import History

CAPACITY, GOODPUT, CLIFF = "res.capacity_found", "res.goodput_collapse", "res.cliff"
QUICK, KINDS, QUEUE = "res.slow_failures", "res.unexpected_errors", "res.unbounded_queue"
HEALTH, CRASH, RECOVERY = "res.health_starved", "res.crash", "res.no_recovery"
MASKED, LEAK = "res.errors_as_200", "res.connection_leak"

_GONE = (Fault.CONNECT_REFUSED, Fault.RESET, Fault.CLOSED)
_LEAST = 20
_MOST_UNWELL = 0.05
_TIMES_SLOWER = 5
"""Than nearly all checks at ease: below that, slowness of a check is the machine's."""
_MOST_LAG_NS = NS_PER_SECOND // 10


@dataclass(frozen=True, slots=True)
class Phases:
    """The rows of each phase of an overload run, and when the load was gone."""

    baseline: Ints
    """Requests at a load that the target carries with ease, before the rest."""
    beyond: Ints
    """Requests at about twice the capacity."""
    health: Ints
    """Requests of the health operation during that."""
    after: Ints
    """Requests at the baseline's load, from when the overload ended."""
    ended_ns: int
    health_at_ease: Ints | None = None
    """Requests of the health operation at the baseline's load, where some were made."""


def judge_overload(
    policy: OverloadPolicy,
    history: History,
    capacity: Capacity,
    beyond: Step,
    phases: Phases,
    *,
    quick_ns: int = NS_PER_SECOND,
    error_marks: tuple[bytes, ...] = (),
) -> list[Finding]:
    """Return the findings on a run past the knee. `beyond` is the step at about twice the capacity.

    `quick_ns` bounds the median of failures; `error_marks` are what the body of an answer holds that is an error.
    """
    if why := no_baseline(history, phases.baseline, phases.health_at_ease, error_marks):
        return [Finding(CAPACITY, Outcome.INCONCLUSIVE, why, len(phases.baseline))]
    if capacity.why_not:
        return [Finding(CAPACITY, Outcome.INCONCLUSIVE, f"the capacity was not found: {capacity.why_not}")]
    says = f"the target carries {capacity.low:.0f} to {capacity.high:.0f} requests a second"
    findings = [held(CAPACITY, says, examined=len(capacity.steps), needed=2, low=capacity.low, high=capacity.high)]
    if beyond.offered.mean < 1.5 * capacity.high:
        says = f"{beyond.offered.mean:.0f} a second were offered, that is not well beyond {capacity.high:.0f}"
        return [*findings, Finding(GOODPUT, Outcome.INCONCLUSIVE, says)]
    if beyond.carried:
        says = f"even {beyond.offered.mean:.0f} a second came back good, so {capacity.high:.0f} is not its capacity"
        return [Finding(CAPACITY, Outcome.INCONCLUSIVE, says)]
    findings += [_goodput(policy, capacity, beyond), _cliff(policy, capacity)]
    findings += [_kinds(policy, history, phases.beyond), _quick(history, phases.beyond, quick_ns)]
    findings += [_queue(history, phases), _health(history, phases), _crash(history, phases)]
    findings.append(_recovery(policy, history, phases, error_marks))
    return findings + _masked(history, phases.beyond, error_marks)


def _goodput(policy: OverloadPolicy, capacity: Capacity, beyond: Step) -> Finding:
    had, peak, keeps = beyond.goodput, capacity.peak, policy.keeps
    figures = {"goodput_per_second": had.mean, "peak_per_second": peak.mean, "offered_per_second": beyond.offered.mean}
    told = f"{had.mean:.0f} good answers a second at {beyond.offered.mean:.0f} offered, {peak.mean:.0f} at the peak"
    if had.high < keeps * peak.low:
        says = f"goodput collapses: {told}; {keeps:.0%} of the peak is promised"
        look = "what the target does with work it can't finish in time: shed it early, don't start it"
        return Finding(GOODPUT, Outcome.FAIL, says, beyond.slices, 5, shown=(told,), look_at=look, figures=figures)
    # To pass, the difference must be more than chance; to be accused, even the bounds must lie apart.
    reach = ((had.mean - had.low) ** 2 + (keeps * (peak.high - peak.mean)) ** 2) ** 0.5
    if had.mean - keeps * peak.mean >= reach:
        return held(GOODPUT, f"goodput holds: {told}", examined=beyond.slices, needed=5, **figures)
    return Finding(GOODPUT, Outcome.INCONCLUSIVE, f"too close to call: {told}", beyond.slices, 5, figures=figures)


def _cliff(policy: OverloadPolicy, capacity: Capacity) -> Finding:
    """Return whether goodput past the knee slopes: no step of the ramp falls off."""
    past = [step for step in capacity.steps if step.offered.mean >= capacity.high]
    for step in past:
        if step.goodput.high < policy.keeps * capacity.peak.low:
            says = f"a cliff: at {step.offered.mean:.0f} a second offered, goodput falls to {step.goodput.mean:.0f}"
            shown = tuple(
                f"offered {one.offered.mean:.0f}/s, good answers {one.goodput.mean:.0f}/s" for one in capacity.steps
            )
            return Finding(
                CLIFF, Outcome.FAIL, says, len(past), 1, shown=shown, look_at="queues and timeouts in series"
            )
    return held(CLIFF, "past the knee goodput keeps its level", examined=len(past))


def _kinds(policy: OverloadPolicy, history: History, rows: Ints) -> Finding:
    """Return whether failures are the promised ones: no 500, no broken connection."""
    ending, status = history.numbers("ending")[rows], history.numbers("status")[rows]
    answered = ending == Ending.ANSWERED
    bad = answered & (status >= 400)
    strange = bad & ~np.isin(status, list(policy.rejects_with))
    count = int(np.count_nonzero(strange))
    failed = int(np.count_nonzero(bad))
    if count > max(3, 0.01 * failed):
        row = int(rows[np.flatnonzero(strange)[0]])
        kinds = ", ".join(str(one) for one in np.unique(status[strange]))
        says = f"{count} of {failed} failures under overload were answered {kinds}, not {policy.rejects_with}"
        shown = steps(history, [row], ("under overload",))
        look = "what a full pool, a full queue or a timeout becomes: it must be the declared rejection"
        return Finding(KINDS, Outcome.FAIL, says, failed, 1, (row,), shown, look, {"times": count})
    return held(KINDS, f"failures were answered {policy.rejects_with}", examined=failed, needed=_LEAST, times=count)


def _quick(history: History, rows: Ints, quick_ns: int) -> Finding:
    """Return whether failures were quick; one without an answer took longer than it was waited for."""
    failed, waited, unanswered = _failures(history, rows)
    if len(failed) < _LEAST:
        return held(QUICK, "failures were quick", examined=len(failed), needed=_LEAST)
    took = np.sort(waited)
    median = int(took[len(took) // 2])
    told = f"half of {len(took)} failures took more than {format_duration(median)}"
    open_ended = int(np.count_nonzero(unanswered))
    if open_ended:
        told += f", {open_ended} of them without an answer"
    if median <= quick_ns < int(np.sort(np.where(unanswered, quick_ns + 1, waited))[len(took) // 2]):
        says = f"too close to call: {told}, so how long those would have taken is not known"
        return Finding(QUICK, Outcome.INCONCLUSIVE, says, len(took) - open_ended, len(took))
    if median > quick_ns:
        row = int(failed[np.argmax(waited)])
        says = f"failures are slow: {told}, {format_duration(quick_ns)} is expected at the most"
        shown = steps(history, [row], ("the slowest failure",))
        look = "where requests wait before they are refused: the queue must be bounded, and refuse at its door"
        return Finding(QUICK, Outcome.FAIL, says, len(took), _LEAST, (row,), shown, look, {"median_ns": median})
    return held(QUICK, f"failures were quick: {told}", examined=len(took), needed=_LEAST, median_ns=median)


def _failures(history: History, rows: Ints) -> tuple[Ints, Ints, Flags]:
    """Return the requests that failed, how long each took or was at least waited for, and which had no answer."""
    rows = targets_own(history, rows)
    ending, done = history.numbers("ending")[rows], history.numbers("done_ns")[rows]
    sent, due = history.numbers("sent_ns")[rows], history.numbers("intended_ns")[rows]
    answered = (ending == Ending.ANSWERED) & (history.numbers("status")[rows] >= 400)
    no_way_in = (ending == Ending.NOT_SENT) & (history.numbers("fault")[rows] == Fault.CONNECT_TIMEOUT)
    unanswered = ((ending == Ending.UNKNOWN) | no_way_in) & (done != NEVER_NS)
    waited = done - np.where(sent == NEVER_NS, due, sent)
    failed = answered | unanswered
    return rows[failed], waited[failed], unanswered[failed]


def _queue(history: History, phases: Phases) -> Finding:
    """Return whether the wait stays bounded while the overload lasts: by thirds of its time."""
    rows = phases.beyond[good(history, phases.beyond)]
    sent = history.numbers("sent_ns")[rows]
    took = (history.numbers("done_ns") - history.numbers("sent_ns"))[rows]
    # A target that stops answering well altogether is the collapse's matter.
    if len(rows) < 3 * _LEAST:
        return held(QUEUE, "waits stay bounded under overload", examined=len(rows), needed=3 * _LEAST)
    cuts = np.quantile(sent, [0, 1 / 3, 2 / 3, 1])
    thirds = [took[(sent >= low) & (sent <= high)] for low, high in pairwise(cuts)]
    medians = [int(np.median(third)) for third in thirds]
    easy = phases.baseline[good(history, phases.baseline)]
    usual = int(np.median((history.numbers("done_ns") - history.numbers("sent_ns"))[easy])) if len(easy) else 0
    told = " then ".join(format_duration(median) for median in medians)
    figures = {f"third_{place}_median_ns": median for place, median in enumerate(medians, 1)}
    growing = medians[1] > 1.4 * medians[0] and medians[2] > 1.2 * medians[1]
    if growing and medians[2] > max(10 * usual, NS_PER_SECOND):
        row = int(rows[np.argmax(took)])
        says = f"waits grow as long as the overload lasts: median {told}, against {format_duration(usual)} at ease"
        shown = steps(history, [row], ("the longest wait",))
        look = "the queue before the workers: its bound, or a limit on concurrency"
        return Finding(QUEUE, Outcome.FAIL, says, len(rows), 1, (row,), shown, look, figures)
    return held(QUEUE, f"waits stay bounded: median {told}", examined=len(rows), needed=3 * _LEAST, **figures)


def _health(history: History, phases: Phases) -> Finding:
    """Return whether the health operation stayed answerable: nearly always, within a second.

    Accused is only what is certainly worse than at ease, while we ourselves were quick.
    """
    at_ease = phases.health_at_ease if phases.health_at_ease is not None else phases.health[:0]
    took = (history.numbers("done_ns") - history.numbers("sent_ns"))[at_ease[good(history, at_ease)]]
    slow_ns = max(NS_PER_SECOND, _TIMES_SLOWER * int(np.quantile(took, 0.95)) if len(took) else 0)
    rows, bad = targets_own(history, phases.health), unwell(history, phases.health, slow_ns)
    figures = {"times": len(bad)}
    if len(bad) <= max(1, _MOST_UNWELL * len(rows)):
        says = "health stayed answerable under overload"
        return held(HEALTH, says, examined=len(rows) - len(bad), needed=5, **figures)
    told = f"{len(bad)} of {len(rows)} health checks failed or took more than {format_duration(slow_ns)}"
    usual = at_most(len(unwell(history, at_ease, slow_ns)), len(at_ease)) if len(at_ease) else 0.0
    if at_least(len(bad), len(rows)) <= max(_MOST_UNWELL, usual):
        says = f"too few health checks to tell starvation from noise: {told}"
        return Finding(HEALTH, Outcome.INCONCLUSIVE, says, len(rows), figures=figures)
    lag_ns = _our_lag_ns(history, np.concatenate([phases.beyond, phases.health]))
    if lag_ns > _MOST_LAG_NS:
        says = f"{told}, but this machine itself was {format_duration(lag_ns)} late in the same seconds"
        return Finding(HEALTH, Outcome.INCONCLUSIVE, says, len(rows), figures=figures)
    row = int(bad[0])
    look = "whether health answers pass through the same pool and queue as the load"
    shown = steps(history, [row], ("a health check under overload",))
    return Finding(HEALTH, Outcome.FAIL, f"health was starved: {told}", len(rows), 5, (row,), shown, look, figures)


def _our_lag_ns(history: History, rows: Ints) -> int:
    """Return how late we began what was due, 19 times of 20: by rows whose connection stood open, the rest waited."""
    rows = np.sort(rows)
    _, first = np.unique(history.numbers("connection")[rows], return_index=True)
    again = np.delete(rows, first)
    sent = history.numbers("sent_ns")[again]
    late = (sent - history.numbers("intended_ns")[again])[sent != NEVER_NS]
    return int(np.quantile(late, 0.95)) if len(late) else 0


def _crash(history: History, phases: Phases) -> Finding:
    """Return whether the target stayed there: no refused or broken connections once the load was gone."""
    fault, ending = history.numbers("fault")[phases.beyond], history.numbers("ending")[phases.beyond]
    # Under load a full backlog may refuse connections; what was accepted and sent, nobody who lives cuts off.
    cut = phases.beyond[(ending == Ending.UNKNOWN) & np.isin(fault, [int(Fault.RESET), int(Fault.CLOSED)])]
    if len(cut) > max(5, 0.01 * len(phases.beyond)):
        row = int(cut[0])
        says = f"{len(cut)} of {len(phases.beyond)} requests under overload were cut off unanswered: something died"
        look = "what kills a worker that has too much to do: memory, file descriptors, an exception, an assertion"
        shown = steps(history, [row], ("under overload",))
        return Finding(CRASH, Outcome.FAIL, says, len(phases.beyond), 1, (row,), shown, look, {"times": len(cut)})
    crossed = int(np.count_nonzero(fault == Fault.REUSED_CONNECTION_CLOSED))
    if crossed > max(5, 0.01 * len(phases.beyond)):
        says = f"{crossed} of {len(phases.beyond)} requests met a connection that the target was just closing"
        return Finding(CRASH, Outcome.INCONCLUSIVE, f"{says}: by design, or because something died", crossed)
    rows = phases.after
    fault = history.numbers("fault")[rows]
    gone = rows[np.isin(fault, [int(one) for one in _GONE])]
    if len(gone) > max(2, 0.05 * len(rows)):
        row = int(gone[0])
        says = f"{len(gone)} of {len(rows)} requests after the overload met no server: it crashed, or stopped listening"
        look = "memory, file descriptors and exceptions outside the request handler"
        shown = steps(history, [row], ("after the overload",))
        return Finding(CRASH, Outcome.FAIL, says, len(rows), 1, (row,), shown, look, {"times": len(gone)})
    return held(CRASH, "nothing crashed", examined=len(rows), needed=_LEAST)


def _recovery(policy: OverloadPolicy, history: History, phases: Phases, marks: tuple[bytes, ...]) -> Finding:
    """Return whether latency and errors are back at the baseline once `recovers_within` has passed."""
    due = phases.ended_ns + policy.recovers_within
    sent = history.numbers("sent_ns")
    late = phases.after[sent[phases.after] >= due]
    easy = phases.baseline
    if len(late) < _LEAST or len(easy) < _LEAST:
        return held(RECOVERY, "back at the baseline", examined=min(len(late), len(easy)), needed=_LEAST)
    took = history.numbers("done_ns") - sent
    usual = np.sort(took[easy[good(history, easy, marks)]])
    now = np.sort(took[late[good(history, late, marks)]])
    before, after = 1 - len(usual) / len(easy), 1 - len(now) / len(late)
    worse = at_least(len(late) - len(now), len(late)) > at_most(len(easy) - len(usual), len(easy)) + 0.01
    within = format_duration(policy.recovers_within)
    look = "state that outlives the load: retries, queues of dead requests, exhausted pools, a cache gone cold"
    if worse:
        bad = late[~good(history, late, marks)]
        row = int(bad[0])
        says = f"not recovered {within} after the overload: {after:.0%} of requests fail, {before:.0%} before it"
        shown = steps(history, [row], ("after the overload",))
        return Finding(RECOVERY, Outcome.FAIL, says, len(late), _LEAST, (row,), shown, look, {"errors": after})
    if not len(now) or not len(usual):
        return Finding(RECOVERY, Outcome.INCONCLUSIVE, "no good answers to compare", len(late), _LEAST)
    median, ordinary, tail = int(now[len(now) // 2]), int(usual[len(usual) // 2]), int(usual[len(usual) * 95 // 100])
    told = f"median {format_duration(median)}, {format_duration(ordinary)} before it"
    # Half of all requests now slower than nearly all were before, and by a factor: no chance does that.
    if median > max(2 * tail, 3 * ordinary, ordinary + 20_000_000):
        row = int(late[np.argmax(took[late])])
        says = f"not recovered {within} after the overload: {told}"
        shown = steps(history, [row], ("after the overload",))
        return Finding(RECOVERY, Outcome.FAIL, says, len(late), _LEAST, (row,), shown, look, {"median_ns": median})
    return held(RECOVERY, f"back at the baseline within {within}: {told}", examined=len(late), needed=_LEAST)


def _masked(history: History, rows: Ints, marks: tuple[bytes, ...]) -> list[Finding]:
    """Return whether answers that say they are good hold no error, where bodies were kept and marks are known."""
    if not marks or "body" not in history.frame.columns:
        return []
    fine = rows[good(history, rows)]
    masked = marked(history, fine, marks)
    if np.any(masked):
        row = int(fine[np.flatnonzero(masked)[0]])
        says = f"{np.count_nonzero(masked)} answers say 200 and hold an error"
        shown = steps(history, [row], ("its body holds an error",))
        return [
            Finding(MASKED, Outcome.FAIL, says, len(fine), 1, (row,), shown, "error handlers that forget the status")
        ]
    kept = int(history.frame["body"].gather(fine).is_not_null().sum())
    return [held(MASKED, "good answers hold no error", examined=kept)]


def judge_connections(before: float, after: float, made: int, *, margin: float = 10.0) -> list[Finding]:
    """Return whether the target's open connections (or descriptors) are back to what they were; `made` were opened."""
    figures = {"before": before, "after": after, "made": made}
    told = f"{after:.0f} open, {before:.0f} before the load, {made} made meanwhile"
    if after > before + max(margin, 0.05 * made):
        look = "whether every path, errors and timeouts too, closes or returns its connection"
        return [Finding(LEAK, Outcome.FAIL, f"connections leak: {told}", made, 1, (), (told,), look, figures)]
    return [held(LEAK, f"no connections leak: {told}", examined=made, needed=100, **figures)]
