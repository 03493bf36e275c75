"""What is known of a run while it goes on, and the page that serves it: bounded, loopback only, behind its token."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.report.test_live import Hand, console, drawn, text_of

from proofload.core.units import NS_PER_SECOND
from proofload.record.bundle import BundleWriter
from proofload.record.histogram import DelayHistogram
from proofload.record.pulse import Pulse
from proofload.report.live import LiveView, sparkline
from proofload.report.served.server import LivePage
from proofload.report.watch import Watch

SECOND = NS_PER_SECOND
EVIL = "</td><script>alert(1)</script>"


def pulse(
    sent: int, *, planned: int | None = None, bad: int = 0, took_ms: int = 5, faults: tuple[str, ...] = ()
) -> Pulse:
    good = DelayHistogram()
    good.add(np.full(sent - bad, took_ms * 1_000_000, dtype=np.int64))
    return Pulse(sent if planned is None else planned, sent, 0, {2: sent - bad, 5: bad}, good, faults)


def test_rates_are_of_the_last_seconds_and_totals_of_the_run() -> None:
    now = Hand()
    watch = Watch(["TC-A", "TC-B"], now)
    watch.doing("TC-A", "sending")
    for step in range(1, 21):
        now.at_ns += SECOND // 2
        watch.pulse("TC-A", pulse(50 * step, planned=100 * step, bad=step))
    recent = watch.recent()
    assert recent is not None
    assert recent.sent * SECOND / recent.span_ns == pytest.approx(100)
    assert recent.planned * SECOND / recent.span_ns == pytest.approx(200)
    assert recent.by_class == {2: 4 * 49, 5: 4}
    assert recent.p99_ns == pytest.approx(5_000_000, rel=0.01)
    told = watch.snapshot()
    assert told["cases"][0]["requests"] == 1_000
    assert told["cases"][1]["running"] is False
    assert sum(point["classes"]["2"] for point in told["points"]) == 980


def test_a_long_run_is_told_in_a_bounded_number_of_points_and_none_is_lost() -> None:
    now = Hand()
    watch = Watch(["TC-A"], now)
    for step in range(1, 5_001):
        now.at_ns += SECOND // 2
        watch.pulse("TC-A", pulse(step))
    assert len(watch.points()) <= 240
    # What came after the last point is not yet told.
    assert 4_900 <= sum(point.sent for point in watch.points()) <= 5_000


def test_the_terminal_tells_load_latency_and_faults_below_the_cases() -> None:
    now, out = Hand(), console(is_terminal=False)
    view = LiveView(["TC-CB-001"], out, now)
    view.doing("TC-CB-001", "failing, until the circuit opens")
    for step in range(1, 9):
        now.at_ns += SECOND // 2
        view.pulse("TC-CB-001", pulse(40 * step, bad=3 * step, took_ms=2 * step, faults=("stop order",)))
    *_, load, faults = drawn(view)
    assert load.startswith("80/s of 80/s asked  2xx 296  5xx 24  p99 16")
    assert "█" in load
    assert faults.rstrip() == "in force: stop order"
    view.ended("TC-CB-001", "PASS")
    assert "in force" not in "".join(drawn(view))


def test_who_wants_to_know_more_is_told_the_load_in_a_pipe_now_and_then() -> None:
    now, out = Hand(), console(is_terminal=False)
    with LiveView(["TC-A"], out, now, verbose=True) as view:
        view.doing("TC-A", "sending")
        for step in range(1, 51):
            now.at_ns += SECOND // 2
            view.pulse("TC-A", pulse(step))
    assert text_of(out).count("2/s of 2/s asked") == 2


def test_a_terminal_without_such_signs_gets_no_sparkline() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([0, 0], 10) == ""
    assert sparkline([5, 5], 1) == "▁"
    assert len(sparkline(list(range(1, 100)), 24)) == 24


@pytest.fixture
def page() -> Iterator[LivePage]:
    with LivePage.start() as page:
        yield page


def get(page: LivePage, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    port = int(page.url.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_nothing_is_told_without_the_token_or_by_another_name(page: LivePage) -> None:
    page.show(Watch(["TC-A"], Hand()))
    assert get(page, "/")[0] == 404
    assert get(page, "/wrong/events")[0] == 404
    assert get(page, f"/{page.token}/", Host="evil.example")[0] == 404
    assert get(page, f"/{page.token}/../../etc/passwd")[0] == 404
    status, body, headers = get(page, f"/{page.token}/")
    assert status == 200
    assert b"live.js" in body
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert get(page, f"/{page.token}/live.js")[0] == get(page, f"/{page.token}/style.css")[0] == 200
    assert get(page, f"/{page.token}/bundle/report.html")[0] == 404


def test_events_tell_the_state_and_end_at_the_sealed_bundle(page: LivePage, tmp_path: Path) -> None:
    watch = Watch(["TC-A"], Hand(), EVIL)
    watch.doing("TC-A", EVIL)
    page.show(watch)
    port = int(page.url.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", f"/{page.token}/events")
    answer = connection.getresponse()
    assert answer.readline() == b"retry: 1000\n"
    first = json.loads(answer.readline().removeprefix(b"data: "))
    assert first["cases"][0]["what"] == EVIL
    assert first["over"] == ""
    writer = BundleWriter(tmp_path / "bundle")
    writer.write_bytes("report.html", b"<p>told")
    writer.write_bytes("cases/TC-A.json", b"{}")
    writer.seal()
    (tmp_path / "outside.txt").write_text("secret")
    page.end(writer.path, "report.html")
    rest = answer.read().decode().strip().splitlines()
    assert json.loads(rest[-1].removeprefix("data: "))["over"] == "bundle/report.html"
    connection.close()
    waiting = threading.Thread(target=page.wait_for_followers, args=(30,))
    waiting.start()
    assert get(page, f"/{page.token}/bundle/report.html")[1] == b"<p>told"
    waiting.join(10)
    assert not waiting.is_alive()
    assert get(page, f"/{page.token}/bundle/cases/TC-A.json")[0] == 200
    assert get(page, f"/{page.token}/bundle/../outside.txt")[0] == 404
    assert get(page, f"/{page.token}/bundle/..%2foutside.txt")[0] == 404


def test_closing_lets_listeners_go_and_waits_for_nobody() -> None:
    with LivePage.start() as page:
        page.show(Watch(["TC-A"], Hand()))
        port = int(page.url.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", f"/{page.token}/events")
        answer = connection.getresponse()
        assert answer.readline()
    assert answer.read().startswith(b"data: ")
    connection.close()
