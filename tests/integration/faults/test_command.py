"""Commands are run as they stand, and what they do is believed only when it is seen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.faults.world import SmallService

from proofload.core.clock import SystemClock
from proofload.faults.command import CommandDriver
from proofload.faults.journal import Journal
from proofload.faults.lease import Lease, Patience, lease
from proofload.faults.probes import answers, down
from proofload.faults.recipe import FaultError
from proofload.record.fault_edge import spans

pytestmark = pytest.mark.xdist_group("faults")
SECOND = 1_000_000_000


def hold(driver: CommandDriver, url: str, journal: Path) -> Lease:
    async def work() -> Lease:
        async with lease(
            driver,
            "stop",
            fault="stop",
            service="small",
            clock=SystemClock(),
            journal=Journal(journal),
            duration_ns=60 * SECOND,
            held=down(url),
            mended=answers(url),
            patience=Patience(held_ns=SECOND),
        ) as held:
            pass
        return held

    return asyncio.run(work())


def test_a_command_that_stops_a_service_is_proven(small_service: SmallService, tmp_path: Path) -> None:
    held = hold(CommandDriver(small_service.stop, small_service.start), small_service.url, tmp_path / "journal")
    (span,) = spans(held.edges)
    assert (span.held, span.mended) == (True, True)
    assert "no connection" in held.edges[1].evidence
    assert "GET" in held.edges[3].evidence


def test_a_command_that_does_nothing_is_not_proven(small_service: SmallService, tmp_path: Path) -> None:
    held = hold(CommandDriver(["true"], ["true"]), small_service.url, tmp_path / "journal")
    (span,) = spans(held.edges)
    assert not span.held


def test_a_command_that_fails_says_what_it_printed(small_service: SmallService, tmp_path: Path) -> None:
    failing = CommandDriver(["cat", "/nowhere"], ["true"])
    with pytest.raises(FaultError, match="No such file"):
        hold(failing, small_service.url, tmp_path / "journal")


def test_without_a_program_to_mend_nothing_is_broken(small_service: SmallService, tmp_path: Path) -> None:
    pid = small_service.pid
    with pytest.raises(FaultError, match="no-such-program"):
        hold(CommandDriver(small_service.stop, ["no-such-program"]), small_service.url, tmp_path / "journal")
    assert small_service.pid == pid
