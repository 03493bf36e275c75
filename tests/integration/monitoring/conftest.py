"""A page of counters that a test turns by hand, and a real Prometheus and Pushgateway beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from tests.listening import Listener

from proofload.demo.prometheus_stack import PROGRAMS, Stack

if any(shutil.which(name) is None for name in PROGRAMS):
    pytest.skip("Prometheus or Pushgateway is not installed", allow_module_level=True)


class Book:
    """A /metrics page with one counter, as a target has it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests_total", "Answers.", ("service", "route", "method", "status"), registry=self.registry
        )
        self.started = Gauge("process_start_time_seconds", "Start.", registry=self.registry)
        self.started.set(1_000)
        book = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = generate_latest(book.registry)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                pass

        self._listener = Listener(Page)
        self.url = self._listener.url

    def count(self, status: str, times: int = 1, route: str = "/x") -> None:
        self.requests.labels("gateway", route, "GET", status).inc(times)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="package")
def book() -> Iterator[Book]:
    page = Book()
    yield page
    page.close()


@pytest.fixture(scope="package")
def stack(book: Book, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("stack")
    with Stack.start(folder, {"gateway": book.url}, every="200ms") as running:
        yield running
