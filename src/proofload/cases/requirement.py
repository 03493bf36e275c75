"""What a case needs of a target: found once in its declaration, or named where it is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from proofload.plan.target import Target

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a target can't be put to a case: the reason that is printed with SKIPPED."""

    reason: str


@dataclass(frozen=True, slots=True)
class Requirement(Generic[T]):
    """Something that a target must declare before a case can run, and how to find it there.

    `Requirement("rate limit", "policies.rate_limit", gateway_limit)`: what is found is handed to the case's two
    functions, so neither of them looks for it again.
    """

    name: str
    """What is needed, as a person says it."""
    declare: str
    """The keys of the target file that declare it; empty where nothing is needed."""
    find: Callable[[Target], T | Missing]

    def __and__(self, other: Requirement[U]) -> Requirement[tuple[T, U]]:
        """Return the requirement of both, which finds a pair; the first that is missing is named."""

        def both(target: Target) -> tuple[T, U] | Missing:
            first = self.find(target)
            if isinstance(first, Missing):
                return first
            second = other.find(target)
            return second if isinstance(second, Missing) else (first, second)

        declare = ", ".join(one for one in (self.declare, other.declare) if one)
        return Requirement(f"{self.name}; {other.name}", declare, both)

    def needing(self, *others: Requirement[Any]) -> Requirement[T]:
        """Return the requirement of all, which finds what this one finds."""

        def find(target: Target) -> T | Missing:
            found = self.find(target)
            if isinstance(found, Missing):
                return found
            lacking = (one for other in others if isinstance(one := other.find(target), Missing))
            return next(lacking, found)

        every = (self, *others)
        declare = ", ".join(one.declare for one in every if one.declare)
        return Requirement("; ".join(one.name for one in every), declare, find)


NOTHING: Requirement[Target] = Requirement("any target", "", lambda target: target)
"""Needs nothing beyond the target itself, which is what it finds."""


def declared(*paths: str) -> Requirement[Target]:
    """Return the requirement that each key path, such as `operations.search`, is declared; it finds the target.

    >>> declared("operations.search", "policies.rate_limit").declare
    'operations.search, policies.rate_limit'
    """

    def find(target: Target) -> Target | Missing:
        for path in paths:
            value: object = target
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
            if not value:
                what = path.rpartition(".")[2].replace("_", " ")
                return Missing(f"the target declares no {what} ({path})")
        return target

    return Requirement(", ".join(paths), ", ".join(paths), find)
