"""What is shown while cases run: who does what, for how long still, and how much was sent."""

import io
import re
import threading

import pytest
from rich.cells import cell_len
from rich.console import Console

from proofload.core.units import NS_PER_SECOND
from proofload.report import live
from proofload.report.live import LiveView

SECOND = NS_PER_SECOND


class Hand:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.at_ns = 5 * SECOND

    def __call__(self) -> int:
        return self.at_ns


def console(*, is_terminal: bool, height: int = 24, term: str = "xterm", **environ: str) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=is_terminal,
        width=80,
        height=height,
        legacy_windows=False,
        _environ={"TERM": term, **environ},
    )


def text_of(one: Console) -> str:
    assert isinstance(one.file, io.StringIO)
    return one.file.getvalue()


def drawn(view: LiveView) -> list[str]:
    """Return the lines of the table as they would be drawn now, without their styles."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in view.lines()]


def on_screen(text: str) -> list[str]:
    """Return what a terminal shows after this text: lines, moves up, and erasures are all that it may hold."""
    rows, row, column = [""], 0, 0
    for found in re.finditer(r"\x1b\[(\d*)([FKJ])|\x1b\[[0-9;]*m|(\n)|([^\x1b\n]+)", text):
        count, move, end, plain = found.groups()
        if move == "F":
            row, column = row - int(count), 0
            assert row >= 0
        elif move == "K":
            rows[row] = rows[row][:column]
        elif move == "J":
            rows[row:] = [rows[row][:column]]
        elif end:
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif plain:
            rows[row] = rows[row][:column] + plain + rows[row][column + len(plain) :]
            column += len(plain)
    return rows


def test_a_pipe_gets_a_line_for_each_change_and_no_more() -> None:
    now, out = Hand(), console(is_terminal=False)
    with LiveView(["TC-RL-001", "TC-A"], out, now) as view:
        view.doing("TC-A", "creating 1 test user")
        now.at_ns += 3 * SECOND
        view.doing("TC-RL-001", "the window to end", now.at_ns + 41 * SECOND + 1)
        view.doing("TC-RL-001", "the window to end", now.at_ns + 30 * SECOND)
        view.sent("TC-A", 1)
        view.ended("TC-A", "PASS")
        view.sent("TC-RL-001", 1_234)
        view.ended("TC-RL-001", "FAIL")
    assert text_of(out).splitlines() == [
        "[   0s] TC-A       creating 1 test user",
        "[   3s] TC-RL-001  the window to end (42s left)",
        "[   3s] TC-A       PASS after 1 request",
        "[   3s] TC-RL-001  FAIL after 1,234 requests",
    ]


def test_a_dumb_terminal_gets_lines() -> None:
    out = console(is_terminal=True, term="dumb")
    with LiveView(["TC-A"], out, Hand()) as view:
        view.doing("TC-A", "working")
    assert text_of(out) == "[   0s] TC-A  working\n"


def test_a_terminal_shows_each_case_with_what_it_waits_for() -> None:
    now, out = Hand(), console(is_terminal=False)
    view = LiveView(["TC-A", "TC-B", "TC-C"], out, now)
    view.doing("TC-A", "the window to end " + "and more " * 20, now() + 59 * SECOND)
    view.sent("TC-A", 105)
    view.ended("TC-B", "PASS")
    now.at_ns += 2 * SECOND
    first, second, third, summary = drawn(view)
    assert first.startswith("TC-A")
    assert "…" in first
    assert first.split("…")[1].split() == ["57s", "left", "105", "requests"]
    assert second.split() == ["TC-B", "PASS"]
    assert third.split(maxsplit=1) == ["TC-C", third.split(maxsplit=1)[1]]
    assert "waiting for its turn" in third
    assert summary.split() == ["1", "of", "3", "ended,", "2s", "105", "requests"]


def test_what_is_over_is_not_waited_for() -> None:
    now, out = Hand(), console(is_terminal=False)
    view = LiveView(["TC-A"], out, now)
    view.doing("TC-A", "the window to end", now() + SECOND)
    now.at_ns += 2 * SECOND
    assert "left" not in drawn(view)[0]


def test_more_cases_than_lines_hide_those_that_do_nothing() -> None:
    out = console(is_terminal=False, height=8)
    view = LiveView([f"TC-{i:02}" for i in range(30)], out, Hand())
    view.doing("TC-17", "working")
    view.doing("TC-29", "working")
    lines = drawn(view)
    assert len(lines) < 8
    assert [line.split()[0] for line in lines] == ["TC-00", "TC-01", "TC-02", "TC-17", "TC-29", "…", "0"]
    assert "and 25 more" in lines[-2]


@pytest.mark.parametrize(("environ", "told"), [({}, "\x1b[1;31mFAIL"), ({"NO_COLOR": "1"}, "\x1b[1mFAIL")])
def test_colour_is_for_those_who_want_it(environ: dict[str, str], told: str) -> None:
    view = LiveView(["TC-A"], console(is_terminal=True, **environ), Hand())
    view.ended("TC-A", "FAIL")
    assert told in view.lines()[0]


def test_each_picture_is_drawn_over_the_last_and_the_last_leaves_nothing() -> None:
    now, out = Hand(), console(is_terminal=True)
    view = LiveView(["TC-A", "TC-B"], out, now)
    out.print("before")
    view.doing("TC-A", "\x1b[2Jwiping the screen, 漢字")
    view._draw(view.lines())
    view.ended("TC-A", "FAIL")
    now.at_ns += SECOND
    view._draw(view.lines())
    text = text_of(out)
    assert "\x1b[2J" not in text
    rows = on_screen(text)
    assert [row.split()[:2] for row in rows] == [["before"], ["TC-A", "FAIL"], ["TC-B", "waiting"], ["1", "of"], []]
    assert all(cell_len(row) <= 80 for row in rows)
    view._draw([])
    assert on_screen(text_of(out)) == ["before", ""]


def test_an_error_inside_still_gives_the_terminal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.001)
    out = console(is_terminal=True)
    view = LiveView(["TC-A"], out, Hand())
    drew = threading.Event()
    monkeypatch.setattr(view, "lines", lambda: drew.set() or ["a line"])

    def fail() -> None:
        with view:
            assert drew.wait(10)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not view._thread.is_alive()
    assert on_screen(text_of(out)) == [""]


def test_a_terminal_that_is_gone_ends_the_drawing_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.001)
    view = LiveView(["TC-A"], console(is_terminal=True), Hand())

    def gone() -> list[str]:
        raise BrokenPipeError

    monkeypatch.setattr(view, "lines", gone)
    with view:
        view._thread.join(10)
        assert not view._thread.is_alive()
