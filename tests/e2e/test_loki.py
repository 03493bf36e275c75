"""The cases that look for audit events in Loki, on the reference system that ships its log to a stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proofload.demo.reference_system import ReferenceSystem
from tests.e2e.cli import Result, decided, proofload
from tests.e2e.conftest import Declare
from tests.integration.loki.stand_in import LokiStandIn

AUDIT = """\
  audit:
    {files}
    loki: {loki}
    loki_query: '{{job="ordersystem"}}'
    required_fields: [time, event, request_id]
    events: {{access_denied: access_denied}}
    arrives_within: 1s
"""
pytestmark = pytest.mark.xdist_group("loki")


@pytest.fixture
def loki() -> Iterator[LokiStandIn]:
    server = LokiStandIn()
    yield server
    server.close()


@pytest.fixture
def run(tmp_path: Path, loki: LokiStandIn, declare: Declare) -> Iterator[object]:
    with ReferenceSystem.start(tmp_path / "system", settings={"AUDIT_LOKI_URL": loki.url}) as system:
        folder = Path(system.ready.audit[0]).parent

        def go(*cases: str, files: bool = True, ask: Callable[..., Result] = decided) -> Result:
            more = AUDIT.format(files=f'files: ["{folder}/*.jsonl"]' if files else "", loki=loki.url)
            target = declare(system.ready.gateway, more=more)
            return ask("run", *cases, "--target", target, "--json", cwd=tmp_path)

        yield go


def test_a_log_that_loses_nothing_on_its_way_passes_and_one_that_does_fails(run, loki: LokiStandIn) -> None:  # type: ignore[no-untyped-def]
    honest = run("TC-MON-002", "TC-MON-003")
    assert honest.outcomes() == {"TC-MON-002": "PASS", "TC-MON-003": "PASS"}, honest.out
    alone = run("TC-MON-003", "TC-AUDIT-001", files=False)
    assert alone.outcomes() == {"TC-MON-003": "PASS", "TC-AUDIT-001": "PASS"}, alone.out

    loki.drop_every = 10
    lossy = run("TC-MON-003")
    assert lossy.status == 10
    assert lossy.rules("TC-MON-003") == {"audit.loki_missing", "audit.loki_differs"}
    # The file held them all.
    assert "audit.missing" not in lossy.rules("TC-MON-003")

    loki.close()
    gone = run("TC-MON-003", ask=proofload)
    assert gone.outcomes() == {"TC-MON-003": "INCONCLUSIVE"}
    assert gone.rules("TC-MON-003", "INCONCLUSIVE") == {"audit.loki_missing"}
