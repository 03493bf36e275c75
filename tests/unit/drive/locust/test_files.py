"""Locust files are read whole or refused whole; waits and weights are as declared."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from proofload.core.errors import PlanError
from proofload.drive.locust import LocustScript
from proofload.drive.locust.names import HttpUser, between, constant, task

TASK = "    @task\n    def t(self):\n        pass\n"


def script(folder: Path, text: str) -> LocustScript:
    path = folder / "locustfile.py"
    path.write_text(text, encoding="utf-8")
    return LocustScript.of(path)


def test_classes_come_as_often_as_their_weights_say(tmp_path: Path) -> None:
    found = script(
        tmp_path,
        "from locust import FastHttpUser, HttpUser, task\n"
        f"class Base(HttpUser):\n    abstract = True\n{TASK}"
        "class One(Base):\n    weight = 2\n    host = 'http://127.0.0.1:8080/api'\n"
        f"class Two(FastHttpUser):\n{TASK}",
    )
    assert [one.__name__ for one in found.users()] == ["One", "One", "Two"]
    assert found.host == "http://127.0.0.1:8080/api"
    assert "locust" not in sys.modules or sys.modules["locust"].__spec__ is not None


def test_tasks_are_marked_methods_and_those_listed(tmp_path: Path) -> None:
    class One(HttpUser):
        tasks = {print: 5}  # noqa: RUF012 -- as Locust files write it

        @task
        def often(self) -> None: ...

        @task(3)
        def oftener(self) -> None: ...

    assert sorted(weight for _, weight in One().weighted()) == [1, 3, 5]


def test_waits_lie_where_they_should() -> None:
    user = HttpUser()
    user.random = random.Random(1)
    assert all(1 <= between(1, 2)(user) <= 2 for _ in range(50))
    assert constant(3)(user) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("from locust import TaskSet, HttpUser, SequentialTaskSet\n", ["TaskSet", "SequentialTaskSet", ":1"]),
        ("import locust\n", ["import locust"]),
        (
            f"from locust import HttpUser, task\nclass A(HttpUser):\n    def on_stop(self): ...\n{TASK}",
            ["on_stop", ":3"],
        ),
        ("1/0\n", ["ZeroDivisionError"]),
        ("import nothing_of_that_name\n", ["nothing_of_that_name"]),
        ("from locust import HttpUser\nclass A(HttpUser): ...\n", ["no task"]),
        ("", ["no user"]),
    ],
)
def test_what_cannot_run_is_refused_with_its_place(tmp_path: Path, text: str, told: list[str]) -> None:
    with pytest.raises(PlanError) as refused:
        script(tmp_path, text)
    assert all(part in str(refused.value) for part in told), refused.value
