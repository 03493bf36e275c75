"""What people see while cases run: a calm table in a terminal, a line for each change elsewhere. Never in the way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.verdict import Outcome
from proofload.report.terminal import STYLES
from proofload.report.view import safe

_SECONDS_BETWEEN = 0.5
_WAITING = "waiting for its turn"
_LINES_AROUND = 3
"""The summary below the cases, the line that tells of hidden ones, and the cursor's."""
_NARROWEST = 10
_GAP = "  "


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
    """Hears what the cases of a run do, and shows it: `with LiveView(...) as audience: ...`.

    It draws by hand: a table of Rich takes 2.5 ms to draw, and a request that is due meanwhile would wait for it.
    """

    def __init__(self, cases: Sequence[str], console: Console, now_ns: Callable[[], int]) -> None:
        self._console = console
        self._now_ns = now_ns
        self._began_ns = now_ns()
        self._lock = threading.Lock()
        self._states = {case: _State() for case in cases}
        self._width = max((len(case) for case in cases), default=0)
        # A dumb terminal can't draw over what it showed: it gets lines, like a pipe.
        self._draws = console.is_terminal and not console.is_dumb_terminal and not console.quiet
        self._drawn = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="live view", daemon=True)

    def __enter__(self) -> LiveView:
        if self._draws:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._draws:
            self._thread.join()
            with contextlib.suppress(OSError, ValueError):
                self._draw([])

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

    def lines(self) -> list[str]:
        """Return the table as it stands now, a text of the console's width for each line."""
        with self._lock:
            shown = [(case, self._states[case]) for case in self._fitting()]
            rows = [
                (case, *self._told(state), self._left(state.until_ns), _requests(state.requests, ""))
                for case, state in shown
            ]
            ended = sum(state.outcome is not None for state in self._states.values())
            requests = sum(state.requests for state in self._states.values())
            hidden = len(self._states) - len(shown)
        if hidden:
            rows.append(("…", f"and {hidden} more", "dim", "", ""))
        elapsed = format_duration(self._elapsed_s() * NS_PER_SECOND)
        rows.append(("", f"{ended} of {len(self._states)} ended, {elapsed}", "dim", "", _requests(requests)))
        # Seconds left and requests have columns of their own: a long text must not push them out of sight.
        left_width, sent_width = (max(len(row[i]) for row in rows) for i in (3, 4))
        room = self._console.width - self._width - left_width - sent_width - 3 * len(_GAP) - 1
        return [
            _GAP.join(
                (
                    f"{safe(case):<{self._width}}",
                    self._styled(_cut(what, max(_NARROWEST, room)), style),
                    f"{left:>{left_width}}",
                    f"{sent:>{sent_width}}",
                )
            )
            for case, what, style, left, sent in rows
        ]

    def _line(self, case_id: str, text: str) -> None:
        if not self._draws:
            line = f"[{self._elapsed_s():>4}s] {safe(case_id):<{self._width}}  {safe(text)}"
            self._console.print(Text(line), soft_wrap=True, highlight=False)

    def _keep_drawing(self) -> None:
        try:
            while not self._over.wait(_SECONDS_BETWEEN):
                self._draw(self.lines())
        except (OSError, ValueError):
            # The terminal is gone; the run is not, and its report goes elsewhere.
            return

    def _draw(self, lines: list[str]) -> None:
        """Draw over what was drawn before: up to its first line, each line anew, nothing below."""
        if not lines and not self._drawn:
            return
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._drawn = len(lines)
        self._console.file.write(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._console.file.flush()

    def _elapsed_s(self) -> int:
        return (self._now_ns() - self._began_ns) // NS_PER_SECOND

    def _left(self, until_ns: int | None) -> str:
        left_ns = 0 if until_ns is None else until_ns - self._now_ns()
        return f"{_whole_seconds(left_ns)} left" if left_ns > 0 else ""

    def _told(self, state: _State) -> tuple[str, str]:
        """Return what is told of a case, and its style."""
        if state.outcome is not None:
            return state.outcome.name, STYLES[state.outcome]
        return safe(state.what), "" if state.is_running else "dim"

    def _styled(self, text: str, style: str) -> str:
        system = self._console.color_system
        if not style or system is None:
            return text
        parsed = Style.parse(style)
        return (parsed.without_color if self._console.no_color else parsed).render(text)

    def _fitting(self) -> list[str]:
        """Return the cases that fit the terminal's height, in their order: those that run go before all others."""
        room = max(1, self._console.height - _LINES_AROUND)
        by_interest = sorted(self._states, key=lambda case: not self._states[case].is_running)
        chosen = set(by_interest[:room])
        return [case for case in self._states if case in chosen]


def _cut(text: str, width: int) -> str:
    """Return `text` in exactly `width` cells."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _requests(count: int, none: str = "0 requests") -> str:
    return f"{count:,} request{'' if count == 1 else 's'}" if count else none


def _whole_seconds(duration_ns: int) -> str:
    return format_duration(-(-duration_ns // NS_PER_SECOND) * NS_PER_SECOND)
