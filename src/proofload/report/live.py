"""What people see while cases run: a calm table in a terminal, a line for each change elsewhere. Never in the way."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.record.pulse import Pulse
from proofload.report.terminal import STYLES
from proofload.report.view import safe
from proofload.report.watch import CaseState, Watch

_SECONDS_BETWEEN = 0.5
_LINES_AROUND = 3
"""The summary below the cases, the line that tells of hidden ones, and the cursor's."""
_BETWEEN_LINES_NS = 10 * NS_PER_SECOND
_PLAIN_WIDTH = 120
_BARS = "▁▂▃▄▅▆▇█"
_NARROWEST = 10
_GAP = "  "


class LiveView:
    """Hears what the cases of a run do, and shows it: `with LiveView(...) as audience: ...`.

    It draws by hand: a table of Rich takes 2.5 ms to draw, and a request that is due meanwhile would wait for it.
    """

    def __init__(
        self,
        cases: Sequence[str],
        console: Console,
        now_ns: Callable[[], int],
        *,
        target: str = "",
        verbose: bool = False,
    ) -> None:
        self._console = console
        self.watch = Watch(cases, now_ns, target)
        self._now_ns = now_ns
        self._verbose = verbose
        self._told_ns = now_ns()
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
        if self.watch.doing(case_id, what, until_ns):
            left = self._left(until_ns)
            self._line(case_id, f"{what} ({left})" if left else what)

    def sent(self, case_id: str, requests: int) -> None:
        """Hear how many requests a case has sent so far."""
        self.watch.sent(case_id, requests)

    def pulse(self, case_id: str, pulse: Pulse) -> None:
        """Hear how a running case's load stands; who wants to know more is told now and then in a pipe, too."""
        self.watch.pulse(case_id, pulse)
        if self._verbose and self._now_ns() - self._told_ns >= _BETWEEN_LINES_NS:
            self._told_ns = self._now_ns()
            for line in self._load_lines(_PLAIN_WIDTH):
                self._line("", line)

    def ended(self, case_id: str, outcome: str) -> None:
        """Hear that a case has ended."""
        self._line(case_id, f"{outcome} after {_requests(self.watch.ended(case_id, outcome))}")

    def lines(self) -> list[str]:
        """Return the table as it stands now, a text of the console's width for each line."""
        below = self._load_lines(self._console.width)
        with self.watch.lock:
            states = self.watch.states
            shown = [(case, states[case]) for case in self._fitting(len(below))]
            rows = [
                (case, *self._told(state), self._left(state.until_ns), _requests(state.requests, ""))
                for case, state in shown
            ]
            ended = sum(state.outcome is not None for state in states.values())
            requests = sum(state.requests for state in states.values())
            hidden = len(states) - len(shown)
        if hidden:
            rows.append(("…", f"and {hidden} more", "dim", "", ""))
        elapsed = format_duration(self._elapsed_s() * NS_PER_SECOND)
        rows.append(("", f"{ended} of {len(states)} ended, {elapsed}", "dim", "", _requests(requests)))
        # Seconds left and requests have columns of their own: a long text must not push them out of sight.
        left_width, sent_width = (max(len(row[i]) for row in rows) for i in (3, 4))
        room = self._console.width - self._width - left_width - sent_width - 3 * len(_GAP) - 1
        table = [
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
        return [*table, *(self._styled(_cut(line, self._console.width - 1), "dim") for line in below)]

    def _load_lines(self, width: int) -> list[str]:
        """Return what is told of all cases together: rates, answers, latency; and the faults in force."""
        now = self.watch.recent()
        lines = []
        if now is not None:
            seconds = now.span_ns / NS_PER_SECOND
            told = [f"{now.sent / seconds:,.0f}/s of {now.planned / seconds:,.0f}/s asked"]
            told += [f"{one}xx {count:,}" for one, count in sorted(self._answers().items()) if count]
            told += [f"no answer {lost:,}"] if (lost := self._unanswered()) else []
            text = "  ".join(told)
            if now.p99_ns:
                text += f"  p99 {format_duration(now.p99_ns)} "
            if now.p99_ns and self._console.encoding.lower().startswith("utf"):
                text += sparkline([point.p99_ns for point in self.watch.points()], min(24, width - cell_len(text) - 2))
            lines.append(text)
        if faults := self.watch.faults():
            lines.append(f"in force: {', '.join(safe(one) for one in faults)}")
        return lines

    def _answers(self) -> dict[int, int]:
        found: dict[int, int] = {}
        with self.watch.lock:
            for state in self.watch.states.values():
                for one, count in state.pulse.by_class.items():
                    found[one] = found.get(one, 0) + count
        return found

    def _unanswered(self) -> int:
        with self.watch.lock:
            return sum(state.pulse.unanswered for state in self.watch.states.values())

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
        return (self._now_ns() - self.watch.began_ns) // NS_PER_SECOND

    def _left(self, until_ns: int | None) -> str:
        left_ns = 0 if until_ns is None else until_ns - self._now_ns()
        return f"{_whole_seconds(left_ns)} left" if left_ns > 0 else ""

    def _told(self, state: CaseState) -> tuple[str, str]:
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

    def _fitting(self, below: int) -> list[str]:
        """Return the cases that fit the terminal's height, in their order: those that run go before all others."""
        room = max(1, self._console.height - _LINES_AROUND - below)
        by_interest = sorted(self.watch.states, key=lambda case: not self.watch.states[case].is_running)
        chosen = set(by_interest[:room])
        return [case for case in self.watch.states if case in chosen]


def _cut(text: str, width: int) -> str:
    """Return `text` in exactly `width` cells."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _requests(count: int, none: str = "0 requests") -> str:
    return f"{count:,} request{'' if count == 1 else 's'}" if count else none


def _whole_seconds(duration_ns: int) -> str:
    return format_duration(-(-duration_ns // NS_PER_SECOND) * NS_PER_SECOND)


def sparkline(values: Sequence[int], width: int) -> str:
    """Return the last `width` values as bars, by the logarithm of their share of the greatest; a gap where one is 0.

    >>> sparkline([0, 1, 10, 100, 1000], 4)
    '▁▃▆█'
    """
    some = list(values)[-width:] if width > 0 else []
    greatest = max(some, default=0)
    if not greatest:
        return ""
    least = max(1, min(value for value in some if value))
    steps = math.log(greatest / least) or 1.0
    return "".join(_BARS[round((len(_BARS) - 1) * math.log(value / least) / steps)] if value else " " for value in some)
