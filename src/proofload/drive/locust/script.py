"""A Locust file as a script of our engine: each task of each user runs in a greenlet that gives way at every call."""

from __future__ import annotations

import ast
import runpy
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from proofload.core.errors import PlanError, Problem
from proofload.core.seeds import stream
from proofload.drive.locust.client import LocustClient
from proofload.drive.locust.names import PROVIDED, HttpUser, modules

_USER = "locust user"
_LOADED: dict[Path, tuple[type[HttpUser], ...]] = {}
_REMEDY = "see docs/howto/locust.md"
_PAUSE = "_proofload_pause"
_REFUSED = ("on_stop", "wait_function", "task_set")


@dataclass(frozen=True, slots=True)
class LocustScript:
    """The users of a Locust file. It can be pickled; the file is run once in each process."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> LocustScript:
        """Return the script of a file. Raises PlanError with all that is not supported in it; nothing was sent then."""
        _greenlet()
        script = cls(path.resolve())
        script.users()
        return script

    def users(self) -> tuple[type[HttpUser], ...]:
        """Return the classes of users that the file declares, each as often as its weight says."""
        if self.path not in _LOADED:
            _LOADED[self.path] = _load(self.path)
        return _LOADED[self.path]

    @property
    def host(self) -> str:
        """The server that the first class with one names, or nothing."""
        return next((one.host for one in self.users() if one.host), "")

    def __call__(self, user: Any) -> Coroutine[Any, Any, None]:
        """Begin an iteration: one task, and the wait after it."""
        return self._iterate(user)

    async def _iterate(self, user: Any) -> None:
        one = user.state.get(_USER)
        if one is None:
            classes = self.users()
            one = classes[user.index % len(classes)]()
            one.random = stream(user.runner.host.seed, "locust", user.number)
            one.client = LocustClient(user, urlsplit(one.host or "").path, _wait_for)
            await _in_greenlet(one.on_start, user.pause)
            # A user whose start failed starts again; its tasks rest on what it did.
            user.state[_USER] = one
        tasks = one.weighted()
        (chosen,) = one.random.choices([each for each, _ in tasks], [weight for _, weight in tasks])
        await _in_greenlet(lambda: chosen(one), user.pause)
        wait = one.wait_time
        seconds = wait() if callable(wait) else wait
        if seconds:
            await user.pause(float(seconds))


def _greenlet() -> Any:
    try:
        import greenlet
    except ImportError as error:
        raise PlanError(
            [Problem("--locustfile", "no greenlet here", "the extra 'locust'", "pip install 'proofload[locust]'")]
        ) from error
    return greenlet


def _wait_for(awaited: Awaitable[Any]) -> Any:
    """Give way, from inside a greenlet, until the awaited thing is there; return it."""
    return _greenlet().getcurrent().parent.switch(awaited)


def _sleep(seconds: float) -> None:
    """Sleep as `time.sleep` does, but let the other users go on meanwhile."""
    pause = getattr(_greenlet().getcurrent(), _PAUSE, None)
    if pause is None:
        # Not in a task: while the file is loaded, or in a module that it imports.
        time.sleep(seconds)
    elif seconds < 0:
        raise ValueError("sleep length must be non-negative")
    else:
        _wait_for(pause(seconds))


def _cooperative_time() -> ModuleType:
    """Return the module `time` whose `sleep` gives way."""
    made = ModuleType("time", time.__doc__)
    made.__dict__.update({**vars(time), "sleep": _sleep})
    return made


async def _in_greenlet(function: Callable[[], Any], pause: Callable[[float], Awaitable[None]]) -> None:
    """Run a function that seems to block, and await in its place what it waits for."""
    child = _greenlet().greenlet(function)
    setattr(child, _PAUSE, pause)
    asked = child.switch()
    while not child.dead:
        try:
            there = await asked
        except BaseException as error:  # noqa: BLE001 -- it is handed on, not kept
            # The end of the run reaches the function as an exception at its call, and comes back from there.
            asked = child.throw(error)
        else:
            asked = child.switch(there)


def _load(path: Path) -> tuple[type[HttpUser], ...]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise PlanError([Problem(str(path), str(error), "a Locust file", _REMEDY)]) from error
    if problems := [*_unsupported(tree, path)]:
        raise PlanError(problems)
    stand_ins = {**modules(), "time": _cooperative_time()}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        content = runpy.run_path(str(path), run_name="proofload_locustfile")
    except Exception as error:  # whatever the file does wrong is the file's fault, and is said
        got = f"{type(error).__name__}: {error}"
        raise PlanError(
            [Problem(str(path), got, "a file that can be run, with imports that are there", _REMEDY)]
        ) from error
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    found = [one for one in content.values() if isinstance(one, type) and issubclass(one, HttpUser)]
    own = [one for one in found if one not in PROVIDED.values() and not one.__dict__.get("abstract") and one.weight > 0]
    idle = [
        Problem(f"{path} class {one.__name__}", "no task", "a method with @task") for one in own if not one.weighted()
    ]
    if idle or not own:
        raise PlanError(idle or [Problem(str(path), "no user", "a class of HttpUser or FastHttpUser", _REMEDY)])
    return tuple(one for one in own for _ in range(one.weight))


def _unsupported(tree: ast.Module, path: Path) -> Iterator[Problem]:
    """Yield what the file uses of Locust and we don't have, each with its line."""
    known = ", ".join(sorted(PROVIDED))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "locust":
            for name in node.names:
                if name.name not in PROVIDED:
                    yield Problem(f"{path}:{node.lineno}", f"{name.name} of {node.module}", f"one of {known}", _REMEDY)
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "locust":
                    yield Problem(f"{path}:{node.lineno}", f"import {name.name}", "from locust import …", _REMEDY)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name in _REFUSED:
                    yield Problem(f"{path}:{inner.lineno}", inner.name, "on_start and tasks; it would not run", _REMEDY)
                if isinstance(inner, ast.AsyncFunctionDef):
                    yield Problem(f"{path}:{inner.lineno}", f"async def {inner.name}", "def, as Locust has it", _REMEDY)
