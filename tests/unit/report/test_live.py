"""What is shown while cases run: who does what, for how long still, and how much was sent."""

import io

import pytest
from rich.console import Console

from proofload.core.units import NS_PER_SECOND
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


def drawn(view: LiveView, on: Console) -> list[str]:
    """Return the lines of the table as they would be drawn now."""
    with on.capture() as capture:
        on.print(view._table())
    return capture.get().splitlines()


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
    first, second, third, summary = drawn(view, out)
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
    assert "left" not in drawn(view, out)[0]


def test_more_cases_than_lines_hide_those_that_do_nothing() -> None:
    out = console(is_terminal=False, height=8)
    view = LiveView([f"TC-{i:02}" for i in range(30)], out, Hand())
    view.doing("TC-17", "working")
    view.doing("TC-29", "working")
    lines = drawn(view, out)
    assert len(lines) < 8
    assert [line.split()[0] for line in lines] == ["TC-00", "TC-01", "TC-02", "TC-17", "TC-29", "…", "0"]
    assert "and 25 more" in lines[-2]


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}])
def test_what_is_drawn_leaves_no_trace_but_its_room(environ: dict[str, str]) -> None:
    out = console(is_terminal=True, **environ)
    with LiveView(["TC-A"], out, Hand()) as view:
        view.doing("TC-A", "\x1b[2Jwiping the screen")
        view.ended("TC-A", "FAIL")
        view._live.refresh()
    text = text_of(out)
    assert "FAIL" in text
    assert "\x1b[2J" not in text
    assert ("\x1b[1;31mFAIL" in text) == (not environ)


def test_an_error_inside_still_gives_the_terminal_back() -> None:
    out = console(is_terminal=True)
    with pytest.raises(RuntimeError), LiveView(["TC-A"], out, Hand()) as view:
        raise RuntimeError
    assert not view._live.is_started
    assert text_of(out).endswith("\x1b[?25h") or "\x1b[?25h" in text_of(out)
