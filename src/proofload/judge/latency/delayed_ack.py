"""Nagle's algorithm against delayed acknowledgements: 40 ms on every request but a connection's first. No I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import Ending
from proofload.record.history import History

DELAYED_ACK = "lat.delayed_ack"

_FROM_NS, _TO_NS = 38_000_000, 46_000_000
"""Linux acknowledges what it need not answer after 40 ms (TCP_DELACK_MIN); the rest is for the work around it."""
_MOST_OF = 0.8
"""Share of later requests that must lie in that span: a service that takes 42 ms now and then is none of this."""
_FEW_OF = 0.1
_LEAST = 20
_LEAST_FIRST = 3
_FIRST_ERROR = 400


def judge_delayed_ack(history: History, *, rows: NDArray[np.int64] | None = None) -> Finding:
    """Return `lat.delayed_ack`: FAIL where an operation's requests take 40 ms on reused connections and only there.

    A sender that writes a response in two small pieces without TCP_NODELAY holds the second back until the first is
    acknowledged, which the other side delays. The first exchanges of a connection are acknowledged at once (Linux's
    quick acknowledgements), so that they are quick: without quick first requests to compare with, nobody is accused.
    """
    chosen = np.arange(len(history)) if rows is None else np.sort(rows)
    sent = history.numbers("sent_ns")[chosen]
    reached = chosen[(sent >= 0) & (history.numbers("ending")[chosen] == Ending.ANSWERED)]
    reached = reached[np.argsort(history.numbers("sent_ns")[reached], kind="stable")]
    _, at_first = np.unique(history.numbers("connection")[reached], return_index=True)
    first = np.zeros(len(reached), dtype=np.bool_)
    first[at_first] = True
    good = history.numbers("status")[reached] < _FIRST_ERROR
    operations = history.frame["operation"].to_physical().to_numpy()[reached]
    groups = [
        (reached[good & ~first & (operations == one)], reached[good & first & (operations == one)])
        for one in np.unique(operations)
    ]
    examined = [group for group in groups if len(group[0]) >= _LEAST]
    bad = [finding for finding in (_accused(history, *group) for group in examined) if finding is not None]
    if bad:
        return bad[0]
    compared = [later for later, begun in examined if len(begun) >= _LEAST_FIRST or not _is_40_ms(history, later)]
    count = sum(map(len, compared))
    says = "requests on reused connections do not wait 40 ms for a delayed acknowledgement"
    if len(compared) < len(examined):
        says = "requests on reused connections take 40 ms, and there are too few first requests to compare with"
        return Finding(DELAYED_ACK, Outcome.INCONCLUSIVE, says, count)
    return held(DELAYED_ACK, says, examined=count, needed=_LEAST)


def _took_ns(history: History, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    took: NDArray[np.int64] = history.numbers("done_ns")[rows] - history.numbers("sent_ns")[rows]
    return took


def _share(took_ns: NDArray[np.int64]) -> float:
    """Return the share of the times that lie where a delayed acknowledgement puts them."""
    return float(np.mean((took_ns >= _FROM_NS) & (took_ns <= _TO_NS))) if len(took_ns) else 0.0


def _is_40_ms(history: History, later: NDArray[np.int64]) -> bool:
    return _share(_took_ns(history, later)) >= _MOST_OF


def _accused(history: History, later: NDArray[np.int64], first: NDArray[np.int64]) -> Finding | None:
    """Return FAIL for one operation whose later requests cluster at 40 ms, while first requests are quicker."""
    if len(first) < _LEAST_FIRST or not _is_40_ms(history, later):
        return None
    begun, took = _took_ns(history, first), _took_ns(history, later)
    # The operation itself takes 40 ms, or connecting costs as much: no signature.
    if _share(begun) > _FEW_OF or np.median(begun) >= _FROM_NS / 2:
        return None
    row = int(later[len(later) // 2])
    name = str(history.frame["operation"].cast(str)[row])
    says = (
        f"{name}: {_share(took):.0%} of {len(took)} requests on reused connections took 38 to 46 ms, and first requests"
        f" {format_duration(int(np.median(begun)))}: Nagle's algorithm waits for a delayed acknowledgement"
    )
    shown = (
        *steps(history, [int(first[0])], ("a connection's first request",)),
        *steps(history, [row], ("a later request",)),
    )
    look = "TCP_NODELAY on the server's sockets, and headers and body written in one piece"
    figures = {"median_ns": int(np.median(took)), "first_median_ns": int(np.median(begun))}
    return Finding(DELAYED_ACK, Outcome.FAIL, says, len(took), _LEAST, (row,), shown, look, figures)
