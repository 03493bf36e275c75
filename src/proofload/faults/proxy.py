"""Breaks requests in proofload's own HTTP proxy, which a gateway has as its upstream."""

from __future__ import annotations

from functools import partial

from proofload.faults.driver import StepDriver
from proofload.faults.http_proxy.rules import KINDS
from proofload.faults.recipe import http_step


class ProxyDriver(StepDriver):
    """Puts a rule into a running proxy and takes it out again. See `http_proxy.rules` for what each kind does.

    Rules live in the proxy's memory: with a proxy that has ended, its faults have.
    """

    name = "proxy"

    def __init__(
        self, control: str, *, status: int = 503, times: int = 5, delay_ns: int = 2_000_000_000, path: str = "/"
    ) -> None:
        rule = {"status": status, "times": times, "delay_ns": delay_ns, "path": path}
        super().__init__(
            {
                kind: (
                    partial(http_step, "PUT", f"{control}/faults/{kind}", {"kind": kind, **rule}),
                    partial(http_step, "DELETE", f"{control}/faults/{kind}", may_be_gone=True),
                )
                for kind in KINDS
            }
        )
