"""Controls that others wrote, each with the declaration that is right for it and some that are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LIMIT, WINDOW_S = 20, 5
NONE: Mapping[str, Any] = dict.fromkeys(("limit", "remaining", "reset", "retry_after"))
X_HEADERS: Mapping[str, Any] = {}
"""`X-RateLimit-*` and Retry-After, as a target file has them by default."""


@dataclass(frozen=True)
class Limiter:
    """A limiter: who ships it, how it counts, and what it tells. Its server is servers/limiters.{py,mjs}."""

    name: str
    package: str
    ecosystem: str
    algorithm: str
    alignment: str = "first_request"
    status: int = 429
    headers: Mapping[str, Any] = field(default_factory=dict)
    another: str = "sliding_log"
    """An algorithm that it does not follow, and from which it can be told."""
    found: Mapping[str, str] = field(default_factory=dict)
    """What the library itself does wrong: a declaration, to the place in its source."""

    def declaration(self, **changes: Any) -> dict[str, Any]:
        """Return the target's rate limit as it is right, but for the changes."""
        return {
            "limit": LIMIT,
            "window": f"{WINDOW_S}s",
            "algorithm": self.algorithm,
            "alignment": self.alignment,
            "applies_to": ["/api/*"],
            "exempt": ["/health"],
            "probe": "thing",
            "status": self.status,
            "headers": dict(self.headers),
            **changes,
        }

    def declarations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the right declaration and the wrong ones, by name."""
        yield "right", self.declaration()
        yield "doubled limit", self.declaration(limit=2 * LIMIT)
        yield "halved limit", self.declaration(limit=LIMIT // 2)
        yield f"{self.another}", self.declaration(algorithm=self.another, alignment="first_request")


_DELTA = {"reset_unit": "delta_seconds"}
LIMITERS = (
    Limiter("slowapi-fixed", "slowapi", "PyPI", "fixed_window", headers=X_HEADERS),
    Limiter("slowapi-moving", "slowapi", "PyPI", "sliding_log", headers=X_HEADERS, another="fixed_window"),
    Limiter("flask-limiter-fixed", "flask-limiter", "PyPI", "fixed_window", headers=X_HEADERS),
    Limiter("flask-limiter-moving", "flask-limiter", "PyPI", "sliding_log", headers=X_HEADERS, another="fixed_window"),
    Limiter(
        *("flask-limiter-counter", "flask-limiter", "PyPI", "sliding_window_counter", "clock"),
        headers=X_HEADERS,
        another="fixed_window",
    ),
    Limiter("limits-fixed", "limits", "PyPI", "fixed_window", headers=NONE),
    Limiter("limits-moving", "limits", "PyPI", "sliding_log", headers=NONE, another="fixed_window"),
    Limiter(
        *("limits-counter", "limits", "PyPI", "sliding_window_counter", "clock"), headers=NONE, another="fixed_window"
    ),
    Limiter("express-rate-limit-legacy", "express-rate-limit", "npm", "fixed_window", headers=X_HEADERS),
    Limiter("express-rate-limit-draft-6", "express-rate-limit", "npm", "fixed_window", headers=NONE),
    Limiter("express-rate-limit-draft-7", "express-rate-limit", "npm", "fixed_window", headers=NONE),
    Limiter("express-rate-limit-draft-8", "express-rate-limit", "npm", "fixed_window", headers={**NONE, "ietf": True}),
    Limiter("rate-limiter-flexible", "rate-limiter-flexible", "npm", "fixed_window", headers={"reset": None}),
    Limiter("fastify-rate-limit", "@fastify/rate-limit", "npm", "fixed_window", headers=_DELTA),
    Limiter("koa-ratelimit", "koa-ratelimit", "npm", "fixed_window", headers=X_HEADERS),
)


@dataclass(frozen=True)
class Breaker:
    """A circuit breaker in front of a service that can be stopped. Its gateway is servers/breakers.{py,mjs}."""

    name: str
    package: str
    ecosystem: str
    right: Mapping[str, Any]
    wrong: Mapping[str, Mapping[str, Any]]

    def declaration(self, **changes: Any) -> dict[str, Any]:
        """Return the target's circuit breaker as it is right, but for the changes."""
        told = {
            "open_for": f"{OPEN_S}s",
            "status_when_open": 503,
            "code_when_open": "CIRCUIT_OPEN",
            "retry_after": None,
        }
        return {"service": "backend", "operation": "thing", **told, **self.right, **changes}

    def declarations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the right declaration and the wrong ones, by name."""
        yield "right", self.declaration()
        for name, changes in self.wrong.items():
            yield name, self.declaration(**changes)


OPEN_S = 3
_IN_A_ROW = {"failures": 5, "successes": 1}
_TRIPPED_BY_IT = {**_IN_A_ROW, "tripping_call": "circuit"}
"""The failing call that opens the circuit is itself answered by it."""
_OTHER = {"ten failures": {"failures": 10}, "four failures": {"failures": 4}, "open for 12s": {"open_for": "12s"}}
BREAKERS = (
    Breaker("pybreaker", "pybreaker", "PyPI", _TRIPPED_BY_IT, _OTHER),
    Breaker("aiobreaker", "aiobreaker", "PyPI", _TRIPPED_BY_IT, _OTHER),
    Breaker("purgatory", "purgatory", "PyPI", _IN_A_ROW, _OTHER),
    Breaker(
        *("opossum", "opossum", "npm"),
        {"ratio": 0.5, "ratio_window": "10s", "minimum_calls": 10, "successes": 1},
        {"open for 12s": {"open_for": "12s"}, "minimum of 60": {"minimum_calls": 60}},
    ),
)
