"""Running totals of a generator, folded from its rows in large steps: flat memory, and next to nothing per request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofload.record.delivery import Lag
from proofload.record.exchange import Ending, Fault
from proofload.record.histogram import DelayHistogram

_ANSWERED = int(Ending.ANSWERED)
LATE_NS = 10_000_000
MOST_WORKLOADS = 1_024
_LEAST_ERROR_STATUS = 400


@dataclass(frozen=True, slots=True)
class Standing:
    """What a generator tells of itself while it runs: enough to show, and to merge with that of others."""

    stats: Stats
    made: int
    users: int
    elapsed_ns: int
    checks: Mapping[str, tuple[int, int]]
    user_errors: int

    def progress(self) -> Progress:
        """Return it in the form for people to look at."""
        stats = self.stats
        totals = {ending: stats.total(ending) for ending in Ending}
        return Progress(
            elapsed_ns=self.elapsed_ns,
            planned=self.made,
            sent=self.made - totals[Ending.DROPPED] - totals[Ending.NOT_SENT],
            answered=totals[Ending.ANSWERED],
            not_sent=totals[Ending.NOT_SENT],
            unknown=totals[Ending.UNKNOWN],
            dropped=totals[Ending.DROPPED],
            in_flight=self.made - sum(totals.values()),
            by_status=stats.by_status(),
            by_fault=stats.by_fault(),
            users=self.users,
            response=stats.response.lag(),
            service=stats.service.lag(),
            good=stats.good,
            checks=self.checks,
            user_errors=self.user_errors,
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands, for people to look at while it goes on."""

    elapsed_ns: int
    planned: int
    sent: int
    answered: int
    not_sent: int
    unknown: int
    dropped: int
    in_flight: int
    by_status: Mapping[int, int]
    by_fault: Mapping[str, int]
    users: int
    response: Lag
    """From intended time."""
    service: Lag
    good: DelayHistogram
    """Response times of answers with a status below 400: failing fast is not being fast."""
    checks: Mapping[str, tuple[int, int]]
    user_errors: int


class Stats:
    """Adds up ended rows."""

    def __init__(self) -> None:
        self.endings = np.zeros((MOST_WORKLOADS, len(Ending)), dtype=np.int64)
        self.statuses = np.zeros(1_000, dtype=np.int64)
        self.faults = np.zeros(len(Fault), dtype=np.int64)
        self.first_sent_ns: dict[int, int] = {}
        self.last_sent_ns: dict[int, int] = {}
        self.service = DelayHistogram()
        self.response = DelayHistogram()
        self.good = DelayHistogram()
        """Response times of what was answered with a status below 400."""
        self.send_lag = DelayHistogram()
        self.loop_lag = DelayHistogram()
        self.late = 0

    def add_rows(self, table: NDArray[Any]) -> None:
        """Count rows that have ended."""
        if not len(table):
            return
        ending = table["ending"].astype(np.int64) - 1
        workload = table["workload"].astype(np.int64)
        pairs = np.bincount(workload * len(Ending) + ending)
        self.endings.reshape(-1)[: len(pairs)] += pairs
        for number in np.flatnonzero(np.bincount(workload)):
            self._note_sent(int(number), table["sent_ns"][workload == number])
        # Mostly all are answered, and well: rows are copied only where they are not.
        answered = table[ending == _ANSWERED] if ending.any() else table
        if len(answered) != len(table):
            self.faults += np.bincount(table["fault"], minlength=len(Fault))
        status = answered["status"]
        self.statuses += np.bincount(np.minimum(status, 999), minlength=1_000)
        done = answered["done_ns"]
        response = done - answered["intended_ns"]
        self.service.add(done - answered["sent_ns"])
        self.response.add(response)
        good = status < _LEAST_ERROR_STATUS
        self.good.add(response if good.all() else response[good])

    def _note_sent(self, number: int, sent_ns: NDArray[np.int64]) -> None:
        if sent_ns.min() < 0:
            sent_ns = sent_ns[sent_ns >= 0]
        if len(sent_ns):
            low, high = int(sent_ns.min()), int(sent_ns.max())
            self.first_sent_ns[number] = min(low, self.first_sent_ns.get(number, low))
            self.last_sent_ns[number] = max(high, self.last_sent_ns.get(number, high))

    def add_lags(self, lags_ns: list[int]) -> None:
        """Count delays of arrivals whose connection stood open."""
        lags = np.array(lags_ns, dtype=np.int64)
        self.late += int((lags > LATE_NS).sum())
        self.send_lag.add(lags)

    def merge(self, other: Stats) -> None:
        """Count what another generator has counted as well."""
        self.endings += other.endings
        self.statuses += other.statuses
        self.faults += other.faults
        for number, at_ns in other.first_sent_ns.items():
            self.first_sent_ns[number] = min(at_ns, self.first_sent_ns.get(number, at_ns))
        for number, at_ns in other.last_sent_ns.items():
            self.last_sent_ns[number] = max(at_ns, self.last_sent_ns.get(number, at_ns))
        for name in ("service", "response", "good", "send_lag", "loop_lag"):
            getattr(self, name).merge(getattr(other, name))
        self.late += other.late

    def add_loop_lags(self, lags_ns: list[int]) -> None:
        """Count how late the loop came back to a timer."""
        self.loop_lag.add(np.array(lags_ns, dtype=np.int64))

    def total(self, ending: Ending) -> int:
        """Return how many rows ended so."""
        return int(self.endings[:, ending].sum())

    def by_status(self) -> dict[int, int]:
        """Return the answers by status."""
        return {int(status): int(self.statuses[status]) for status in np.flatnonzero(self.statuses)}

    def by_fault(self) -> dict[str, int]:
        """Return what was not answered by the name of its fault."""
        return {Fault(int(number)).name: int(self.faults[number]) for number in np.flatnonzero(self.faults) if number}
