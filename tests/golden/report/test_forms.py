"""Each form of the report, whole, as people and machines get it. UPDATE_GOLDEN=1 writes the files anew."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tests.golden.report.results import EMPTY, PASSED, RESULT

from proofload.report import terminal
from proofload.report.as_json import to_json
from proofload.report.junit import to_junit

HERE = Path(__file__).parent


def shown(result=RESULT, **options) -> str:  # type: ignore[no-untyped-def]
    console = Console(file=io.StringIO(), color_system=None, legacy_windows=False, highlight=False, **options)
    terminal.show(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def in_terminal(width: int) -> str:
    return shown(force_terminal=True, width=width, _environ={"TERM": "xterm"})


FORMS: dict[str, Callable[[], str]] = {
    "terminal_80.txt": lambda: in_terminal(80),
    "terminal_140.txt": lambda: in_terminal(140),
    "plain.txt": lambda: shown(force_terminal=False),
    "passed.txt": lambda: shown(PASSED, force_terminal=False),
    "empty.txt": lambda: shown(EMPTY, force_terminal=False),
    "result.json": lambda: to_json(RESULT),
    "junit.xml": lambda: to_junit(RESULT),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_form_is_what_it_was(name: str) -> None:
    text = FORMS[name]()
    if os.environ.get("UPDATE_GOLDEN"):
        (HERE / name).write_text(text, encoding="utf-8")
    assert text == (HERE / name).read_text(encoding="utf-8")
