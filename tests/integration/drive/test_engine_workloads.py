"""The kinds of workload against a real socket server: how many rows, in which order, over which connections."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import polars as pl
import pytest
import uvloop

from proofload.core.errors import PlanError, SafetyError, TargetError, ToolError
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.user import Answer, User
from proofload.plan.operation import Operation
from proofload.plan.workload import (
    AnyWorkload,
    Burst,
    Ceilings,
    ConstantRate,
    ConstantUsers,
    PerUserIterations,
    PoissonArrivals,
    RampingRate,
    RampingUsers,
    Sequence,
    SharedIterations,
    Stage,
    Think,
)
from proofload.record.delivery import Delivery
from proofload.record.exchange import Ending, Fault
from proofload.record.history import History

MS = 1_000_000
READ = Operation(path="/read")
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: yes\r\n\r\nok"


class Server:
    """Answers every request alike and remembers what it was asked, and from where."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda _head: HELLO) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.peers: list[tuple[str, int]] = []
        self.busy = asyncio.Event()
        """Set once twenty requests have come."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                at = lower.find(b"content-length:")
                if at >= 0:
                    head += await reader.readexactly(int(lower[at + 15 : lower.find(b"\r", at)]))
                self.heads.append(head)
                if len(self.heads) >= 20:
                    self.busy.set()
                self.peers.append(writer.get_extra_info("peername"))
                writer.write(self.answer(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Endpoint]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1_000)
    try:
        yield Endpoint.of(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    finally:
        listening.close()
        await listening.wait_closed()


def run(*workloads: AnyWorkload, server: Server | None = None, **options: object) -> tuple[History, Delivery, Server]:
    server = server or Server()

    async def main() -> tuple[History, Delivery]:
        async with serving(server) as endpoint:
            engine = Engine(endpoint, {"read": READ}, **options)  # type: ignore[arg-type]
            await engine.run(*workloads)
            return engine.history(), engine.delivery()

    history, delivery = uvloop.run(main())
    counts = history.counts()
    assert sum(counts.values()) == len(history)
    assert delivery.planned == len(history) + sum(one.unmade for one in delivery.workloads)
    return history, delivery, server


def test_every_request_that_the_server_saw_is_a_row_with_its_request_id() -> None:
    history, _, server = run(
        ConstantUsers(name="users", run="read", users=3, for_ns=60 * MS, think=Think(MS, 2 * MS)),
        keep_headers=["X-Seen"],
    )
    seen = sorted(
        line.split(b": ")[1].decode()
        for head in server.heads
        for line in head.split(b"\r\n")
        if line.startswith(b"X-Request-ID")
    )
    assert len(seen) > 10
    assert seen == sorted(history.frame["request_id"].to_list())
    assert set(history.header("x-seen")) == {"yes"}
    assert history.counts()[Ending.ANSWERED] == len(history)
    for exchange in history:
        assert exchange.intended_ns <= exchange.sent_ns <= exchange.first_byte_ns <= exchange.done_ns
        assert exchange.bytes_in == len(HELLO)


@pytest.mark.parametrize(
    ("workload", "rows", "users"),
    [
        (SharedIterations(name="w", run="read", users=3, iterations=20), 20, 3),
        (PerUserIterations(name="w", run="read", users=3, iterations=7), 21, 3),
        (Sequence(name="w", run="read", n=12), 12, 1),
        (Burst(name="w", run="read", n=30), 30, 30),
        (Burst(name="w", run="read", n=30, connections=4), 30, 4),
        (ConstantRate(name="w", run="read", rate=400, for_ns=100 * MS), 40, None),
        (RampingRate(name="w", run="read", stages=(Stage(100 * MS, 600),)), 30, None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else None,
)
def test_a_plan_of_n_makes_n_rows(workload: AnyWorkload, rows: int, users: int | None) -> None:
    history, delivery, server = run(workload)
    assert len(history) == len(server.heads) == rows
    assert delivery.answered == rows
    if users is not None:
        assert history.frame["user"].n_unique() == users
        assert len(set(server.peers)) == users


def test_a_sequence_keeps_its_order_its_connection_and_its_source() -> None:
    history, _, server = run(Sequence(name="w", run="read", n=10, sources=("127.0.0.42",)))
    assert {peer[0] for peer in server.peers} == {"127.0.0.42"}
    assert len(set(server.peers)) == 1
    assert history.frame["source"].unique().to_list() == ["127.0.0.42"]
    done, sent = history.numbers("done_ns"), history.numbers("sent_ns")
    assert (sent[1:] >= done[:-1]).all()


def test_a_sequence_over_fresh_connections_opens_one_for_each() -> None:
    history, _, server = run(Sequence(name="w", run="read", n=5, fresh_connections=True))
    assert len(set(server.peers)) == 5
    assert history.frame["connection"].n_unique() == 5


def test_a_burst_is_intended_at_one_instant_and_sent_after_all_connections_stood_open() -> None:
    history, delivery, _ = run(Burst(name="w", run="read", n=25))
    assert history.frame["intended_ns"].n_unique() == 1
    burst = delivery.workload("w")
    assert burst is not None
    assert burst.opened == 25
    sent = history.numbers("sent_ns")
    assert burst.skew_ns == sent.max() - sent.min()


def test_ramping_users_come_and_go() -> None:
    history, _, _ = run(
        RampingUsers(
            name="w",
            run="read",
            stages=(Stage(200 * MS, 6), Stage(200 * MS, 0)),
            think=Think(MS, MS),
            graceful_ns=100 * MS,
        )
    )
    spans = history.frame.group_by("user").agg(
        pl.col("sent_ns").min().alias("first"), pl.col("sent_ns").max().alias("last")
    )
    spans = spans.sort("user")
    assert spans["first"].is_sorted()
    assert spans["user"].to_list() == list(range(6))
    # The last that came is the first that goes.
    assert spans["last"].to_list()[0] > spans["last"].to_list()[5]


def test_an_arrival_that_finds_no_user_free_is_a_dropped_row() -> None:
    gate = asyncio.Event()

    class Stuck(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await gate.wait()
            writer.close()

    async def main() -> History:
        async with serving(Stuck()) as endpoint:
            engine = Engine(endpoint, {"read": READ})
            load = ConstantRate(name="w", run="read", rate=200, for_ns=100 * MS, max_users=3, graceful_ns=20 * MS)
            await engine.run(load)
            gate.set()
            return engine.history()

    history = uvloop.run(main())
    counts = history.counts()
    assert len(history) == 20
    assert counts[Ending.DROPPED] == 17
    assert counts[Ending.UNKNOWN] == 3
    faults = history.frame.group_by("fault").len().sort("fault").rows()
    assert faults == [(int(Fault.NO_USER_FREE), 17), (int(Fault.STOPPED), 3)]


def test_a_script_gets_its_answers_and_what_it_raises_ends_that_iteration_only() -> None:
    bodies: list[bytes] = []

    async def script(user: User) -> None:
        answer: Answer = await user.post("/orders?x=1", json={"n": 1}, name="order", expect=200)
        bodies.append(answer.body)
        user.check("seen", answer.headers["x-seen"] == "yes")
        await user.pause(0.001)
        await asyncio.sleep(0.001)
        await user.get("read", headers={"X-Request-ID": "mine"})
        raise RuntimeError("as the script wants it")

    history, delivery, server = run(PerUserIterations(name="w", run=script, users=2, iterations=2, tag="blue"))
    assert bodies == [b"ok"] * 4
    assert history.frame["operation"].cast(pl.String).to_list().count("order") == 4
    assert history.frame["request_id"].to_list().count("mine") == 4
    assert history.frame["tag"].cast(pl.String).unique().to_list() == ["blue"]
    assert delivery.checks == {"seen": (4, 0)}
    (error,) = delivery.user_errors
    assert error.count == 4
    assert error.text == "RuntimeError: as the script wants it"
    assert "test_engine_workloads.py" in error.place
    assert sum(b'{"n":1}' in head for head in server.heads) == 4


def test_users_have_identities_tokens_and_data() -> None:
    operations = {"me": Operation(path="/u/${user.name}", auth="bearer"), "order": Operation(path="/o/${item}")}

    async def log_in(user: User) -> None:
        user.token = f"token-of-{user.identity['name']}"

    async def script(user: User) -> None:
        user.state.update(user.feed())
        await user.get("me")
        await user.get("order")

    server = Server()

    async def main() -> None:
        async with serving(server) as endpoint:
            engine = Engine(endpoint, operations)
            await engine.run(
                PerUserIterations(
                    name="w",
                    run=script,
                    prepare=log_in,
                    users=2,
                    iterations=1,
                    identities=[{"name": "a/b"}, {"name": "c"}],
                    data=[{"item": 1}, {"item": 2}],
                )
            )
            assert engine.delivery().user_errors == ()

    uvloop.run(main())
    lines = sorted(head.split(b" ")[1] for head in server.heads)
    assert lines == [b"/o/1", b"/o/2", b"/u/a%2Fb", b"/u/c"]
    assert sum(b"Authorization: Bearer token-of-a/b\r\n" in head for head in server.heads) == 1


def test_ceilings_hold_whatever_the_workload_asks() -> None:
    load = ConstantUsers(name="w", run="read", users=5, for_ns=400 * MS)
    history, delivery, server = run(load, ceilings=Ceilings(total_requests=50))
    assert len(server.heads) == len(history) == 50
    assert delivery.stopped
    assert "ceiling of 50 requests" in delivery.reasons[-1]
    history, _, _ = run(load, ceilings=Ceilings(rate_per_second=100))
    sent = history.numbers("sent_ns")
    assert len(sent) >= 100
    # In no second more than the ceiling and its 2 %.
    assert (sent[102:] - sent[:-102] >= 990 * MS).all()


def test_the_wrong_plan_and_the_wrong_target_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(PlanError, match="an operation"):
        run(Sequence(name="w", run="nonesuch", n=1))

    async def elsewhere(url: str) -> None:
        await Engine(Endpoint.of(url)).run(Sequence(name="w", run="/", n=1))

    with pytest.raises(SafetyError):
        uvloop.run(elsewhere("http://192.0.2.1/"))
    with pytest.raises(TargetError):
        uvloop.run(elsewhere("http://no-such-host.invalid/"))


def test_poisson_arrivals_are_the_same_for_the_same_seed() -> None:
    def offsets(seed: int) -> list[int]:
        load = PoissonArrivals.at(300, 80 * MS, name="w", run="read")
        history, _, _ = run(load, seed=seed)
        intended = history.numbers("intended_ns")
        return (intended - intended[0]).tolist()

    assert offsets(7) == offsets(7) != offsets(8)


def test_a_full_disk_ends_the_run_with_every_row_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _offset: int, _length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ToolError, match="No space left"):
        run(Sequence(name="w", run="read", n=5), spill=tmp_path, memory_rows=0)


def test_a_name_with_several_addresses_is_reached_where_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> History:
        async with serving(Server()) as endpoint:
            loop = asyncio.get_running_loop()
            both = [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", endpoint.port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", endpoint.port)),
            ]

            async def resolve(*_args: object, **_options: object) -> object:
                return both

            monkeypatch.setattr(type(loop), "getaddrinfo", resolve)
            engine = Engine(Endpoint.of(f"http://localhost:{endpoint.port}"), {"read": READ})
            await engine.run(Sequence(name="w", run="read", n=2))
            return engine.history()

    history = asyncio.run(main())
    assert history.counts()[Ending.ANSWERED] == 2
    assert history.frame["source"].to_list() == ["127.0.0.1"] * 2


def test_an_engine_may_run_again_and_its_rows_add_up() -> None:
    async def main() -> tuple[History, Delivery]:
        async with serving(Server()) as endpoint:
            engine = Engine(endpoint, {"read": READ})
            for _ in range(2):
                await engine.run(Sequence(name="w", run="read", n=3), Burst(name="b", run="read", n=2))
            return engine.history(), engine.delivery()

    history, delivery = uvloop.run(main())
    assert len(history) == 10
    assert [(one.name, one.answered) for one in delivery.workloads] == [("w", 6), ("b", 4)]
    assert history.frame["user"].n_unique() == 6


async def _stopped(stop: Callable[[Engine], Awaitable[None]]) -> tuple[History, Delivery]:
    server = Server()
    async with serving(server) as endpoint:
        engine = Engine(endpoint, {"read": READ})
        load = ConstantRate(name="w", run="read", rate=200, for_ns=60_000 * MS)
        task = asyncio.ensure_future(engine.run(load, ConstantUsers(name="c", run="read", users=2, for_ns=60_000 * MS)))
        await asyncio.wait_for(server.busy.wait(), 10)
        await stop(engine)
        if engine.delivery().stopped:
            await task
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return engine.history(), engine.delivery()


def test_counts_close_after_a_stop_and_the_unmade_arrivals_are_told() -> None:
    async def stop(engine: Engine) -> None:
        engine.stop()

    history, delivery = uvloop.run(_stopped(stop))
    open_load = delivery.workload("w")
    assert open_load is not None
    assert open_load.planned == 12_000
    assert open_load.unmade == 12_000 - len(history.of_workloads("w"))
    assert sum(history.counts().values()) == len(history)
    assert delivery.unknown == 0


def test_counts_close_after_a_cancellation() -> None:
    async def cancel(_engine: Engine) -> None:
        return

    history, delivery = uvloop.run(_stopped(cancel))
    assert sum(history.counts().values()) == len(history)
    assert delivery.sent + delivery.not_sent + delivery.dropped == len(history)


def test_the_users_of_an_open_workload_take_turns() -> None:
    sources = tuple(f"127.0.0.{number}" for number in range(60, 68))
    history, _, server = run(
        ConstantRate(name="w", run="read", rate=400, for_ns=100 * MS, sources=sources, max_users=8, warm_users=8)
    )
    assert len(history) == 40
    counts = [sum(peer[0] == source for peer in server.peers) for source in sources]
    # Were the last one to be free always the first to go, nearly all would come from one address.
    assert min(counts) >= 3, counts
