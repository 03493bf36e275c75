"""A circuit over time: the fault, what the client was told, and which calls came through to the service."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl

from proofload.core.units import format_duration
from proofload.judge.breaker.calls import CallKind, Calls, CircuitContext, calls_of
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.record.fault_edge import FaultSpan, spans
from proofload.record.history import History
from proofload.report.charts.axes import Scale, legend, time_axis
from proofload.report.charts.calls import LOOKS, TOLD, call_by_call
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg, width_of

_LEFT, _RIGHT, _TOP = 128, 24, 40
_LANE = 40
_ON = {"mark-good-soft": "on-soft", "mark-warn": "on-warn"}
_MOST_CALLS = 900


def circuit(evidence: Evidence, finding: Finding | None) -> list[Picture]:
    """Return the circuit that a case watched: call by call around what a finding names, and over time."""
    before = next(iter(evidence.others.values()), None)
    # The recovery begins where the trip ended; its findings number the rows of both, one after the other.
    history = History.concat([before.history, evidence.history]) if before is not None else evidence.history
    edges = (*(before.edges if before is not None else ()), *evidence.edges)
    policy = _policy(evidence, history)
    if policy is None:
        return []
    ours = tuple(span for span in spans(edges) if span.service == policy.service)
    called = pl.col("operation").cast(pl.String).is_in([policy.operation, policy.failing_operation or ""])
    calls = calls_of(CircuitContext(policy, history, ours), history.rows_where(called))
    if not len(calls):
        return []
    shown = set(finding.rows) if finding else set()
    over_time = _draw(policy, calls, ours, shown)
    return [call_by_call(policy, calls, shown), over_time] if shown else [over_time]


def _policy(evidence: Evidence, history: History) -> CircuitBreakerPolicy | None:
    broken = {edge.service for edge in evidence.edges}
    present = set(history.frame["operation"].cast(pl.String).unique().to_list())
    matching = [one for one in evidence.target.policies.circuit_breaker if one.operation in present]
    return next((one for one in matching if one.service in broken), matching[0] if matching else None)


def _draw(policy: CircuitBreakerPolicy, calls: Calls, faults: tuple[FaultSpan, ...], shown: set[int]) -> Picture:
    zero = int(min([int(calls.sent_ns.min()), *(span.wide_from_ns for span in faults)]))
    last = int(max([int((calls.sent_ns + calls.took_ns).max()), *(span.wide_to_ns for span in faults)]))
    bottom = _TOP + 4 * _LANE
    svg = Svg(bottom + 34, _summary(policy, calls))
    x = Scale(0, (last - zero) * 1.02 or 1, _LEFT, WIDTH - _RIGHT)
    time_axis(svg, x, _TOP, bottom)
    for lane, name in enumerate(("fault", "circuit", "client was told", "reached service")):
        svg.text(_LEFT - 12, _TOP + lane * _LANE + _LANE / 2 + 4, name, "label", "end")
    present = [kind for kind in TOLD if bool(calls.of(kind).any())]
    legend(svg, _LEFT, 16, [(LOOKS[kind], TOLD[kind]) for kind in present])
    for span in faults:
        _fault(svg, x, span, zero, bottom)
    _states(svg, x, policy, calls, zero)
    _calls(svg, x, calls, zero, shown)
    caption = (
        f"{policy.failures} failures in a row must open the circuit of {policy.service}. Open, it answers "
        f"{policy.status_when_open} by itself for {format_duration(policy.open_for)}; {policy.successes} successes "
        "then close it. The state is read off the answers: between two calls a client can know no more."
    )
    return Picture("The circuit over time", svg.markup(), caption)


def _summary(policy: CircuitBreakerPolicy, calls: Calls) -> str:
    told = ", ".join(f"{int(calls.of(kind).sum())} {text}" for kind, text in TOLD.items() if calls.of(kind).any())
    return f"calls to {policy.service} over time: {told}"


def _fault(svg: Svg, x: Scale, span: FaultSpan, zero: int, bottom: float) -> None:
    y = _TOP + 9
    wide, wide_to = x(span.wide_from_ns - zero), x(span.wide_to_ns - zero)
    narrow, narrow_to = x(span.narrow_from_ns - zero), x(span.narrow_to_ns - zero)
    svg.rect(narrow, _TOP, narrow_to - narrow, bottom - _TOP, "shade")
    svg.rect(wide, y, wide_to - wide, 22, "mark-fault-perhaps", f"{span.fault}: it may have held", 3)
    proven = "a probe saw it hold" if span.held else "no probe saw it hold"
    svg.rect(narrow, y, narrow_to - narrow, 22, "mark-fault", f"{span.fault}: it surely held; {proven}", 3)
    text = f"{span.fault}{', proven' if span.held else ', not proven'}"
    at_right = wide_to + 8 + width_of(text) < WIDTH
    svg.text(wide_to + 8 if at_right else wide - 8, y + 15, text, "label", "start" if at_right else "end")


def _states(svg: Svg, x: Scale, policy: CircuitBreakerPolicy, calls: Calls, zero: int) -> None:
    """Draw what the answers tell of the circuit: open from the first rejection to the next call let through."""
    y = _TOP + _LANE + 9
    surely = calls.of(CallKind.REJECTED) | calls.through()
    sent, is_rejected = calls.sent_ns[surely] - zero, calls.of(CallKind.REJECTED)[surely]
    if not len(sent):
        return
    changes = [0, *(np.flatnonzero(is_rejected[1:] != is_rejected[:-1]) + 1).tolist(), len(sent)]
    was_open = False
    for at, until in itertools.pairwise(changes):
        from_x = x(int(sent[at]))
        to_x = x(int(sent[until])) if until < len(sent) else x(x.high)
        if is_rejected[at]:
            was_open = True
            _state(svg, from_x, to_x, y, "mark-warn", "open")
            continue
        trials = min(until - at, policy.successes) if was_open else 0
        split = x(int(sent[min(at + trials, len(sent) - 1)])) if trials else from_x
        if trials and split > from_x:
            _state(svg, from_x, split, y, "mark-calm", "half-open")
        _state(svg, max(split, from_x), to_x, y, "mark-good-soft", "closed, as far as seen")


def _state(svg: Svg, from_x: float, to_x: float, y: float, look: str, text: str) -> None:
    svg.rect(from_x, y, to_x - from_x, 22, look, text, 3)
    fitting = next((one for one in (text, text.split(",", maxsplit=1)[0]) if to_x - from_x > 6.4 * len(one) + 10), "")
    if fitting:
        svg.text(from_x + 8, y + 15, fitting, _ON.get(look, "on-mark"))


def _calls(svg: Svg, x: Scale, calls: Calls, zero: int, shown: set[int]) -> None:
    chosen = np.arange(len(calls))
    if len(chosen) > _MOST_CALLS:
        chosen = np.union1d(
            np.linspace(0, len(calls) - 1, _MOST_CALLS).astype(np.int64),
            chosen[np.isin(calls.row, sorted(shown)[-_MOST_CALLS:])],
        )
    through = calls.through()
    for i in chosen:
        kind, sent, took = CallKind(int(calls.kind[i])), int(calls.sent_ns[i]) - zero, int(calls.took_ns[i])
        tip = (
            f"row {calls.row[i]}: sent +{format_duration(sent)}, {calls.status[i] or 'no answer'} after "
            f"{format_duration(took)}: {TOLD[kind]}"
        )
        width = max(x(sent + took) - x(sent), 2.4)
        svg.rect(x(sent), _TOP + 2 * _LANE + 9, width, 22, LOOKS[kind], tip)
        if through[i]:
            svg.rect(x(sent), _TOP + 3 * _LANE + 9, width, 22, LOOKS[kind], tip)
        if int(calls.row[i]) in shown:
            svg.path(
                [
                    (x(sent) + width / 2 - 4, _TOP + 2 * _LANE),
                    (x(sent) + width / 2 + 4, _TOP + 2 * _LANE),
                    (x(sent) + width / 2, _TOP + 2 * _LANE + 7),
                ],
                "mark-pointer",
                f"row {calls.row[i]}, named in the finding",
                closed=True,
            )
