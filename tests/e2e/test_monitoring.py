"""`proofload demo --monitoring`: the cases of monitoring beside a real Prometheus, honest and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofload.stack import not_installed
from tests.e2e.cli import proofload

pytestmark = [
    pytest.mark.skipif(bool(not_installed()), reason="Prometheus or Pushgateway is not installed"),
    pytest.mark.xdist_group("monitoring-demo"),
]


def test_an_honest_system_agrees_with_prometheus_and_prometheus_follows(tmp_path: Path) -> None:
    ran = proofload("demo", "TC-MON-001", "TC-MON-002", "--window", "3s", "--monitoring", "--json", cwd=tmp_path)
    assert ran.status == 0, ran.out
    assert ran.outcomes() == {"TC-MON-001": "PASS", "TC-MON-002": "PASS"}
    (accuracy,) = [one for one in ran.json["verdicts"] if one["case"] == "TC-MON-001"]
    assert any("at the Prometheus server" in finding["says"] for finding in accuracy["findings"])


@pytest.mark.parametrize(
    ("defect", "rule"), [("mon.rejected_not_counted", "mon.missing"), ("mon.double_counted", "mon.duplicated")]
)
def test_a_defect_is_seen_in_what_prometheus_holds(tmp_path: Path, defect: str, rule: str) -> None:
    ran = proofload("demo", "TC-MON-001", "--defect", defect, "--window", "3s", "--monitoring", "--json", cwd=tmp_path)
    assert ran.status == 10
    (verdict,) = ran.json["verdicts"]
    told = [one for one in verdict["findings"] if one["rule"] == rule and one["outcome"] == "FAIL"]
    assert any("at the Prometheus server" in one["says"] for one in told)
    assert any("at the Prometheus server" not in one["says"] for one in told)
