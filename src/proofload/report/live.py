"""What people see while cases run: a calm table in a terminal, a line for each change elsewhere. Never in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.verdict import Outcome
from proofload.report.terminal import STYLES
from proofload.report.view import safe

_REFRESH_PER_SECOND = 4
_WAITING = "waiting for its turn"
_LINES_AROUND = 3
"""The summary below the cases, the line that tells of hidden ones, and the cursor's."""


@dataclass(slots=True)
class _State:
    what: str = _WAITING
    until_ns: int | None = None
    requests: int = 0
    outcome: Outcome | None = None

    @property
    def is_running(self) -> bool:
        return self.outcome is None and self.what != _WAITING


class LiveView:
    """Hears what the cases of a run do, and shows it: `with LiveView(...) as audience: ...`."""

    def __init__(self, cases: Sequence[str], console: Console, now_ns: Callable[[], int]) -> None:
        self._console = console
        self._now_ns = now_ns
        self._began_ns = now_ns()
        self._lock = threading.Lock()
        self._states = {case: _State() for case in cases}
        self._width = max((len(case) for case in cases), default=0)
        # A dumb terminal can't draw over what it showed: it gets lines, like a pipe.
        self._draws = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=_REFRESH_PER_SECOND, transient=True
        )

    def __enter__(self) -> LiveView:
        if self._draws:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._draws:
            self._live.stop()

    def doing(self, case_id: str, what: str, until_ns: int | None = None) -> None:
        """Hear that a case does or waits for something, until an instant where one is known."""
        with self._lock:
            state = self._states.setdefault(case_id, _State())
            changed = state.what != what
            state.what, state.until_ns = what, until_ns
        if changed:
            left = self._left(until_ns)
            self._line(case_id, f"{what} ({left})" if left else what)

    def sent(self, case_id: str, requests: int) -> None:
        """Hear how many requests a case has sent so far."""
        with self._lock:
            self._states.setdefault(case_id, _State()).requests = requests

    def ended(self, case_id: str, outcome: str) -> None:
        """Hear that a case has ended."""
        with self._lock:
            state = self._states.setdefault(case_id, _State())
            state.outcome, state.what, state.until_ns = Outcome[outcome], "", None
            requests = state.requests
        self._line(case_id, f"{outcome} after {_requests(requests)}")

    def _line(self, case_id: str, text: str) -> None:
        if not self._draws:
            line = f"[{self._elapsed_s():>4}s] {safe(case_id):<{self._width}}  {safe(text)}"
            self._console.print(Text(line), soft_wrap=True, highlight=False)

    def _elapsed_s(self) -> int:
        return (self._now_ns() - self._began_ns) // NS_PER_SECOND

    def _left(self, until_ns: int | None) -> str:
        left_ns = 0 if until_ns is None else until_ns - self._now_ns()
        return f"{_whole_seconds(left_ns)} left" if left_ns > 0 else ""

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False, expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        # Seconds left and requests have columns of their own: a long text must not push them out of sight.
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        with self._lock:
            shown = self._fitting()
            for case in shown:
                state = self._states[case]
                sent = _requests(state.requests) if state.requests else ""
                table.add_row(Text(safe(case)), self._told(state), Text(self._left(state.until_ns)), Text(sent))
            hidden = len(self._states) - len(shown)
            if hidden:
                table.add_row(Text("…"), Text(f"and {hidden} more", style="dim"))
            ended = sum(state.outcome is not None for state in self._states.values())
            requests = sum(state.requests for state in self._states.values())
        summary = f"{ended} of {len(self._states)} ended, {format_duration(self._elapsed_s() * NS_PER_SECOND)}"
        table.add_row(Text(""), Text(summary, style="dim"), Text(""), Text(_requests(requests), style="dim"))
        return table

    def _told(self, state: _State) -> Text:
        if state.outcome is not None:
            return Text(state.outcome.name, style=STYLES[state.outcome])
        style = "" if state.is_running else "dim"
        return Text(safe(state.what), style=style)

    def _fitting(self) -> list[str]:
        """Return the cases that fit the terminal's height, in their order: those that run go before all others."""
        room = max(1, self._console.height - _LINES_AROUND)
        by_interest = sorted(self._states, key=lambda case: not self._states[case].is_running)
        chosen = set(by_interest[:room])
        return [case for case in self._states if case in chosen]


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _whole_seconds(duration_ns: int) -> str:
    return format_duration(-(-duration_ns // NS_PER_SECOND) * NS_PER_SECOND)
