"""Locust files run on our engine against a real server, and what can't be run is refused before anything is sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import polars as pl
import pytest
from tests.e2e.cli import proofload
from tests.listening import Listener

EXAMPLE = Path(__file__).parents[3] / "examples" / "locustfile.py"


@pytest.fixture
def shop() -> Iterator[tuple[str, Counter[str]]]:
    """A shop that wants its token and its cookie back, and fails every third order in the body of a 201."""
    seen: Counter[str] = Counter()

    class Shop(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen[f"GET {self.path}"] += 1
            known = self.headers["Authorization"] == "Bearer t1" and self.headers["Cookie"] == "sid=s1"
            self.answer(200 if known else 401, {})

        def do_POST(self) -> None:
            seen[f"POST {self.path}"] += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/login":
                self.answer(200 if json.loads(body)["name"] == "load_test_user_1" else 400, {"token": "t1"})
            else:
                self.answer(201, {"done": seen["POST /orders"] % 3 != 0})

        def answer(self, status: int, content: object) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Set-Cookie", "sid=s1; Path=/; HttpOnly")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with Listener(Shop) as listener:
        yield listener.url, seen


def test_the_example_logs_in_once_a_user_and_keeps_weights_names_and_checks(
    tmp_path: Path, shop: tuple[str, Counter[str]]
) -> None:
    address, seen = shop
    text = EXAMPLE.read_text(encoding="utf-8").replace("between(0.1, 0.5)", "between(0, 0.001)")
    (tmp_path / "locustfile.py").write_text(
        text.replace("class Shopper(HttpUser):", f"class Shopper(HttpUser):\n    host = {address!r}")
    )
    ran = proofload(
        "load", "--locustfile", "locustfile.py", "--users", "4", "-n", "400", "--fail-if", "checks < 90%",
        "--history", "rows.parquet", "--seed", "7", cwd=tmp_path,
    )  # fmt: skip
    assert ran.status == 10, ran.out + ran.err
    assert "checks < 90%" in ran.out
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    sent = Counter(rows["operation"].cast(pl.String).to_list())
    assert sent["POST /login"] == seen["POST /login"] == 4
    assert sent["/items/[id]"] + sent["POST /orders"] == 400
    assert sent["/items/[id]"] == seen["GET /items/7"] > 2 * sent["POST /orders"]
    assert set(rows.filter(pl.col("operation") == "/items/[id]")["status"].to_list()) == {200}


def test_all_that_is_not_supported_is_told_at_once_and_nothing_is_sent(
    tmp_path: Path, shop: tuple[str, Counter[str]]
) -> None:
    address, seen = shop
    (tmp_path / "locustfile.py").write_text(
        "from locust import HttpUser, TaskSet, events\n"
        "class One(HttpUser):\n    def on_stop(self):\n        pass\n    async def t(self):\n        pass\n"
    )
    ran = proofload("load", "--locustfile", "locustfile.py", address, cwd=tmp_path)
    assert ran.status == 12, ran.err
    for told in (":1: ", "TaskSet", "events", "on_stop", "async def t", "docs/howto/locust.md"):
        assert told in ran.err
    assert not seen


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("from locust import HttpUser\nclass One(HttpUser):\n    pass\n", "no task"),
        ("x = 1\n", "no user"),
        ("def (", "a Locust file"),
        (
            "from locust import HttpUser, task\nclass One(HttpUser):\n    @task\n    def t(self):\n        pass\n",
            "host",
        ),
    ],
)
def test_a_file_without_users_tasks_or_a_server_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "locustfile.py").write_text(text)
    ran = proofload("load", "--locustfile", "locustfile.py", cwd=tmp_path)
    assert ran.status == 12, ran.err
    assert told in ran.err


def test_another_server_is_never_called(tmp_path: Path, shop: tuple[str, Counter[str]]) -> None:
    address, seen = shop
    (tmp_path / "locustfile.py").write_text(
        "from locust import FastHttpUser, task\nclass One(FastHttpUser):\n    @task\n    def t(self):\n"
        "        self.client.get('http://192.0.2.1/x')\n"
    )
    ran = proofload("load", "--locustfile", "locustfile.py", address, "-n", "5", cwd=tmp_path)
    assert ran.status == 11
    assert "192.0.2.1" in ran.out
    assert not seen


def test_the_path_of_the_host_goes_before_every_path(tmp_path: Path, shop: tuple[str, Counter[str]]) -> None:
    address, seen = shop
    (tmp_path / "locustfile.py").write_text(
        f"from locust import HttpUser, task\nclass One(HttpUser):\n    host = '{address}/v1/'\n    @task\n"
        f"    def t(self):\n        self.client.get('/x')\n        self.client.get('{address}/y')\n"
    )
    proofload("load", "--locustfile", "locustfile.py", "--users", "1", "-n", "2", cwd=tmp_path)
    assert seen == {"GET /v1/x": 2, "GET /y": 2}


def test_a_user_whose_start_failed_never_goes_on_to_its_tasks(tmp_path: Path, shop: tuple[str, Counter[str]]) -> None:
    address, seen = shop
    (tmp_path / "locustfile.py").write_text(
        "from locust import HttpUser, task\nclass One(HttpUser):\n    def on_start(self):\n"
        "        self.client.get('/start').raise_for_status()\n"
        "    @task\n    def t(self):\n        self.client.get('/task')\n"
    )
    ran = proofload("load", "--locustfile", "locustfile.py", address, "--users", "1", "-n", "3", cwd=tmp_path)
    assert seen == {"GET /start": 3}
    assert "ResponseError" in ran.out


def run_task(tmp_path: Path, url: str, task: str, *options: str) -> tuple[int, str]:
    """Run a file of one task, for each of five users; return the exit status and what was said."""
    (tmp_path / "locustfile.py").write_text(
        "import time\nfrom time import sleep\nfrom locust import HttpUser, task\n"
        f"class Visitor(HttpUser):\n    host = {url!r}\n    @task\n    def visit(self):\n{task}"
    )
    ran = proofload("load", "--locustfile", "locustfile.py", "--users", "5", "-n", "10", *options, cwd=tmp_path)
    return ran.status, ran.out + ran.err


def test_what_a_response_offers_can_be_used_in_a_with_block(tmp_path: Path, shop: tuple[str, Counter[str]]) -> None:
    task = """        with self.client.get("/items/1", catch_response=True) as r:
            told = (r.reason, r.url.endswith("/items/1"), r.request.method, r.cookies, list(r.iter_lines()), r.encoding)
            if told == ("Unauthorized", True, "GET", {"sid": "s1"}, [b"{}"], "utf-8") and r.elapsed.total_seconds() > 0:
                r.success()
            else:
                r.failure(repr(told))
"""
    status, said = run_task(tmp_path, shop[0], task, "--fail-if", "checks < 100%")
    assert status == 0, said


def test_an_attribute_that_is_missing_is_our_fault_and_named_with_its_line(
    tmp_path: Path, shop: tuple[str, Counter[str]]
) -> None:
    task = """        with self.client.get("/items/1", catch_response=True) as r:
            if r.apparent_encoding:
                r.success()
"""
    status, said = run_task(tmp_path, shop[0], task, "--fail-if", "checks < 100%")
    assert status == 11, said
    assert "locustfile.py:9 in visit: NotSupportedError: the attribute apparent_encoding of a response" in said
    assert "checks     " not in said


@pytest.mark.parametrize("call", ["time.sleep(0.5)", "sleep(0.5)"])
def test_a_task_that_sleeps_gives_way_to_the_others(tmp_path: Path, shop: tuple[str, Counter[str]], call: str) -> None:
    task = f"""        {call}
        self.client.get("/items/1")
"""
    status, said = run_task(tmp_path, shop[0], task, "--history", "rows.parquet")
    assert status == 0, said
    due = pl.read_parquet(tmp_path / "rows.parquet")["sent_ns"]
    # Ten sleeps of half a second one after the other would span 4.5 seconds; five users take two each.
    assert (due.max() - due.min()) < 2_500_000_000


def test_a_task_that_blocks_makes_latency_uncertain_and_never_the_targets(
    tmp_path: Path, shop: tuple[str, Counter[str]]
) -> None:
    task = """        self.client.get("/items/1")
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            pass
"""
    status, said = run_task(tmp_path, shop[0], task, "--fail-if", "max > 1ms")
    assert status == 11, said
    assert "the generator was blocked for" in " ".join(said.split())
