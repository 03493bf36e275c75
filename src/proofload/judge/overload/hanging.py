"""A service that hangs: whether others in its company stay as they were, and whether its callers are told in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.models.attempts import Flags, Ints
from proofload.judge.overload.capacity import good
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import Ending, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

CASCADING, STRAINED, GIVEN_UP = "res.cascading", "res.strained", "res.no_timeout"
UNPROVEN = "fault.proven"

_LEAST = 20
_STRAIN = 50
_SLOW_NS = NS_PER_SECOND // 4
_SLOWER = 3


@dataclass(frozen=True, slots=True)
class Company:
    """The requests to one service that is well, before and while another hangs."""

    service: str
    before: Ints
    meanwhile: Ints


def judge_company(history: History, span: FaultSpan | None, hanging: Ints, company: Sequence[Company]) -> list[Finding]:
    """Return whether the services that are well answer as before, while `hanging` waits for the one in `span`."""
    if span is None or not span.held:
        return [_unproven("the service hung")]
    sent, done = history.numbers("sent_ns"), history.numbers("done_ns")
    inside = (sent[hanging] >= span.narrow_from_ns) & (sent[hanging] <= span.narrow_to_ns)
    # A call that was turned away at once strains nobody; one that had to wait does.
    waited = inside & ((done - sent)[hanging] >= NS_PER_SECOND // 10)
    strained = held(
        STRAINED,
        f"{np.count_nonzero(waited)} calls waited on {span.service}, which hung",
        examined=int(np.count_nonzero(waited)),
        needed=_STRAIN,
    )
    return [strained, *(_company(history, span, one) for one in company)]


def _company(history: History, span: FaultSpan, one: Company) -> Finding:
    sent = history.numbers("sent_ns")
    inside = (sent[one.meanwhile] >= span.narrow_from_ns) & (sent[one.meanwhile] <= span.narrow_to_ns)
    rows = one.meanwhile[inside]
    took = history.numbers("done_ns") - sent
    well = good(history, rows)
    usual = took[one.before[good(history, one.before)]]
    if len(rows) < _LEAST or len(usual) < _LEAST:
        says = f"{one.service} is as it was while {span.service} hangs"
        return held(CASCADING, says, examined=min(len(rows), len(usual)), needed=_LEAST)
    failed, failed_before = rows[~well], 1 - len(usual) / len(one.before)
    share = len(failed) / len(rows)
    noise = 2.576 * (max(share * (1 - share), 1e-4) / len(rows)) ** 0.5
    look = "what calls to different services share: one pool of workers, connections or places in line"
    if share - noise > failed_before + 0.05:
        row = int(failed[0])
        says = (
            f"while {span.service} hangs, {len(failed)} of {len(rows)} calls of {one.service} fail: one drags another"
        )
        shown = steps(history, [row], (f"{one.service} is well, and its caller is turned away",))
        return Finding(CASCADING, Outcome.FAIL, says, len(rows), _LEAST, (row,), shown, look, {"failed": share})
    now, before = int(np.median(took[rows])), int(np.median(usual))
    tail = int(np.quantile(usual, 0.95))
    told = f"median {format_duration(now)}, {format_duration(before)} before it"
    if now > max(_SLOWER * tail, before + _SLOW_NS):
        row = int(rows[np.argmax(took[rows])])
        says = f"while {span.service} hangs, {one.service} is slow: {told}"
        shown = steps(history, [row], (f"{one.service} is well, and its caller waits",))
        return Finding(CASCADING, Outcome.FAIL, says, len(rows), _LEAST, (row,), shown, look, {"median_ns": now})
    says = f"{one.service} is as it was while {span.service} hangs: {told}, {len(failed)} of {len(rows)} failed"
    return held(CASCADING, says, examined=len(rows), needed=_LEAST, median_ns=now)


def judge_giving_up(history: History, span: FaultSpan | None, rows: Ints, within_ns: int) -> list[Finding]:
    """Return whether calls to a hanging service were answered `within_ns`, by whoever is between."""
    if span is None or not span.held:
        return [_unproven("the service hung")]
    sent, done = history.numbers("sent_ns")[rows], history.numbers("done_ns")[rows]
    allowed_ns = within_ns + within_ns // 4 + NS_PER_SECOND // 2
    # Only a call that hung from its beginning until longer than allowed tells: the fault must have held all the while.
    sure = (sent >= span.narrow_from_ns) & (np.minimum(done, sent + allowed_ns) <= span.narrow_to_ns)
    late = sure & _unanswered_by(history, rows, sent + allowed_ns)
    promised = f"{span.service} hung; {format_duration(within_ns)} are promised"
    if np.any(late):
        row = int(rows[np.flatnonzero(late)[0]])
        says = f"{np.count_nonzero(late)} of {np.count_nonzero(sure)} calls had no answer after "
        says += f"{format_duration(allowed_ns)} while {promised}"
        look = (
            "the timeout on calls to services, and what retries make of it: a budget for the whole call, not for each"
        )
        shown = steps(history, [row], ("the service hung from before it was sent",))
        return [Finding(GIVEN_UP, Outcome.FAIL, says, int(np.count_nonzero(sure)), 1, (row,), shown, look)]
    longest = int((done - sent)[sure].max()) if np.any(sure) else 0
    says = f"callers were answered after {format_duration(longest)} at the most while {promised}"
    return [held(GIVEN_UP, says, examined=int(np.count_nonzero(sure)), longest_ns=longest)]


def _unanswered_by(history: History, rows: Ints, due_ns: Ints) -> Flags:
    """Return which calls surely had no answer by `due_ns`: an end of ours (a stop) before that tells nothing."""
    done, ending = history.numbers("done_ns")[rows], history.numbers("ending")[rows]
    gave_up = (ending == Ending.UNKNOWN) & (history.numbers("fault")[rows] == Fault.TIMEOUT)
    return np.asarray((done >= due_ns) & ((ending == Ending.ANSWERED) | gave_up))


def _unproven(what: str) -> Finding:
    says = f"no probe saw that {what}, so nothing can be said of what followed"
    return Finding(UNPROVEN, Outcome.INCONCLUSIVE, says)
