"""A metrics page becomes raw samples; what can't be read becomes a reading that says why."""

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from unittest.mock import Mock

import pytest
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.observe import bounded
from proofload.observe.bounded import exchange
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
    SECOND: ClassVar[dict[str, tuple[int, str, bytes]]] = {}
    """What a path answers to who asks for text alone."""

    def do_GET(self) -> None:
        text_only = "openmetrics" not in self.headers["Accept"]
        status, kind, body = (self.SECOND if text_only and self.path in self.SECOND else self.PAGES)[self.path]
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


OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
NOT_QUITE = {
    "no end": b"# TYPE hits counter\nhits_total 4\n",
    "a suffix in the type": b"# TYPE hits_total counter\nhits_total 4\n# EOF\n",
    "a blank line": b"# TYPE hits counter\n\nhits_total 4\n# EOF\n",
    "a family in two places": b"# TYPE hits counter\n# TYPE a gauge\na 1\n# TYPE hits counter\nhits_total 4\n# EOF\n",
    "an exemplar of a gauge": b'# TYPE hits gauge\nhits_total{a="b"} 4 # {trace_id="x}"} 0.5\n# EOF\n',
}


@pytest.mark.parametrize("what", NOT_QUITE)
@pytest.mark.parametrize("has_text", [True, False])
def test_openmetrics_that_is_not_quite_is_read_as_text(
    server: str, monkeypatch: pytest.MonkeyPatch, what: str, has_text: bool
) -> None:
    monkeypatch.setitem(Page.PAGES, "/odd", (200, OPEN, NOT_QUITE[what]))
    if has_text:
        monkeypatch.setitem(Page.SECOND, "/odd", (200, "text/plain; version=0.0.4", b"hits_total 5\n"))
    reading = read(server + "/odd")
    assert reading.error == ""
    assert [one.value for one in reading.samples if one.name.startswith("hits")] == [5.0 if has_text else 4.0]


def test_a_page_that_is_cut_short_is_no_page() -> None:
    with Scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhits_total 4\n"]) as url:
        assert "IncompleteRead" in read(url).error


class Scripted:
    """Answers one connection with pieces of bytes for as long as it is read, and waits between them."""

    def __init__(self, pieces: Iterable[bytes], every_s: float = 0.0) -> None:
        self._pieces, self._every_s = pieces, every_s
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        peer, _ = self._socket.accept()
        with peer, contextlib.suppress(OSError):
            peer.recv(4096)
            for piece in self._pieces:
                peer.sendall(piece)
                if self._over.wait(self._every_s):
                    break

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/metrics"

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._socket.close()
        self._thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
ENDLESS = {
    "a body": itertools.chain([HEAD + b"\r\n"], itertools.repeat(b"a")),
    "a header": itertools.chain([HEAD + b"X: "], itertools.repeat(b"a")),
    "100 Continue": itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "silence": iter([b"HTTP/1.1 "]),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_drips_for_ever_ends_at_the_deadline_of_the_whole_exchange(what: str) -> None:
    with Scripted(ENDLESS[what], every_s=0.02 if what != "silence" else 60) as url:
        reading = asyncio.run(read_metrics(url, source="g", label="x", clock=SystemClock(), timeout_s=0.3))
    assert "no whole answer within 0.3 s" in reading.error


def test_a_read_that_notices_the_deadline_first_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded.threading, "Timer", lambda *_: Mock())
    with Scripted(iter([b"HTTP/1.1 "]), every_s=60) as url:
        reading = asyncio.run(read_metrics(url, source="g", label="x", clock=SystemClock(), timeout_s=0.1))
    assert "no whole answer within 0.1 s" in reading.error


def test_a_page_without_end_is_cut_off_by_its_size() -> None:
    pieces = itertools.chain([HEAD + b"\r\n"], itertools.repeat(b"a 1\n" * 1000))
    with Scripted(pieces) as url, pytest.raises(ValueError, match="more than 1 MiB"):
        exchange("GET", url, deadline_s=20, most_bytes=1 << 20)


def test_passwords_in_an_address_are_used_and_not_shown() -> None:
    with Scripted([b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"]) as url:
        error = read(url.replace("127.0.0.1", "me:hunter22@127.0.0.1")).error
    assert "got status 500" in error
    assert "hunter22" not in error
