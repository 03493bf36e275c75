"""What the answers' headers tell of a limit: which names, which unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proofload.judge.rate_limit.fields import structured
from proofload.judge.rate_limit.header_values import read_whole, unit_of
from proofload.plan.policies import RateLimitHeaders, ResetUnit

_FAMILIES = ("X-RateLimit-", "X-Rate-Limit-", "RateLimit-")
_MOST_LIMIT = 10_000_000


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
    """Return which headers are on every answer (Retry-After: on every rejection), and the unit of the reset."""
    every = list(answers)
    no = [one for one in every if one.status == rejected]
    family = next((one for one in _FAMILIES if _on_all(every, f"{one}Limit") or _on_all(every, f"{one}Remaining")), "")
    reset, unit = _reset(every, family)
    return RateLimitHeaders(
        limit=_name(every, family, "Limit"),
        remaining=_name(every, family, "Remaining"),
        reset=reset,
        reset_unit=unit,
        retry_after="Retry-After" if _on_all(no, "Retry-After") else None,
        ietf=_on_all(every, "RateLimit") and (_on_all(every, "RateLimit-Policy") or _are_pairs(every)),
    )


def told_limit(answers: Iterable[Said], headers: RateLimitHeaders) -> int | None:
    """Return the limit that the headers name, where all name the same."""
    if headers.limit is None:
        return None
    told = {read_whole(one.headers.get(headers.limit.lower(), "")) for one in answers}
    value = told.pop() if len(told) == 1 else None
    return value if value is not None and 1 <= value < _MOST_LIMIT else None


def _name(answers: Sequence[Said], family: str, part: str) -> str | None:
    return f"{family}{part}" if family and _on_all(answers, f"{family}{part}") else None


def _on_all(answers: Sequence[Said], name: str) -> bool:
    return bool(answers) and all(name.lower() in one.headers for one in answers)


def _are_pairs(answers: Sequence[Said]) -> bool:
    """Return whether `RateLimit` is written as in drafts 6 and 7, which name the limit in it."""
    items = [structured(one.headers["ratelimit"]) for one in answers]
    return all(item is not None and "limit" in item[0][1] for item in items)


def _reset(answers: Sequence[Said], family: str) -> tuple[str | None, ResetUnit]:
    """Return the reset header and its unit; what is written in no known form promises nothing."""
    name = _name(answers, family, "Reset")
    if name is None:
        return None, "epoch_seconds"
    texts = [one.headers[name.lower()] for one in answers]
    units = {unit_of(text) for text in texts}
    if None in units:
        return None, "epoch_seconds"
    unit = units.pop() if len(units) == 1 else None
    return name, "auto" if unit is None else unit
