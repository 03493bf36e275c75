"""Which path belongs to which service, who may call it, and the template that metrics show for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

API_PREFIX = "/api/"
SERVICES = ("auth", "user", "order")


@dataclass(frozen=True, slots=True)
class Route:
    """What the gateway knows of a path. Without a service there is nothing behind it."""

    template: str
    service: str | None
    public: bool = False


NOWHERE = Route("unmatched", None)

_EXACT = {
    path: Route(path, service, public)
    for path, service, public in (
        ("/api/v1/auth/register", "auth", True),
        ("/api/v1/auth/login", "auth", True),
        ("/api/v1/auth/logout", "auth", False),
        ("/api/v1/auth/profile", "auth", False),
        ("/api/v1/users/me", "user", False),
        ("/api/v1/balance", "user", False),
        ("/api/v1/balance/deposit", "user", False),
        ("/api/v1/balance/withdraw", "user", False),
        ("/api/v1/balance/transactions", "user", False),
        ("/api/v1/orders", "order", False),
    )
}
_PATTERNS = (
    (re.compile(r"/api/v1/orders/[^/]+"), Route("/api/v1/orders/{order_id}", "order")),
    (re.compile(r"/api/v1/auth(/.*)?"), Route("/api/v1/auth/*", "auth")),
    (re.compile(r"/api/v1/(balance|users)(/.*)?"), Route("/api/v1/user/*", "user")),
    (re.compile(r"/api/v1/orders(/.*)?"), Route("/api/v1/orders/*", "order")),
)


def is_limited(path: str) -> bool:
    """Tell whether a path falls under the rate limit; health and metrics do not.

    >>> is_limited("/api/v1/orders"), is_limited("/health")
    (True, False)
    """
    return path.startswith(API_PREFIX)


def route_of(path: str) -> Route:
    """Return the route of a decoded path; NOWHERE for a path that belongs to no service or tries to climb.

    >>> route_of("/api/v1/orders/ord_1").template
    '/api/v1/orders/{order_id}'
    >>> route_of("/api/v1/auth/../../internal").service is None
    True
    """
    exact = _EXACT.get(path)
    if exact is not None:
        return exact
    if "/../" in path or path.endswith("/.."):
        return NOWHERE
    return next((route for pattern, route in _PATTERNS if pattern.fullmatch(path)), NOWHERE)
