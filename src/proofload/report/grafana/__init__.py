"""Dashboards of a run and of its target: shipped as JSON, made by `build`. Never speaks to a server."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from proofload.report.grafana.boards import BOARDS, Board, Panel

__all__ = ["BOARDS", "Board", "Panel", "shipped"]


def shipped() -> dict[str, Any]:
    """Return the dashboards by the name of their file, as Grafana takes them."""
    folder = resources.files("proofload.report.grafana") / "dashboards"
    return {board.name: json.loads((folder / f"{board.name}.json").read_text(encoding="utf-8")) for board in BOARDS}
