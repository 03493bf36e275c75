"""What a Locust file imports from `locust`, in our own words: users, tasks and waits."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from types import ModuleType
from typing import Any, ClassVar

_WEIGHT = "_proofload_weight"
Wait = Callable[["HttpUser"], float]


def task(weight: Any = 1) -> Any:
    """Mark a method as a task, `@task`, or as one that comes `weight` times as often, `@task(3)`."""
    if callable(weight):
        setattr(weight, _WEIGHT, 1)
        return weight

    def mark(function: Any) -> Any:
        setattr(function, _WEIGHT, weight)
        return function

    return mark


def between(least: float, most: float) -> Wait:
    """Return a wait of some time between two numbers of seconds."""
    return lambda user: user.random.uniform(least, most)


def constant(seconds: float) -> Wait:
    """Return a wait of always the same time."""
    return lambda _: seconds


class HttpUser:
    """A virtual user as Locust files declare it; its client sends over our engine."""

    host: ClassVar[str | None] = None
    weight: ClassVar[int] = 1
    abstract: ClassVar[bool] = False
    wait_time: Any = None
    tasks: ClassVar[Any] = ()
    client: Any = None
    random: Random

    def on_start(self) -> None:
        """Do what comes before the first task."""

    @classmethod
    def weighted(cls) -> list[tuple[Any, int]]:
        """Return the tasks with their weights: those of `tasks`, and the marked methods."""
        listed = cls.tasks
        found: list[tuple[Any, int]] = (
            list(listed.items()) if isinstance(listed, dict) else [(one, 1) for one in listed]
        )
        for name in dir(cls):
            member = getattr(cls, name)
            weight = getattr(member, _WEIGHT, 0)
            if weight:
                found.append((member, weight))
        return found


class FastHttpUser(HttpUser):
    """The same: our client is one and the same for both."""


PROVIDED = {"HttpUser": HttpUser, "FastHttpUser": FastHttpUser, "task": task, "between": between, "constant": constant}


def modules() -> dict[str, ModuleType]:
    """Return what stands for Locust's modules while a file is run."""
    made = {}
    for name in ("locust", "locust.contrib", "locust.contrib.fasthttp"):
        made[name] = ModuleType(name)
        for key, value in PROVIDED.items():
            setattr(made[name], key, value)
    return made
