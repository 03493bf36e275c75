"""`proofload demo --monitoring`: the cases of monitoring beside a real Prometheus, honest and broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proofload.demo.prometheus_stack import Stack, not_installed
from proofload.demo.reference_system import ReferenceSystem
from tests.e2e.cli import decided, start, wait_for_line
from tests.e2e.conftest import Declare

pytestmark = [
    pytest.mark.skipif(bool(not_installed()), reason="Prometheus or Pushgateway is not installed"),
    pytest.mark.xdist_group("monitoring-demo"),
]


def test_an_honest_system_agrees_with_prometheus_and_prometheus_follows(tmp_path: Path) -> None:
    ran = decided("demo", "TC-MON-001", "TC-MON-002", "--window", "3s", "--monitoring", "--json", cwd=tmp_path)
    assert ran.status == 0, ran.out
    assert ran.outcomes() == {"TC-MON-001": "PASS", "TC-MON-002": "PASS"}
    (accuracy,) = [one for one in ran.json["verdicts"] if one["case"] == "TC-MON-001"]
    assert any("at the Prometheus server" in finding["says"] for finding in accuracy["findings"])


@pytest.mark.parametrize(
    ("defect", "rule"), [("mon.rejected_not_counted", "mon.missing"), ("mon.double_counted", "mon.duplicated")]
)
def test_a_defect_is_seen_in_what_prometheus_holds(tmp_path: Path, defect: str, rule: str) -> None:
    ran = decided("demo", "TC-MON-001", "--defect", defect, "--window", "3s", "--monitoring", "--json", cwd=tmp_path)
    assert ran.status == 10
    (verdict,) = ran.json["verdicts"]
    told = [one for one in verdict["findings"] if one["rule"] == rule and one["outcome"] == "FAIL"]
    assert any("at the Prometheus server" in one["says"] for one in told)
    assert any("at the Prometheus server" not in one["says"] for one in told)


GONE = """\
monitoring:
  pushgateway: http://127.0.0.1:9
  remote_write: http://user:hush@127.0.0.1:9/api/v1/write
  loki: http://127.0.0.1:9
  grafana: {url: "http://127.0.0.1:9", token: "${env:GRAFANA_TOKEN}"}
  every: 500ms
"""


def test_servers_that_are_all_down_change_no_verdict_and_are_told(
    tmp_path: Path, system: ReferenceSystem, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "glsa_very_secret")
    target = declare(system.ready.gateway, more=GONE)
    ran = decided("run", "TC-RL-001", "--target", target, "--json", cwd=tmp_path)
    assert ran.outcomes() == {"TC-RL-001": "PASS"}
    assert ran.status == 0
    told = " ".join(ran.json["notes"])
    for server in ("pushgateway", "remote_write", "loki", "grafana"):
        assert f"monitoring: {server} http://" in told
    assert "refused" in told
    (bundle,) = (tmp_path / "runs").iterdir()
    kept = "".join(place.read_text() for place in bundle.glob("*.json")) + ran.out + ran.err
    assert "glsa_very_secret" not in kept
    assert "hush" not in kept


def test_prometheus_stopped_in_mid_run_leaves_open_what_rested_on_it(
    tmp_path: Path, system: ReferenceSystem, declare: Declare
) -> None:
    with Stack.start(tmp_path / "stack", {"gateway": system.ready.gateway}) as stack:
        more = (
            f"  metrics: {{url: {system.ready.gateway}/metrics, only: {{service: gateway}}, exclusive: true}}\n"
            f"monitoring: {{prometheus: '{stack.prometheus.url}', pushgateway: '{stack.pushgateway.url}'}}\n"
        )
        target = declare(system.ready.gateway, more=more)
        running = start("run", "TC-MON-001", "--target", target, "--json", cwd=tmp_path)
        wait_for_line(running, "sending a known number")
        stack.prometheus.stop()
        out, err = running.communicate(timeout=120)
    assert running.returncode == 11, err
    (verdict,) = json.loads(out)["verdicts"]
    assert verdict["outcome"] == "INCONCLUSIVE"
    open_ones = [one["says"] for one in verdict["findings"] if one["outcome"] == "INCONCLUSIVE"]
    assert any("refused" in says for says in open_ones)
    assert all("at the Prometheus server" in says for says in open_ones)
