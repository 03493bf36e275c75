"""Speaks to Grafana's HTTP API: annotations as ranges, and dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_MS
from proofload.observe.side_channel import HttpAnswer, call
from proofload.plan.masking import masked_text


class Grafana:
    """A Grafana server. Every method raises ToolError where it is not taken; the token stands in no message."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.name = "grafana"
        self.told = masked_text(url)
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    async def annotate(self, text: str, tags: Sequence[str], from_wall_ns: int, to_wall_ns: int) -> None:
        """Mark a range on every dashboard that shows annotations with these tags."""
        content = {
            "time": from_wall_ns // NS_PER_MS,
            "timeEnd": to_wall_ns // NS_PER_MS,
            "tags": list(tags),
            "text": text,
        }
        await self._post("/api/annotations", content)

    async def push_dashboard(self, dashboard: Mapping[str, Any], folder_uid: str = "") -> str:
        """Create or replace a dashboard; return the address at which Grafana shows it."""
        content = {"dashboard": {**dashboard, "id": None}, "folderUid": folder_uid, "overwrite": True}
        answer = await self._post("/api/dashboards/db", content)
        told = answer.json()
        return self.told.rstrip("/") + str(told.get("url", "")) if isinstance(told, dict) else self.told

    async def _post(self, path: str, content: Mapping[str, Any]) -> HttpAnswer:
        answer = await call("POST", self._url + path, body=json.dumps(content).encode(), headers=self._headers)
        if not answer.ok:
            raise ToolError(f"{self.told}{path}: {answer.told}")
        return answer
