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


@dataclass(slots=True)
class _State:
    what: str = _WAITING
    until_ns: int | None = None
    requests: int = 0
    outcome: Outcome | None = None


class LiveView:
    """Hears what the cases of a run do, and shows it: `with LiveView(...) as audience: ...`."""

    def __init__(self, cases: Sequence[str], console: Console, now_ns: Callable[[], int]) -> None:
        self._console = console
        self._now_ns = now_ns
        self._began_ns = now_ns()
        self._lock = threading.Lock()
        self._states = {case: _State() for case in cases}
        self._width = max((len(case) for case in cases), default=0)
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=_REFRESH_PER_SECOND, transient=True
        )

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def doing(self, case_id: str, what: str, until_ns: int | None = None) -> None:
        """Hear that a case does or waits for something, until an instant where one is known."""
        with self._lock:
            state = self._states.setdefault(case_id, _State())
            changed = state.what != what
            state.what, state.until_ns = what, until_ns
        if changed:
            self._line(case_id, f"{what}{self._left(until_ns)}")

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
        self._line(case_id, f"{outcome} after {requests:,} requests")

    def _line(self, case_id: str, text: str) -> None:
        if not self._console.is_terminal:
            elapsed_s = (self._now_ns() - self._began_ns) // NS_PER_SECOND
            self._console.print(
                Text(f"[{elapsed_s:>4}s] {case_id:<{self._width}}  {safe(text)}"), soft_wrap=True, highlight=False
            )

    def _left(self, until_ns: int | None) -> str:
        left_ns = 0 if until_ns is None else until_ns - self._now_ns()
        return f" ({_whole_seconds(left_ns)} left)" if left_ns > 0 else ""

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False, expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        with self._lock:
            for case, state in self._states.items():
                if state.outcome is not None:
                    what = Text(state.outcome.name, style=STYLES[state.outcome])
                else:
                    style = "dim" if state.what == _WAITING else ""
                    what = Text(f"{safe(state.what)}{self._left(state.until_ns)}", style=style)
                table.add_row(Text(case), what, Text(f"{state.requests:,} requests" if state.requests else ""))
        return table


def _whole_seconds(duration_ns: int) -> str:
    return format_duration(-(-duration_ns // NS_PER_SECOND) * NS_PER_SECOND)
