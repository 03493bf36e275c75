"""Several generator processes: their union is the plan, they act at one instant, and one that dies is missed."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uvloop

from proofload.core.errors import PlanError, SafetyError
from proofload.drive.distributed.fleet import Fleet
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.script import FileScript
from proofload.plan.arrivals import arrival_blocks
from proofload.plan.operation import Operation
from proofload.plan.workload import (
    AnyWorkload,
    Burst,
    Ceilings,
    ConstantRate,
    ConstantUsers,
    PoissonArrivals,
    SharedIterations,
)
from proofload.record.delivery import Delivery
from proofload.record.exchange import Ending
from proofload.record.history import History

pytestmark = pytest.mark.xdist_group("fleet")

MS = 1_000_000
READ = Operation(path="/read")


def run(
    *workloads: AnyWorkload,
    processes: int = 2,
    meanwhile: Callable[[Fleet], None] | None = None,
    after: int = 20,
    url: str = "",
    **options: object,
) -> tuple[History, Delivery, list[bytes]]:
    """Run a fleet against a server in this process; `meanwhile` is called once `after` requests have come."""

    async def main() -> tuple[History, Delivery, list[bytes]]:
        lines: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    lines.append(head)
                    if meanwhile is not None and len(lines) == after:
                        meanwhile(fleet)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-N: 7\r\n\r\nok")
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=500)
        endpoint = Endpoint.of(url or f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        fleet = Fleet(processes, endpoint, {"read": READ}, **options)
        try:
            await asyncio.wait_for(fleet.run(*workloads), 60)
            return fleet.history(), fleet.delivery(), lines
        finally:
            fleet.close()
            server.close()
            await server.wait_closed()

    return uvloop.run(main())


def test_the_union_of_the_shares_is_the_plan_to_the_nanosecond() -> None:
    even = ConstantRate(name="even", run="read", rate=333, for_ns=300 * MS)
    poisson = PoissonArrivals.at(300, 300 * MS, name="poisson", run="read")
    closed = SharedIterations(name="closed", run="read", users=3, iterations=50)
    burst = Burst(name="burst", run="read", n=41, start_after_ns=100 * MS)
    history, delivery, lines = run(even, poisson, closed, burst, processes=3, seed=11, keep_headers=["X-N"])
    assert len(lines) == len(history) == delivery.planned
    assert history.counts()[Ending.ANSWERED] == len(history)
    assert history.frame["request_id"].n_unique() == len(history)
    assert set(history.header("x-n")) == {"7"}
    # The plan begins with the even arrivals, whose first is due at 0.
    intended = history.numbers("intended_ns")
    start_ns = intended[history.of_workloads("even")].min()
    for load in (even, poisson):
        planned = np.concatenate(list(arrival_blocks(load, 11)))
        assert (np.sort(intended[history.of_workloads(load.name)]) - start_ns).tolist() == planned.tolist()
    assert len(history.of_workloads("closed")) == 50
    released = history.of_workloads("burst")
    assert len(released) == 41
    assert len(set(intended[released])) == 1
    burst_delivery = delivery.workload("burst")
    assert burst_delivery is not None
    assert burst_delivery.opened == 41
    sent = history.numbers("sent_ns")[released]
    assert burst_delivery.skew_ns == sent.max() - sent.min()
    assert len(delivery.generators) == 3


def test_a_script_from_a_file_runs_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text("async def shopper(user):\n    answer = await user.get('/cart')\n    user.check('ok', answer.ok)\n")
    load = SharedIterations(name="w", run=FileScript.of(f"{path}:shopper"), users=4, iterations=10)
    history, delivery, _ = run(load)
    assert len(history) == 10
    assert delivery.checks == {"ok": (10, 0)}
    with pytest.raises(PlanError):
        FileScript.of(f"{path}:nobody")


def _kill_one(fleet: Fleet) -> None:
    pid = fleet._members[0].generator._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_generator_that_is_killed_is_missed_and_nothing_hangs_and_the_counts_close() -> None:
    load = ConstantRate(name="w", run="read", rate=400, for_ns=500 * MS)
    late = Burst(name="late", run="read", n=6, start_after_ns=600 * MS)
    history, delivery, lines = run(load, late, meanwhile=_kill_one)
    assert delivery.bottleneck
    assert any("generator 0 died: killed by signal 9" in reason for reason in delivery.reasons)
    steady = delivery.workload("w")
    assert steady is not None
    assert steady.planned == 200
    assert 0 < steady.unmade < 100
    assert steady.answered + steady.not_sent + steady.unknown + steady.dropped + steady.unmade == 200
    assert sum(history.counts().values()) == len(history)
    assert len(history.of_workloads("late")) == 3
    sent_ids = {line.split(b"X-Request-ID: ")[1].split(b"\r\n")[0].decode() for line in lines}
    assert sent_ids <= set(history.frame["request_id"].to_list())


def test_a_stop_reaches_every_process_and_the_counts_close() -> None:
    load = ConstantRate(name="w", run="read", rate=300, for_ns=60_000 * MS)
    history, delivery, _ = run(load, meanwhile=lambda fleet: fleet.stop(reason="enough"))
    one = delivery.workload("w")
    assert one is not None
    assert delivery.stopped
    assert "enough" in delivery.reasons
    assert one.planned == 18_000
    assert one.unmade == 18_000 - len(history)


def test_what_a_generator_refuses_the_fleet_refuses() -> None:
    with pytest.raises(SafetyError):
        run(ConstantUsers(name="w", run="read", users=2, for_ns=MS), url="http://192.0.2.1/")
    with pytest.raises(PlanError, match="max_users"):
        run(ConstantRate(name="w", run="read", rate=1, for_ns=MS, max_users=1))


def test_ceilings_are_shared_out() -> None:
    load = ConstantUsers(name="w", run="read", users=4, for_ns=400 * MS)
    history, _, lines = run(load, ceilings=Ceilings(total_requests=31))
    assert len(history) == len(lines) == 31


def test_vetting_that_only_the_parent_can_do_goes_to_all_members() -> None:
    asked: list[str] = []
    history, _, _ = run(SharedIterations(name="w", run="read", users=2, iterations=6), vet=asked.append)
    assert len(history) == 6
    assert asked == ["127.0.0.1"]
