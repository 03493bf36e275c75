"""Run in a pseudo-terminal by test_terminal: a scripted run that is shown as `proofload run` shows one."""

import sys

from rich.console import Console
from tests.golden.report.results import RESULT
from tests.unit.report.test_live import Hand
from tests.unit.report.test_watch import pulse

from proofload.core.units import NS_PER_SECOND
from proofload.report import terminal
from proofload.report.live import LiveView


def main() -> None:
    now, console = Hand(), Console(stderr=True, highlight=False)
    view = LiveView(["TC-RL-001", "TC-CB-001", "TC-LATENCY-001"], console, now)
    view.doing("TC-RL-001", "the window to end", now() + 60 * NS_PER_SECOND)
    view.doing("TC-CB-001", "failing, until the circuit opens and beyond, for as long as that takes")
    for step in range(1, 31):
        now.at_ns += NS_PER_SECOND // 2
        view.pulse("TC-CB-001", pulse(40 * step, bad=3 * step, took_ms=2 * step, faults=("stop order",)))
    view.ended("TC-LATENCY-001", "PASS")
    view._draw(view.lines())
    # Whoever reads the screen says when it has been seen.
    sys.stdin.readline()
    view._draw([])
    terminal.show(RESULT, Console(highlight=False))
    sys.stdout.flush()
    sys.stdin.readline()


main()
