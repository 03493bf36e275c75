"""A switch is seen by who has the file open, and by nobody where there is none."""

from pathlib import Path

import pytest

from proofload.demo.ordersystem.common import switches
from proofload.demo.ordersystem.common.metrics import Metrics


def test_what_is_thrown_is_seen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "switches"
    switches.make(path)
    monkeypatch.setenv(switches.FILE, str(path))
    one, other = switches.Switch("metrics"), switches.Switch("audit")
    one.open()
    other.open()
    assert (one.is_off, other.is_off) == (False, False)
    switches.throw(path, "metrics", off=True)
    assert (one.is_off, other.is_off) == (True, False)
    switches.throw(path, "metrics", off=False)
    assert not one.is_off


def test_without_a_file_everything_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(switches.FILE, raising=False)
    switch = switches.Switch("audit")
    switch.open()
    assert not switch.is_off


def test_nothing_is_counted_while_metrics_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thrown:
        is_off = False

        def open(self) -> None:
            pass

    thrown = Thrown()
    monkeypatch.setattr(switches, "METRICS", thrown)
    metrics = Metrics("x")
    own = metrics.counter("own_total", "Of the service's own.", ("kind",))

    def count() -> None:
        metrics.answered("/a", "GET", 200, 0.1)
        own.labels("k").inc()

    count()
    thrown.is_off = True
    count()
    page = metrics.page().decode()
    assert 'http_requests_total{method="GET",route="/a",service="x",status="200"} 1.0' in page
    assert 'own_total{kind="k"} 1.0' in page
    assert 'http_request_duration_seconds_count{method="GET",route="/a",service="x"} 1.0' in page
