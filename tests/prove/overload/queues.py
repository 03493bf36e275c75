"""Servers with workers and a queue, honest and defective, under a plan of loads: an overload run in simulated time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import polars as pl

from proofload.core.seeds import stream
from proofload.judge.overload import Phases, find_capacity, judge_overload, steps_of
from proofload.plan.policies import OverloadPolicy
from proofload.record.exchange import Ending, Fault
from proofload.record.history import History

MS = 1_000_000
SECOND = 1_000_000_000
POLICY = OverloadPolicy(operation="read", health="health", recovers_within="2s")


@dataclass
class Server:
    """`workers` serve for about `work_ns`; at most `room` wait; health is answered beside the queue."""

    workers: int = 4
    work_ns: int = 20 * MS
    room: int = 20
    reject_ns: int = 300_000
    reject_status: int = 503
    health_waits: bool = False
    slows_by: float = 0.0
    """How much longer each request in the queue makes the work: thrashing."""
    never_recovers: bool = False
    crashes_after: int | None = None
    """Requests turned away before the process dies."""
    slow_failures: bool = False


DEFECTS = {
    "res.unbounded_queue": {"room": 10**9},
    "goodput collapses": {"slows_by": 0.15},
    "res.no_recovery": {"never_recovers": True},
    "res.crash_on_overload": {"crashes_after": 100},
    "res.health_starved": {"health_waits": True, "room": 400},
    "failures are 500": {"reject_status": 500},
    "failures are slow": {"slow_failures": True},
}


def loads(capacity):
    """Return (from, to, rate, phase): baseline, a ramp, twice the capacity, the baseline again."""
    plan, at = [], 0

    def add(seconds, rate, phase):
        nonlocal at
        plan.append((at, at + seconds * SECOND, rate, phase))
        at += seconds * SECOND

    add(5, 0.3 * capacity, "baseline")
    for share in (0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.6):
        add(4, share * capacity, "ramp")
    add(8, 2.3 * capacity, "beyond")
    add(8, 0.3 * capacity, "after")
    return plan


def simulate(seed, server):
    dice = stream(seed, "queues")
    capacity = server.workers * SECOND / server.work_ns
    plan = loads(capacity)
    arrivals = []
    for begin, end, rate, phase in plan:
        at = float(begin)
        while (at := at + dice.expovariate(rate / SECOND)) < end:
            arrivals.append((int(at), phase))
        if phase == "beyond":
            arrivals += [(begin + i * 200 * MS, "health") for i in range(int((end - begin) // (200 * MS)))]
    arrivals.sort()
    free, waiting, turned_away, tired, rows = [0] * server.workers, [], 0, False, []
    heapq.heapify(free)
    for at, phase in arrivals:
        while waiting and waiting[0] <= at:
            heapq.heappop(waiting)
        there = at + 200_000 + int(dice.expovariate(1 / 100_000))
        if server.crashes_after is not None and turned_away > server.crashes_after:
            rows.append((at, there, Ending.NOT_SENT, Fault.CONNECT_REFUSED, 0, phase))
            continue
        if phase == "health" and not server.health_waits:
            rows.append((at, there + MS, Ending.ANSWERED, Fault.NONE, 200, phase))
            continue
        if len(waiting) >= server.room:
            turned_away += 1
            tired = True
            took = 3 * SECOND if server.slow_failures else server.reject_ns
            rows.append((at, there + took, Ending.ANSWERED, Fault.NONE, server.reject_status, phase))
            continue
        work = dice.uniform(0.8, 1.2) * server.work_ns * (1 + server.slows_by * len(waiting))
        if server.never_recovers and tired:
            work *= 12
        start = max(there, heapq.heappop(free))
        end = start + int(work)
        heapq.heappush(free, end)
        if start > there:
            heapq.heappush(waiting, start)
        if end - at > 30 * SECOND:
            rows.append((at, at + 30 * SECOND, Ending.UNKNOWN, Fault.TIMEOUT, 0, phase))
        else:
            rows.append((at, end + 100_000, Ending.ANSWERED, Fault.NONE, 200, phase))
    return _history(rows), plan


def _history(rows):
    count = len(rows)
    zero = np.zeros(count, dtype=np.int64)
    columns = {
        name: np.array([int(row[place]) for row in rows])
        for place, name in enumerate(("sent_ns", "done_ns", "ending", "fault", "status"))
    }
    return History(
        pl.DataFrame(
            {
                "workload": [row[5] for row in rows],
                "operation": ["read"] * count,
                "user": zero,
                "source": ["127.0.0.1"] * count,
                "connection": zero,
                "intended_ns": columns["sent_ns"],
                "first_byte_ns": columns["done_ns"],
                "bytes_out": zero,
                "bytes_in": zero,
                "request_id": [""] * count,
                **columns,
            }
        )
    )


def judged(seed, server):
    history, plan = simulate(seed, server)
    ramp = [load for load in plan if load[3] == "ramp"]
    edges = [ramp[0][0], *(load[1] for load in ramp)]
    capacity = find_capacity(steps_of(history, history.of_workloads("ramp"), edges))
    begin, end = next((load[0], load[1]) for load in plan if load[3] == "beyond")
    beyond = steps_of(history, history.of_workloads("beyond"), [begin, end])[0]
    names = ("baseline", "beyond", "health", "after")
    phases = Phases(*(history.of_workloads(name) for name in names), ended_ns=end)
    return judge_overload(POLICY, history, capacity, beyond, phases), capacity
