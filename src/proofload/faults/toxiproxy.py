"""Cuts, delays or silences the connections of one proxy of a Toxiproxy server, through its HTTP API (version 2)."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from proofload.faults.driver import StepDriver
from proofload.faults.recipe import http_step

_GONE = (200, 204, 404)


class ToxiproxyDriver(StepDriver):
    """`stop` disables the proxy; `delay`, `reset` and `black_hole` add a toxic of ours and take it out again."""

    name = "toxiproxy"

    def __init__(self, api: str, proxy: str, delay_ns: int = 2_000_000_000) -> None:
        one = f"{api.rstrip('/')}/proxies/{quote(proxy, safe='')}"
        toxics: dict[str, tuple[str, dict[str, Any]]] = {
            "delay": ("latency", {"latency": delay_ns // 1_000_000, "jitter": 0}),
            "reset": ("reset_peer", {"timeout": 0}),
            "black_hole": ("timeout", {"timeout": 0}),
        }
        enable = partial(http_step, "POST", one)
        faults = {"stop": (partial(enable, {"enabled": False}), partial(enable, {"enabled": True}))}
        for kind, (toxic, attributes) in toxics.items():
            name = f"proofload_{kind}"
            body = {"name": name, "type": toxic, "stream": "downstream", "toxicity": 1.0, "attributes": attributes}
            put = partial(http_step, "POST", f"{one}/toxics", body)
            faults[kind] = (put, partial(http_step, "DELETE", f"{one}/toxics/{name}", None, _GONE))
        super().__init__(faults)
