"""A terminal that knows few signs still gets the whole report."""

import io
import sys

import pytest

from proofload.cli.main import main


def test_a_sign_that_the_terminal_does_not_know_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "argv", ["proofload", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    narrow.write("42µs…")
    narrow.flush()
    assert narrow.buffer.getvalue().endswith(b"42\\xb5s\\u2026")  # type: ignore[attr-defined]
