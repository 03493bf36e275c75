"""What a fault does to which requests. A rule is data; the proxy carries it out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("status", "fail_n", "delay", "reset", "black_hole")
"""`status`: answer with a status. `fail_n`: that, for the first n requests. `delay`: pass on later.
`reset`: cut the connection. `black_hole`: take the request and never answer."""

_LONGEST_DELAY_NS = 3_600 * 1_000_000_000


@dataclass(slots=True)
class Rule:
    """One fault in force."""

    kind: str
    status: int = 503
    times: int = 5
    """How many requests `fail_n` fails."""
    delay_ns: int = 0
    path: str = "/"
    """Only requests whose path begins so."""
    failed: int = 0
    lifted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the fault is mended: whoever waits because of it need not any more."""

    @classmethod
    def of_json(cls, told: Any) -> Rule:
        """Return the rule in a JSON object. Raises ValueError, with what was expected, for anything else."""
        if not isinstance(told, Mapping) or set(told) - {"kind", "status", "times", "delay_ns", "path"}:
            raise ValueError("expected an object with kind, and status, times, delay_ns or path")
        rule = cls(**{"kind": "", **told})
        whole = (rule.status, rule.times, rule.delay_ns)
        if rule.kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}")
        if not all(type(value) is int for value in whole):
            raise ValueError("status, times, delay_ns: expected whole numbers")
        if not (200 <= rule.status <= 599 and rule.times >= 1 and 0 <= rule.delay_ns <= _LONGEST_DELAY_NS):
            raise ValueError("expected a status of 200 to 599, at least one time, a delay of an hour at the most")
        if not isinstance(rule.path, str) or not rule.path.startswith("/"):
            raise ValueError("path: expected a text that begins with /")
        return rule

    def takes(self, path: str) -> bool:
        """Return whether this request is to suffer, and count it where only so many are to."""
        if not path.startswith(self.path) or (self.kind == "fail_n" and self.failed >= self.times):
            return False
        self.failed += 1
        return True

    def to_json(self) -> dict[str, Any]:
        """Return the rule, and how many requests have suffered."""
        names = ("kind", "status", "times", "delay_ns", "path", "failed")
        return {name: getattr(self, name) for name in names}
