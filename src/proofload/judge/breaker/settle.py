"""Answers that an open circuit and a failing service give alike: told apart by the service's own count, or by order."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proofload.judge.breaker.calls import BackendHits, CallKind, Calls, CircuitContext, calls_of
from proofload.judge.breaker.tripping import counts_failures, may_hide
from proofload.judge.models.attempts import Flags, Ints

_VARYING = re.compile(rb"[0-9a-fA-F-]{8,}|\d+")


def settled_calls(stage: CircuitContext, rows: ArrayLike) -> Calls:
    """Return the calls that `rows` made, by their answers, what the service counted, and their order.

    An answer that the circuit and a failing service give alike stays UNSURE unless the count or the order tells.
    """
    calls = _unsettled(stage, calls_of(stage, rows))
    if not calls.alike.any():
        return calls
    kind, apparent = calls.kind.copy(), calls.apparent.copy()
    for count in stage.hits:
        _by_count(stage, calls, count, kind, apparent)
    for span in stage.proven:
        within = (calls.done_ns >= span.wide_from_ns) & (calls.sent_ns <= span.wide_to_ns)
        _by_order(stage, calls, within, kind, apparent)
    return replace(calls, kind=kind, apparent=apparent)


def doubt(stage: CircuitContext, calls: Calls) -> str:
    """Return why answers leave open who gave them, and what to declare; nothing where all are told apart."""
    policy = stage.policy
    left = calls.alike & (calls.apparent | calls.of(CallKind.UNSURE))
    if not left.any():
        return ""
    statuses = " or ".join(str(status) for status in sorted(set(calls.status[left].tolist())))
    how = "" if policy.code_when_open is None else f" {policy.code_when_open}"
    return (
        f"the open circuit and something else both answer {statuses}{how} ({int(left.sum())} of {len(calls)} calls): "
        f"declare a code_when_open that only the circuit's body holds, or services.{policy.service}.metrics, so that "
        "the calls that reached the service are counted"
    )


def _unsettled(stage: CircuitContext, calls: Calls) -> Calls:
    """Return the calls with the circuit's answer taken for anybody's, where a broken service surely gives it too.

    That is so where the first such answer came inside a fault, and before the failures that it would take.
    """
    rejected = np.flatnonzero(calls.of(CallKind.REJECTED))
    if not len(rejected) or not calls.excused[rejected[0]]:
        return calls
    first = int(rejected[0])
    before = calls.sent_ns <= calls.done_ns[first]
    if np.any(before & calls.of(CallKind.FAILURE) & calls.demanded):
        return calls
    needed = 1 if stage.policy.ratio is not None else stage.policy.failures - may_hide(stage)
    if np.count_nonzero(before & calls.of(CallKind.FAILURE, CallKind.UNSURE)) >= needed:
        return calls
    kind = calls.kind.copy()
    kind[rejected] = CallKind.UNSURE
    return replace(calls, kind=kind, alike=calls.alike | calls.of(CallKind.REJECTED))


def _by_count(
    stage: CircuitContext, calls: Calls, count: BackendHits, kind: NDArray[np.uint8], apparent: Flags
) -> None:
    """Settle the calls of one interval: those that the service counted came first, the rest were rejected.

    Needs calls one after the other and an interval shorter than an open period. That the others did not reach it
    follows only where the service was seen to count during the fault.
    """
    inside = (calls.sent_ns >= count.from_ns) & (calls.done_ns <= count.to_ns)
    touching = (calls.done_ns >= count.from_ns) & (calls.sent_ns <= count.to_ns)
    places = np.flatnonzero(inside & calls.alike & (kind == CallKind.UNSURE))
    others = touching & ~calls.of(CallKind.REJECTED)
    others[places] = False
    if not len(places) or not _closed_before(stage, calls, kind, places):
        return
    surely = count.at_least - int(np.count_nonzero(others))
    if surely >= 1:
        kind[places[0]] = CallKind.FAILURE
        counted = places[1 : min(surely, len(places))]
        kind[counted], apparent[counted] = CallKind.FAILURE, True
    known = int(np.count_nonzero(inside & calls.of(CallKind.SUCCESS)))
    most = max(0, count.at_most - known)
    if counts_failures(stage, count) and most < len(places):
        kind[places[most:]] = CallKind.REJECTED


def _closed_before(stage: CircuitContext, calls: Calls, kind: NDArray[np.uint8], places: Ints) -> bool:
    """Say whether the calls came one after the other, within an open period and with nothing doubtful before them."""
    sent, done = calls.sent_ns[places], calls.done_ns[places]
    if np.any(sent[1:] < done[:-1]) or done[-1] - sent[0] >= stage.shortest:
        return False
    before = (calls.sent_ns < sent[0]) & (calls.done_ns >= sent[0] - stage.longest)
    return len(places) == 1 or not np.any(before & np.isin(kind, [CallKind.UNSURE, CallKind.REJECTED]))


def _by_order(stage: CircuitContext, calls: Calls, within: Flags, kind: NDArray[np.uint8], apparent: Flags) -> None:
    """Settle the calls of one fault whose answer changed once for all: what came after is taken for the circuit's."""
    looks = _looks(stage, calls)
    doubtful = calls.alike & (kind == CallKind.UNSURE)
    if stage.policy.code_when_open is not None:
        # A promised code that was not kept is not to be guessed.
        doubtful &= np.array([look is not None for look in looks], dtype=np.bool_)
    places = np.flatnonzero(within & doubtful)
    if not len(places):
        return
    failed = np.flatnonzero(within & (kind == CallKind.FAILURE))
    first = int(places[0])
    if np.any(calls.demanded[failed] & (failed < first)):
        if np.any(failed > first):
            return
    else:
        mine = [looks[place] for place in places]
        changed = [number for number, look in enumerate(mine) if look != mine[0]]
        if not changed or None in mine or mine[0] in mine[changed[0] :] or len(failed):
            return
        same = places[: changed[0]]
        kind[same], apparent[same] = CallKind.FAILURE, True
        first = int(places[changed[0]])
    until = next((place for place in range(first, len(calls)) if not doubtful[place] and not calls.aside[place]), None)
    after = np.flatnonzero(doubtful[first:until]) + first
    kind[after], apparent[after] = CallKind.REJECTED, True


def _looks(stage: CircuitContext, calls: Calls) -> list[tuple[int, bytes] | None]:
    """Return what each answer looks like, numbers and ids left out; None where its body was not kept."""
    if "body" not in stage.history.frame.columns:
        return [None] * len(calls)
    bodies = stage.history.frame["body"].gather(calls.row).to_list()
    return [
        None if body is None else (status, _VARYING.sub(b"#", body))
        for status, body in zip(calls.status.tolist(), bodies, strict=True)
    ]
