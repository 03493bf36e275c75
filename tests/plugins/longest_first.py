"""Puts the files that take longest first, so that no worker begins with one of them when the others have done theirs.

`longest.txt` holds them, longest first: the list that `make test` prints at its end. A file that is not in it keeps
its place behind, so a list that is out of date costs time and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

LIST = Path(__file__).with_name("longest.txt")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    files = [line.strip() for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")]
    rank = {file: number for number, file in enumerate(files)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0], len(rank)))
