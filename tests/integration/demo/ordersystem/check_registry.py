"""Which check shows which defect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

CHECKS: dict[str, tuple[Callable[..., Awaitable[bool]], dict[str, str]]] = {}


def check(*ids: str, **settings: str):
    """The decorated coroutine takes a world with these settings and tells whether the defect shows in it."""

    def register(function):
        for name in ids:
            assert name not in CHECKS, name
            CHECKS[name] = (function, settings)
        return function

    return register
