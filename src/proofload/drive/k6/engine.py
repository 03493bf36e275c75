"""An engine whose requests a real k6 sends: the same rows, statistics and delivery, as far as k6 tells them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofload.core.clock import Anchor
from proofload.core.errors import ToolError, UnfitEngineError
from proofload.core.units import NS_PER_SECOND
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import TlsSettings
from proofload.drive.k6.process import K6Process
from proofload.drive.k6.results import K6Request, row_of, wall_ns
from proofload.drive.k6.scripts import ANSWER, grace_ns, to_script
from proofload.drive.measure import RunnerReport
from proofload.plan import workload as plan
from proofload.plan.workload import AnyWorkload, check, span_ns, user_count
from proofload.record.exchange import NEVER_NS, Ending, Fault

_RECEIVING = "http_req_receiving"
_PARTS = frozenset(
    {
        "http_reqs",
        "http_req_duration",
        "http_req_blocked",
        "http_req_connecting",
        "http_req_tls_handshaking",
        _RECEIVING,
    }
)
_DOUBT_NS = 2_000
"""Durations are floats of milliseconds, and clocks are read beside the events that they stamp."""
_STARTING_S = 30.0
_MOST_BODY_BYTES = 65_536


@dataclass(slots=True)
class _Ran:
    """What stands for the runner of a workload in the engine's account."""

    workload: AnyWorkload
    number: int
    first_user: int
    process: K6Process
    users: set[Any] = field(default_factory=set)

    def report(self) -> RunnerReport:
        kind = f"{type(self.workload).__name__} by k6"
        return RunnerReport(self.workload.name, kind, self.number, None, 0, None, None)

    def stop(self) -> None:
        self.process.stop()

    def cut(self) -> None:
        self.process.stop()


class K6Engine(Engine):
    """Gives each workload to a k6 process of its own and takes its results in as rows.

    A row's `sent_ns` is the earliest instant at which its first byte can have left and `done_ns` the latest at which
    its answer was there, both on our clock. k6 tells no intended time: it is the time of sending, as a closed workload
    has it. Raises UnfitEngineError, before anything of the call is sent, where k6 can't do what is asked.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tls = options.get("tls") or TlsSettings()
        self._ceilings = options.get("ceilings")
        self._calls = 0
        self._end_ns = 0

    async def run(self, *workloads: AnyWorkload, start: Callable[[], Awaitable[int]] | None = None) -> None:
        """Run the workloads side by side until all have ended."""
        check(workloads, self.operations)
        if start is not None or self.endpoint.unix_socket is not None or self._tls.certificate is not None:
            raise UnfitEngineError("k6 is one process on this machine, without a client certificate or a local socket")
        rate = self._within_ceilings(workloads)
        await self._prepare(workloads)
        with tempfile.TemporaryDirectory(prefix="proofload-k6-") as name:
            folders = [Path(name) / str(place) for place in range(len(workloads))]
            jobs = [self._job(one, folder, rate) for one, folder in zip(workloads, folders, strict=True)]
            self._running = [ran for ran, _ in jobs]  # type: ignore[misc]
            self._runners += self._running
            began_ns = self._started_ns = self.clock.now_ns()
            ending = self._end_in_time(began_ns)
            try:
                async with asyncio.TaskGroup() as group:
                    for ran, script in jobs:
                        within_s = (span_ns(ran.workload) + ran.workload.start_after_ns) / NS_PER_SECOND
                        grace = grace_ns(ran.workload, self.operations[str(ran.workload.run)])
                        within_s += grace / NS_PER_SECOND + _STARTING_S
                        group.create_task(ran.process.run(script, within_s))
            except* ToolError as errors:
                raise errors.exceptions[0] from errors
            finally:
                if ending is not None:
                    ending.cancel()
                self._running = []
                for ran, _ in jobs:
                    self._take_in(ran, began_ns)
                self.fold()
                self._wall_ns += self.clock.now_ns() - began_ns

    def _job(self, workload: AnyWorkload, folder: Path, rate: int | None) -> tuple[_Ran, str]:
        folder.mkdir()
        self._calls += 1
        script = to_script(
            workload,
            self.operations,
            self.endpoint,
            address=str(self.wire.address[1][0]),
            id_prefix=f"{self.rows.id_prefix}k{self._calls}.",
            keep_headers=self.rows.header_names,
            rate_per_second=rate,
            verify=self._tls.verify,
        )
        number = self.rows.workloads.number(workload.name)
        ran = _Ran(workload, number, self._next_user, K6Process(folder, tuple(workload.sources), self._tls.ca_file))
        self._next_user += user_count(workload)
        return ran, script

    def _end_in_time(self, now_ns: int) -> asyncio.TimerHandle | None:
        """End the run when the ceiling on its duration is reached, counted from the first call."""
        if self._ceilings is None or self._ceilings.duration_ns is None:
            return None
        self._end_ns = self._end_ns or now_ns + self._ceilings.duration_ns
        left_s = max(0, self._end_ns - now_ns) / NS_PER_SECOND
        loop = asyncio.get_running_loop()
        return loop.call_later(left_s, lambda: self.stop(reason="the ceiling on the duration was reached"))

    def _within_ceilings(self, workloads: Sequence[AnyWorkload]) -> int | None:
        """Return the requests a second that each k6 may send, so that all of them together keep the ceiling.

        Raises UnfitEngineError for what could exceed the ceiling on requests: k6 itself knows only a rate.
        """
        ceilings = self._ceilings
        if ceilings is None:
            return None
        rate = ceilings.rate_per_second
        if rate is not None and rate < len(workloads):
            raise UnfitEngineError(f"{len(workloads)} workloads side by side: k6 can't be held to {rate} a second")
        total = ceilings.total_requests
        if total is not None and self.rows.made + sum(_most(one, rate) for one in workloads) > total:
            raise UnfitEngineError(f"{workloads[0].name}: k6 can't be held to {total} requests in all")
        return None if rate is None else rate // len(workloads)

    def _take_in(self, ran: _Ran, began_ns: int) -> None:
        """Make rows of what k6 tells; of what it may have sent and does not tell, rows that nobody knows the end of."""
        anchor = Anchor.take(self.clock)
        zero, doubt_ns = anchor.wall_ns - anchor.monotonic_ns, _DOUBT_NS + anchor.uncertainty_ns
        last_ns: dict[int, int] = {}
        for one in sorted(_read(ran.process.results), key=lambda one: one.request.at):
            row = row_of(one.request, zero)
            if row["sent_ns"] != NEVER_NS:
                row["sent_ns"] = max(began_ns, row["sent_ns"] - doubt_ns)
            if row["ending"] == Ending.ANSWERED:
                row["first_byte_ns"] = row["done_ns"] - round(one.request.values_ms.get(_RECEIVING, 0.0) * 1e6)
            if row["done_ns"] != NEVER_NS:
                last_ns[one.user] = row["done_ns"]
                row["done_ns"] += doubt_ns
            row["intended_ns"] = max(began_ns, row["intended_ns"] - doubt_ns)
            number = self._add(ran, one.user, row)
            body = one.body[:_MOST_BODY_BYTES] if one.body is not None else None
            self.rows.keep_told(number, one.request_id, one.headers, body)
        for user in range(user_count(ran.workload)) if ran.process.cut_short else ():
            at_ns = last_ns.get(user, began_ns)
            untold = {"intended_ns": at_ns, "sent_ns": at_ns, "first_byte_ns": NEVER_NS, "done_ns": NEVER_NS}
            self._add(ran, user, {**untold, "ending": Ending.UNKNOWN, "fault": Fault.STOPPED, "status": 0})

    def _add(self, ran: _Ran, user: int, row: Mapping[str, Any]) -> int:
        sources = ran.workload.sources
        told = ("intended_ns", "sent_ns", "first_byte_ns", "done_ns", "ending", "fault", "status")
        return self.rows.add_whole(
            user=ran.first_user + user,
            workload=ran.number,
            operation=self.rows.operations.number(str(ran.workload.run)),
            source=self.rows.sources.number(sources[user % len(sources)]) if sources else 0,
            tag=self.rows.tags.number(ran.workload.tag),
            **{name: row[name] for name in told},
        )


def _most(workload: AnyWorkload, rate: int | None) -> int:
    """Return how many requests a workload sends at the most."""
    match workload:
        case plan.Sequence():
            return workload.n
        case plan.SharedIterations():
            return workload.iterations
        case plan.PerUserIterations():
            return workload.iterations * workload.users
        case _:
            return rate * -(-span_ns(workload) // NS_PER_SECOND) if rate is not None else sys.maxsize


@dataclass(slots=True)
class _K6Points:
    """What the points of one request tell."""

    request: K6Request
    request_id: str
    user: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def _read(path: Path) -> Iterator[_K6Points]:
    """Yield every request of a run; a last line that k6 did not finish is passed over, and its request with it."""
    told: dict[str, _K6Points] = {}
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                point = json.loads(line)
            except ValueError:
                continue
            data, metric = point.get("data", {}), point.get("metric")
            metadata = data.get("metadata") or {}
            if point.get("type") != "Point" or "request_id" not in metadata or metric not in _PARTS | {ANSWER}:
                continue
            request_id = metadata["request_id"]
            one = told.get(request_id)
            if metric == ANSWER:
                if one is not None:
                    one.headers = json.loads(metadata.get("headers") or "{}")
                    one.body = b64decode(metadata["body"]) if "body" in metadata else None
                continue
            if one is None:
                request = K6Request(wall_ns(data["time"]), data.get("tags") or {})
                one = told[request_id] = _K6Points(request, request_id, int(metadata.get("user", 0)))
            one.request.values_ms[metric] = float(data["value"])
    yield from told.values()
