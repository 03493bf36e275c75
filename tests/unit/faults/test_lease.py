"""A lease marks four moments, is proven by probes only, and undoes whatever happens."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proofload.core.clock import SystemClock
from proofload.faults.journal import Journal
from proofload.faults.lease import Lease, Patience, lease
from proofload.faults.recipe import FaultError
from proofload.record.fault_edge import Edge, spans

CLOCK = SystemClock()
SECOND = 1_000_000_000
PATIENCE = Patience(held_ns=SECOND // 10, mended_ns=SECOND // 10, interrupted_ns=SECOND // 20)


@dataclass
class Switch:
    """A thing that can be broken, and a driver for it that does as it is told to."""

    folder: Path
    broken: bool = False
    works: bool = True
    fail_apply: bool = False
    fail_undo: int = 0
    did: list[str] = field(default_factory=list)
    entries_at_apply: int = 0
    name: str = "switch"
    kinds: tuple[str, ...] = ("stop",)

    def undo_recipe(self, kind: str) -> dict[str, Any]:
        return {"steps": []}

    async def apply(self, kind: str) -> str:
        self.entries_at_apply = len(list(self.folder.glob("*.jsonl")))
        self.did.append("apply")
        if self.fail_apply:
            raise FaultError("it can't be broken")
        self.broken = self.works
        return "switched"

    async def undo(self, kind: str) -> str:
        self.did.append("undo")
        if self.fail_undo:
            self.fail_undo -= 1
            raise FaultError("it can't be mended")
        self.broken = False
        return "switched back"

    async def held(self) -> str | None:
        return "seen broken" if self.broken else None

    async def mended(self) -> str | None:
        return None if self.broken else "seen whole"


Opened = Callable[..., Any]


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path / "journal")


def leased(switch: Switch, **given: Any) -> Any:
    options = {"duration_ns": 60 * SECOND, "held": switch.held, "mended": switch.mended, "patience": PATIENCE, **given}
    return lease(switch, "stop", fault="stop", service="auth", clock=CLOCK, journal=Journal(switch.folder), **options)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await work()

    return asyncio.run(bounded())


def moments(held: Lease) -> list[tuple[Edge, bool]]:
    return [(edge.edge, edge.proven) for edge in held.edges]


PROVEN = [(Edge.APPLYING, False), (Edge.APPLIED, True), (Edge.UNDOING, False), (Edge.UNDONE, True)]


def test_the_four_moments_are_proven_and_the_remedy_lies_on_disk_while_it_holds(switch: Switch) -> None:
    async def work() -> Lease:
        async with leased(switch) as held:
            assert switch.broken
            (entry,) = switch.folder.glob("*.jsonl")
            assert json.loads(entry.read_text())["recipe"] == {"steps": []}
        return held

    held = run(work)
    assert moments(held) == PROVEN
    assert switch.entries_at_apply == 1
    assert list(switch.folder.iterdir()) == []
    (span,) = spans(held.edges)
    assert (span.held, span.mended) == (True, True)
    assert "seen broken" in held.edges[1].evidence


def test_a_fault_that_does_not_take_hold_is_not_proven(switch: Switch) -> None:
    switch.works = False

    async def work() -> Lease:
        async with leased(switch) as held:
            assert not held.proven
        return held

    held = run(work)
    (span,) = spans(held.edges)
    assert not span.held
    assert "never seen to hold" in held.edges[1].evidence


def test_a_fault_that_was_gone_before_its_end_is_not_proven(switch: Switch) -> None:
    async def work() -> Lease:
        async with leased(switch) as held:
            assert held.proven
            switch.broken = False
        return held

    held = run(work)
    assert not held.proven
    assert "gone before it was mended" in held.edges[1].evidence


def test_a_lease_ends_by_itself(switch: Switch) -> None:
    async def work() -> Lease:
        async with leased(switch, duration_ns=SECOND // 20) as held:
            await held.over.wait()
            assert not switch.broken
        return held

    assert moments(run(work)) == PROVEN
    assert switch.did == ["apply", "undo"]


def test_it_can_be_mended_before_its_time_and_only_once(switch: Switch) -> None:
    async def work() -> Lease:
        async with leased(switch) as held:
            await held.mend()
            assert not switch.broken
        return held

    assert moments(run(work)) == PROVEN
    assert switch.did == ["apply", "undo"]


def test_an_exception_in_the_block_mends(switch: Switch) -> None:
    async def work() -> None:
        async with leased(switch):
            raise ValueError("the case broke")

    with pytest.raises(ValueError, match="the case broke"):
        run(work)
    assert not switch.broken
    assert list(switch.folder.iterdir()) == []


@pytest.mark.parametrize("moment", ["preparing", "applying", "holding", "mending"])
def test_a_cancellation_at_any_moment_mends(switch: Switch, moment: str) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    apply, undo = switch.apply, switch.undo

    async def slow(then: Callable[[str], Awaitable[str]], at: str) -> str:
        if moment == at:
            reached.set()
            await go_on.wait()
        return await then("stop")

    switch.apply = lambda kind: slow(apply, "applying")  # type: ignore[method-assign]
    switch.undo = lambda kind: slow(undo, "mending")  # type: ignore[method-assign]

    async def case() -> None:
        if moment == "preparing":
            reached.set()
        async with leased(switch):
            if moment == "holding":
                reached.set()
                await asyncio.Event().wait()

    async def work() -> None:
        task = asyncio.create_task(case())
        await reached.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work)
    assert not switch.broken
    assert switch.did == ([] if moment == "preparing" else ["apply", "undo"])
    assert list(switch.folder.glob("*")) == []


def test_a_fault_that_fails_to_apply_is_undone_all_the_same(switch: Switch) -> None:
    switch.fail_apply = True

    async def work() -> None:
        async with leased(switch):
            raise AssertionError("the block must not be entered")

    with pytest.raises(FaultError, match="can't be broken"):
        run(work)
    assert switch.did == ["apply", "undo"]


def test_mending_is_tried_again(switch: Switch) -> None:
    switch.fail_undo = 1

    async def work() -> Lease:
        async with leased(switch) as held:
            pass
        return held

    assert moments(run(work)) == PROVEN


def test_what_can_t_be_mended_is_an_error_and_its_remedy_stays(switch: Switch) -> None:
    switch.fail_undo = 99

    async def work() -> list[Any]:
        kept: list[Any] = []
        with pytest.raises(FaultError, match="can't be mended"):
            async with leased(switch) as held:
                kept.append(held)
        return kept

    (held,) = run(work)
    assert moments(held)[-1] == (Edge.UNDONE, False)
    # The recipe is empty here: the watchdog, to whom it was handed over, had no trouble with it and said so.
    (entry,) = switch.folder.glob("*.jsonl")
    due = time.monotonic() + 20
    while '"by": "watchdog"' not in entry.read_text():
        assert time.monotonic() < due
        time.sleep(0.02)


def test_a_kind_that_the_driver_lacks_breaks_nothing(switch: Switch) -> None:
    async def work() -> None:
        async with lease(
            switch,
            "melt",
            fault="melt",
            service="auth",
            clock=CLOCK,
            journal=Journal(switch.folder),
            duration_ns=SECOND,
            held=switch.held,
            mended=switch.mended,
        ):
            pass

    with pytest.raises(FaultError, match="expected one of stop"):
        run(work)
    assert switch.did == []
