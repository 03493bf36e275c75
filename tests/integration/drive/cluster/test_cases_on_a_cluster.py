"""Cases whose load the nodes of a real cluster send: rows on our time line, and no verdict where a share was lost."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from tests.e2e.cli import decided, proofload
from tests.integration.drive.cluster.answering import answering
from tests.integration.drive.cluster.conftest import FAR, HEAD
from tests.integration.drive.cluster.raylets import Raylets

from proofload.core.clock import SystemClock
from proofload.core.errors import UnfitEngineError, UnfitTargetError
from proofload.drive.distributed.cluster import RayNodes
from proofload.drive.distributed.cluster.engine import Cluster, ClusterEngine
from proofload.drive.engine import VettedOnly
from proofload.drive.http.endpoint import Endpoint
from proofload.plan.operation import Operation
from proofload.plan.workload import AnyWorkload, Burst, ConstantRate, SharedIterations

pytestmark = [pytest.mark.slow, pytest.mark.alone]

MS = 1_000_000
OPERATIONS = {"read": Operation(path="/read", keep_body=True)}
Seen = dict[str, tuple[str, int]]


def drive(
    cluster: Raylets,
    *calls: tuple[AnyWorkload, ...],
    processes: int = 4,
    meanwhile: Callable[[ClusterEngine], None] | None = None,
) -> tuple[ClusterEngine, Seen]:
    """Make calls of one engine, one after the other; return it, and who sent each request id and when it was seen."""

    async def main() -> tuple[ClusterEngine, Seen]:
        seen: Seen = {}
        clock = SystemClock()

        def came(peer: str, request_id: str) -> None:
            seen[request_id] = peer, clock.now_ns()
            if meanwhile is not None and len(seen) == 20:
                meanwhile(engine)

        async with answering(HEAD, came) as url:
            nodes = Cluster(RayNodes(cluster.address, processes))
            engine = ClusterEngine(
                Endpoint.of(url), OPERATIONS, cluster=nodes, vet=VettedOnly(frozenset([HEAD])), keep_headers=["x-n"]
            )
            try:
                for call in calls:
                    await asyncio.wait_for(engine.run(*call), 90)
            finally:
                nodes.end()
        return engine, seen

    return uvloop.run(main())


def test_what_the_target_saw_lies_inside_every_rows_interval_whatever_a_nodes_clock_says(cluster: Raylets) -> None:
    engine, seen = drive(
        cluster,
        (SharedIterations(name="some", run="read", users=8, iterations=60), Burst(name="burst", run="read", n=8)),
        (ConstantRate(name="steady", run="read", rate=100, for_ns=300 * MS),),
    )
    rows = list(engine.history())
    assert {row.request_id for row in rows} == set(seen)
    assert len(rows) == len(seen) == 60 + 8 + 30
    for row in rows:
        peer, at_ns = seen[row.request_id]
        assert row.source == peer
        # Four generators on three nodes, one of them 5,000 s ahead: its doubt is part of the interval.
        assert row.sent_ns <= at_ns <= row.done_ns
        assert (row.headers["x-n"], row.body) == ("7", b"ok")
    assert {row.source for row in rows} == {HEAD, FAR}
    told = {one.name: one.answered for one in engine.delivery().workloads}
    assert told == {"some": 60, "burst": 8, "steady": 30}
    assert len(engine.delivery().generators) == 8
    assert engine.progress().answered == 98


def test_a_script_that_lives_here_alone_is_refused_and_nothing_is_sent(cluster: Raylets) -> None:
    noted: list[int] = []

    async def script(user: object) -> None:
        noted.append(1)

    with pytest.raises(UnfitEngineError, match="another machine"):
        drive(cluster, (SharedIterations(name="w", run=script, users=1, iterations=1),), processes=1)
    assert not noted


def test_a_generator_that_is_lost_leaves_no_verdict_to_rest_on_the_others(cluster: Raylets) -> None:
    engines: list[ClusterEngine] = []

    def kill_one(engine: ClusterEngine) -> None:
        engines.append(engine)
        doomed = engine._running[0].fleet._members[1].generator  # type: ignore[attr-defined]
        doomed._ray.kill(doomed._actor, no_restart=True)

    load = ConstantRate(name="steady", run="read", rate=100, for_ns=2_000 * MS)
    with pytest.raises(UnfitTargetError, match="was lost with its share of the load: 1 of 2 generators"):
        drive(cluster, (load,), processes=2, meanwhile=kill_one)
    (engine,) = engines
    # What was seen is kept, and says of itself that it is not the whole.
    assert 20 <= len(engine.history()) < 200
    assert engine.delivery().bottleneck


def test_a_target_that_is_every_machines_own_is_refused_before_anything_is_sent(
    cluster: Raylets, tmp_path: Path
) -> None:
    (tmp_path / "proofload.yaml").write_text(
        "version: 1\naddress: http://127.0.0.1:9\noperations: {read: {path: /}}\npolicies: {latency: {}}\n"
    )
    ran = proofload("run", "TC-LATENCY-001", "--cluster", cluster.address, cwd=tmp_path)
    assert ran.status == 14, ran.out + ran.err
    assert "that machine's own" in ran.err


def test_cases_run_on_a_cluster_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray leaves a token in the home of whoever begins a cluster.
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = decided("demo", "TC-RL-001", "TC-RL-004", "--cluster", "local", "--window", "3s", "--json", cwd=tmp_path)
    assert ran.outcomes() == {"TC-RL-001": "SKIPPED", "TC-RL-004": "PASS"}, ran.out + ran.err
    again = proofload("judge", ran.json["bundle"], "--json", cwd=tmp_path)
    assert again.outcomes() == ran.outcomes()
