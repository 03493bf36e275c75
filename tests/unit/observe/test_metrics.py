"""A metrics page becomes raw samples; what can't be read becomes a reading that says why."""

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pytest
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.observe.metrics import parse_metrics, read_metrics
from proofload.record.ledger import Reading


class Page(BaseHTTPRequestHandler):
    """Answers each path with what PAGES holds for it."""

    PAGES: ClassVar[dict[str, tuple[int, str, bytes]]] = {
        "/metrics": (200, "text/plain", b'hits_total{route="/a b",status="200"} 7\nhits_total{route="/x"} 1e3\n'),
        "/open": (200, "application/openmetrics-text; version=1.0.0", b"# TYPE hits counter\nhits_total 4\n# EOF\n"),
        "/broken": (200, "text/plain", b"hits_total{route= 7\n"),
        "/latin": (200, "text/plain", b"\xff\xfe"),
        "/moved": (302, "text/plain", b""),
        "/gone": (500, "text/plain", b""),
    }

    def do_GET(self) -> None:
        status, kind, body = self.PAGES[self.path]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "/metrics")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Listener(Page) as listener:
        yield listener.url


def read(url: str) -> Reading:
    return asyncio.run(read_metrics(url, source="gateway", label="before", clock=SystemClock(), timeout_s=5))


def test_the_text_format_is_read_raw(server: str) -> None:
    reading = read(server + "/metrics")
    assert [(one.labels["route"], one.value) for one in reading.samples] == [("/a b", 7.0), ("/x", 1000.0)]
    assert reading.error == ""
    assert reading.asked_ns < reading.answered_ns


def test_openmetrics_is_read_raw(server: str) -> None:
    assert [one.value for one in read(server + "/open").samples] == [4.0]


@pytest.mark.parametrize("path", ["/broken", "/latin", "/moved", "/gone"])
def test_what_is_no_metrics_page_is_said(server: str, path: str) -> None:
    reading = read(server + path)
    assert reading.samples == ()
    assert path in reading.error


def test_nobody_listening_is_said() -> None:
    assert "refused" in read("http://127.0.0.1:1/metrics").error


def test_no_file_is_ever_opened() -> None:
    assert "expected an http or https URL" in read("file:///etc/passwd").error


def test_label_values_keep_their_escapes() -> None:
    (sample,) = parse_metrics('a{b="x\\"y\\\\z\\n"} 1\n')
    assert sample.labels == {"b": 'x"y\\z\n'}
