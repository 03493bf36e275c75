"""What a case reads of the target is read beside what it sends, and whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cases.tape import preset

from proofload.cases.progress import CaseProgress
from proofload.cases.target_readings import TargetReadings
from proofload.core.clock import SystemClock
from proofload.observe.audit_file import AuditFiles
from proofload.observe.prometheus import Prometheus
from proofload.record.ledger import Reading


class Silent:
    def doing(self, case_id: str, what: str, until_ns: int | None = None) -> None:
        pass

    def sent(self, case_id: str, count: int) -> None:
        pass


def readings(changes: dict[str, Any]) -> TargetReadings:
    target, clock = preset(), SystemClock()
    policies = target.policies.model_copy(
        update={name: getattr(target.policies, name).model_copy(update=more) for name, more in changes.items()}
    )
    progress = CaseProgress("TC-MON-001", clock, Silent())
    return TargetReadings(target.model_copy(update={"policies": policies}), clock, progress)


def test_files_are_read_in_a_thread_so_that_a_long_log_holds_up_nothing_that_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text('{"event": "before"}\n')
    threads: list[threading.Thread] = []
    for name in ("begin", "read"):
        own = getattr(AuditFiles, name)

        def noted(self: AuditFiles, *given: int, own: Any = own) -> Any:
            threads.append(threading.current_thread())
            return own(self, *given)

        monkeypatch.setattr(AuditFiles, name, noted)

    async def run() -> TargetReadings:
        ours = readings({"audit": {"files": (str(log),)}})
        await ours.begin_audit()
        with log.open("a") as file:
            file.write('{"event": "after"}\n')
        await ours.audit()
        return ours

    ledgers = asyncio.run(run()).ledgers()
    assert [entry.text for entry in ledgers.audit] == ['{"event": "after"}']
    assert len(threads) == 2
    assert threading.current_thread() not in threads


def test_the_sum_of_a_histogram_is_read_from_a_prometheus_server_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def fresh(self: Prometheus, *_: object, also: Sequence[str] = (), **__: object) -> Reading:
        asked.extend(also)
        return Reading("prometheus", "before", 0, 1, ())

    monkeypatch.setattr(Prometheus, "fresh", fresh)
    asyncio.run(readings({"metrics": {"prometheus": "http://127.0.0.1:9090"}}).prometheus("before"))
    timed = next(one for one in asked if "request_duration" in one)
    assert all(f"_seconds_{what}" in timed for what in ("count", "sum", "bucket"))
