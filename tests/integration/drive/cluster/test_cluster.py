"""Generators on the nodes of a real Ray cluster: one plan, one start, one history, and nothing sent twice."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from tests.integration.drive.cluster.answering import answering
from tests.integration.drive.cluster.conftest import FAR, HEAD, SKEW_S
from tests.integration.drive.cluster.raylets import Raylets

from proofload.core.errors import PlanError, SafetyError
from proofload.drive.distributed.cluster import RayNodes
from proofload.drive.distributed.fleet import Fleet
from proofload.drive.engine import VettedOnly
from proofload.drive.http.endpoint import Endpoint
from proofload.plan.operation import Operation
from proofload.plan.workload import AnyWorkload, Burst, ConstantRate, SharedIterations
from proofload.record.delivery import Delivery
from proofload.record.history import History

pytestmark = [pytest.mark.slow, pytest.mark.alone]

MS = 1_000_000
READ = Operation(path="/read")
Seen = list[tuple[str, str]]


def run(
    cluster: Raylets,
    *workloads: AnyWorkload,
    processes: int | None = None,
    host: str = HEAD,
    meanwhile: Callable[[Fleet], None] | None = None,
    after: int = 20,
) -> tuple[History, Delivery, Seen]:
    """Run workloads from the cluster against a server in this process; it notes who came with which request id."""

    async def main() -> tuple[History, Delivery, Seen]:
        seen: Seen = []

        def came(peer: str, request_id: str) -> None:
            seen.append((peer, request_id))
            if meanwhile is not None and len(seen) == after:
                meanwhile(fleet)

        async with answering(host, came) as url:
            nodes = RayNodes(cluster.address, processes)
            fleet = Fleet(
                nodes.processes, Endpoint.of(url), {"read": READ}, places=nodes, vet=VettedOnly(frozenset([HEAD])),
                keep_headers=("x-n",),
            )  # fmt: skip
            try:
                await asyncio.wait_for(fleet.run(*workloads), 90)
                return fleet.history(), fleet.delivery(), seen
            finally:
                fleet.close()

    return uvloop.run(main())


def test_any_number_of_generators_sends_the_same_plan_from_the_addresses_of_its_nodes(cluster: Raylets) -> None:
    counts = []
    for processes in (1, 2, 4):
        history, delivery, seen = run(
            cluster,
            ConstantRate(name="steady", run="read", rate=300, for_ns=700 * MS),
            SharedIterations(name="some", run="read", users=8, iterations=83),
            Burst(name="burst", run="read", n=16, start_after_ns=300 * MS),
            processes=processes,
        )
        assert all("late" in reason for reason in delivery.reasons)  # a busy machine is no lost generator
        counts.append({one.name: (one.planned, one.sent, one.answered) for one in delivery.workloads})
        ids = history.frame["request_id"].to_list()
        assert sorted(ids) == sorted(request_id for _, request_id in seen)
        assert len(set(ids)) == len(ids) == 210 + 83 + 16
        assert history.frame["header:x-n"].null_count() == 0
        # Each row says which address it came from: the target counts them apart.
        assert Counter(history.frame["source"].cast(str).to_list()) == Counter(peer for peer, _ in seen)
        if processes > 1:
            assert {peer for peer, _ in seen} == {HEAD, FAR}
    assert counts[0] == counts[1] == counts[2]


def test_a_node_with_another_clock_starts_with_the_others_and_its_times_are_brought_to_ours(cluster: Raylets) -> None:
    history, delivery, _ = run(
        cluster,
        ConstantRate(name="steady", run="read", rate=200, for_ns=600 * MS),
        Burst(name="burst", run="read", n=8, start_after_ns=200 * MS),
        processes=2,
    )
    offsets = sorted(one.clock_offset_ns for one in delivery.generators)
    assert abs(offsets[0]) < 50 * MS
    assert abs(offsets[1] - SKEW_S * 1_000 * MS) < 50 * MS
    for one in delivery.generators:
        assert 0 < one.clock_uncertainty_ns < 50 * MS
        assert one.where
    assert (history.frame["clock_uncertainty_ns"] > 0).all()
    sent = history.numbers("sent_ns")
    assert sent.max() - sent.min() < 30_000 * MS  # one time line, not two that lie 5,000 s apart
    burst = delivery.workload("burst")
    assert burst is not None
    assert burst.skew_ns is not None
    assert burst.skew_ns < 5_000 * MS


def test_a_stop_reaches_every_node_within_two_seconds(cluster: Raylets) -> None:
    at: list[float] = []

    def stop(fleet: Fleet) -> None:
        at.append(time.monotonic())
        fleet.stop(reason="enough")

    load = ConstantRate(name="steady", run="read", rate=100, for_ns=60_000 * MS)
    history, delivery, seen = run(cluster, load, processes=4, meanwhile=stop)
    assert delivery.stopped
    assert "enough" in delivery.reasons
    after_ns = history.numbers("sent_ns").max() - history.numbers("sent_ns").min()
    assert after_ns < 2_500 * MS
    assert len(seen) == len(history) < 400


def test_a_loopback_target_is_no_target_for_other_machines(cluster: Raylets) -> None:
    with pytest.raises(SafetyError, match="that machine's own"):
        run(cluster, ConstantRate(name="w", run="read", rate=10, for_ns=100 * MS), host="127.0.0.1")


def test_more_generators_than_cores_are_refused(cluster: Raylets) -> None:
    with pytest.raises(PlanError, match="one for each free core"):
        RayNodes(cluster.address, 99)


def test_the_command_sends_from_a_cluster(cluster: Raylets, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as serving:
        try:
            assert serving.stdout is not None
            port = serving.stdout.readline().split(" port ")[1].split()[0]
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "proofload", "load", f"http://127.0.0.1:{port}/"),
                    *("--cluster", cluster.address, "--processes", "1", "--users", "2", "--requests", "40"),
                    *("--report", "report.json"),
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=90,
            )
        finally:
            serving.kill()
    assert done.returncode == 0, done.stderr
    assert "1 generators on 1 nodes" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["delivery"]["answered"] == 40


# Last: Ray takes a while to see that a node is gone, and would place generators on it.
def test_a_raylet_that_is_killed_takes_its_share_of_the_load_along_and_that_is_said(cluster: Raylets) -> None:
    doomed = cluster.join(HEAD, cpus=1)
    number = cluster.nodes.index(doomed)
    load = ConstantRate(name="steady", run="read", rate=200, for_ns=3_000 * MS)
    history, delivery, seen = run(cluster, load, meanwhile=lambda _: cluster.kill_raylet(number), after=100)
    steady = delivery.workload("steady")
    assert steady is not None
    assert delivery.bottleneck  # nothing that rests on it can be certain
    (lost,) = [one for one in delivery.generators if one.died]
    assert any("was lost with its share of the load: 1 of 5 generators" in reason for reason in delivery.reasons)
    assert steady.planned == 600
    assert 0 < steady.unmade < 120  # only its own share, and nobody sent that in its place
    sent_ids = [request_id for _, request_id in seen]
    assert len(set(sent_ids)) == len(sent_ids)
    # What it had done up to the last half second or so has come home.
    assert lost.rows > 0
    assert len(history) >= 600 - 120
