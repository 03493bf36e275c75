"""The order of the files: the longest first, all others as they were."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.plugins import longest_first


def test_the_listed_files_come_first_and_nothing_else_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list").write_text("# longest first\ntests/slow.py\n\ntests/gone.py\ntests/less.py\n")
    monkeypatch.setattr(longest_first, "LIST", tmp_path / "list")
    items: Any = [
        SimpleNamespace(nodeid=f"tests/{name}")
        for name in ("a.py::x", "less.py::b", "less.py::a", "slow.py::x", "b.py::x")
    ]
    config: Any = None
    longest_first.pytest_collection_modifyitems(config, items)
    assert [one.nodeid for one in items] == [
        "tests/slow.py::x", "tests/less.py::b", "tests/less.py::a", "tests/a.py::x", "tests/b.py::x"
    ]  # fmt: skip
