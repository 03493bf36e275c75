"""An optional copy of the audit log in Loki. The file stays the record; a Loki that is down costs only the copy."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent, audit_line
from proofload.demo.ordersystem.common.metrics import Metrics

LOG = logging.getLogger("proofload.demo.ordersystem.loki")

_AT_ONCE = 500
_KEEP = 10_000


class LokiCopy:
    """Writes to another audit log and sends a copy of each line to Loki, in batches, from a thread of its own."""

    def __init__(self, audit: Audit, url: str, service: str, metrics: Metrics, every_s: float = 0.2) -> None:
        self._audit = audit
        self._url = url.rstrip("/") + "/loki/api/v1/push"
        self._service = service
        self._every_s = every_s
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue(_KEEP)
        self._outcomes = metrics.counter("audit_loki_lines_total", "Copies of audit lines for Loki.", ("outcome",))
        threading.Thread(target=self._run, name="loki", daemon=True).start()

    def write(self, event: AuditEvent) -> None:
        """Write to the file, and queue the copy; a full queue is counted."""
        self._audit.write(event)
        now = datetime.now(UTC)
        line = audit_line(self._service, event, now).decode().rstrip("\n")
        try:
            self._lines.put_nowait((str(time.time_ns()), line))
        except queue.Full:
            self._outcomes.labels("refused_full").inc()

    def _run(self) -> None:
        while True:
            batch = [self._lines.get()]
            time.sleep(self._every_s)
            while len(batch) < _AT_ONCE and not self._lines.empty():
                batch.append(self._lines.get())
            self._deliver(batch)

    def _deliver(self, batch: list[tuple[str, str]]) -> None:
        streams = [{"stream": {"job": "ordersystem", "service": self._service}, "values": [list(one) for one in batch]}]
        body = json.dumps({"streams": streams}).encode()
        for wait_s in (0.2, 0.5, 1.0, 2.0, 0.0):
            try:
                request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310
                with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - the address is the operator's
                    self._outcomes.labels("sent").inc(len(batch))
                    return
            except urllib.error.HTTPError as error:
                if error.code != 429 and error.code < 500:
                    LOG.warning("Loki refused %d lines: %s", len(batch), error)
                    break
            except OSError as error:
                LOG.warning("Loki can't be reached: %s", error)
            time.sleep(wait_s)
        self._outcomes.labels("given_up").inc(len(batch))
