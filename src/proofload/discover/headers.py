"""What the answers' headers tell of a limit: which names, which unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proofload.plan.policies import RateLimitHeaders

_FAMILIES = ("X-RateLimit-", "X-Rate-Limit-", "RateLimit-")
Unit = Literal["epoch_seconds", "epoch_milliseconds", "delta_seconds"]

_EPOCH_S = 1_000_000_000
_EPOCH_MS = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, as far as it concerns the limit."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""


def watched() -> Sequence[str]:
    """Return the names of every header that may tell of a limit, in lower case."""
    parts = ("limit", "remaining", "reset")
    names = [f"{family}{part}".lower() for family in _FAMILIES for part in parts]
    return [*names, "retry-after", "ratelimit", "ratelimit-policy"]


def recognise(answers: Iterable[Said], rejected: int) -> RateLimitHeaders:
    """Return which headers stand on every answer (Retry-After: on every rejection), and the unit of the reset."""
    every = list(answers)
    no = [one for one in every if one.status == rejected]
    family = next((one for one in _FAMILIES if _on_all(every, f"{one}Limit") or _on_all(every, f"{one}Remaining")), "")
    reset = _name(every, family, "Reset")
    return RateLimitHeaders(
        limit=_name(every, family, "Limit"),
        remaining=_name(every, family, "Remaining"),
        reset=reset,
        reset_unit=_unit(every, reset),
        retry_after="Retry-After" if _on_all(no, "Retry-After") else None,
        ietf=_on_all(every, "RateLimit") and _on_all(every, "RateLimit-Policy"),
    )


def told_limit(answers: Iterable[Said], headers: RateLimitHeaders) -> int | None:
    """Return the limit that the headers name, where all name the same."""
    if headers.limit is None:
        return None
    told = {one.headers.get(headers.limit.lower(), "").split(",")[0].strip() for one in answers}
    value = told.pop() if len(told) == 1 else ""
    return int(value) if value.isdecimal() and len(value) < 8 else None


def _name(answers: Sequence[Said], family: str, part: str) -> str | None:
    return f"{family}{part}" if family and _on_all(answers, f"{family}{part}") else None


def _on_all(answers: Sequence[Said], name: str) -> bool:
    return bool(answers) and all(name.lower() in one.headers for one in answers)


def _unit(answers: Sequence[Said], reset: str | None) -> Unit:
    values = [one.headers.get(reset.lower(), "") for one in answers] if reset else []
    least = min((int(one) for one in values if one.isdecimal()), default=0)
    if least > _EPOCH_MS:
        return "epoch_milliseconds"
    return "epoch_seconds" if least > _EPOCH_S or not values else "delta_seconds"
