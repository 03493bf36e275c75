"""Measure the engine against k6, Locust, wrk and aiohttp in one run: `make bench`, `make bench ARGS=--quick`.

nginx has one core, each client the other, in turn; several rounds, medians. Figures of one machine say nothing about
another; the ratios of one run do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from _clients import Clients, Outcome
from _server import Server, nginx

CONNECTIONS = 50
BUSY = 2.5
"""Load average over five minutes, above which others must have been at work: server and client make two at most."""
console = Console(width=int(os.environ.get("COLUMNS", "110")), highlight=False)


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the second table."""

    name: str
    figure: str
    goal: str
    met: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    seconds: float
    open_seconds: float
    bursts: int


FULL = Scale(rounds=3, seconds=4, open_seconds=20, bursts=15)
QUICK = Scale(rounds=1, seconds=2, open_seconds=5, bursts=5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    cores = sorted(os.sched_getaffinity(0))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="proofload-bench-") as text:
        folder = Path(text)
        with nginx(folder, cores[-1]) as server:
            clients = Clients(folder, cores[0], CONNECTIONS)
            outcomes = closed_workloads(clients, server, scale)
            measures = compare(outcomes) + other_measures(clients, server, scale)
    show(outcomes, measures)
    took = time.monotonic() - began
    busy = os.getloadavg()[1]
    if busy > BUSY:
        console.print(
            f"[yellow]the machine was busy with other things as well (load {busy:.1f}): repeat this when it is not"
        )
    console.print(f"{len(cores)} cores, {platform.machine()}, Python {platform.python_version()}, {took:.0f} s in all")
    if options.json:
        content = {
            "machine": platform.machine(),
            "cores": len(cores),
            "scale": asdict(scale),
            "clients": {name: [asdict(one) for one in runs] for name, runs in outcomes.items()},
            "measures": [asdict(one) for one in measures],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    broken = [one for runs in outcomes.values() for one in runs if one.error]
    for one in broken:
        console.print(f"[red]a client failed: {one.error}")
    missed = [one.name for one in measures if not one.met]
    return 1 if broken or (options.strict and missed) else 0


def closed_workloads(clients: Clients, server: Server, scale: Scale) -> dict[str, list[Outcome]]:
    """Every client in turn, round by round, so that a slow minute of the machine meets all of them."""
    url, tls_url = server.url, server.tls_url
    runs: dict[str, Callable[[], Outcome]] = {
        "proofload, users as coroutines": lambda: clients.proofload(url, scale.seconds),
        "proofload load": lambda: clients.proofload_load(url, scale.seconds),
        "wrk": lambda: clients.wrk(url, scale.seconds),
        "k6": lambda: clients.k6(url, scale.seconds),
        "Locust FastHttpUser": lambda: clients.locust(url, scale.seconds),
        "aiohttp": lambda: clients.aiohttp(url, scale.seconds),
        "proofload, TLS": lambda: clients.proofload(tls_url, scale.seconds, server.ca),
        "k6, TLS": lambda: clients.k6(tls_url, scale.seconds),
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runs}
    for number in range(scale.rounds):
        for name, run in runs.items():
            console.print(f"[dim]round {number + 1} of {scale.rounds}: {name}", end="")
            outcome = run()
            outcomes[name].append(outcome)
            console.print(f"[dim]  {outcome.per_second:,.0f}/s {outcome.error}")
    return outcomes


def rate(outcomes: dict[str, list[Outcome]], name: str) -> float:
    return statistics.median(one.per_second for one in outcomes[name])


def compare(outcomes: dict[str, list[Outcome]]) -> list[Measure]:
    ours = "proofload, users as coroutines"
    found = []
    for mine, other, least in (
        (ours, "k6", 5.5),
        (ours, "Locust FastHttpUser", 9.0),
        (ours, "wrk", 0.75),
        ("proofload, TLS", "k6, TLS", 2.0),
    ):
        ratio = rate(outcomes, mine) / max(rate(outcomes, other), 1e-9)
        by_cpu = cpu(outcomes, other) / max(cpu(outcomes, mine), 1e-9)
        figure = f"{ratio:.2f} × (by CPU a request {by_cpu:.2f} ×)"
        found.append(Measure(f"{mine} : {other}", figure, f"≥ {least} ×", ratio >= least))
    return found


def cpu(outcomes: dict[str, list[Outcome]], name: str) -> float:
    return statistics.median(one.cpu_us for one in outcomes[name])


def other_measures(clients: Clients, server: Server, scale: Scale) -> list[Measure]:
    url = server.url
    return [
        *_open(clients, url, scale),
        _fleet(clients, url, scale),
        *_bursts(clients, url, scale),
        *_memory(clients, url),
    ]


def _open(clients: Clients, url: str, scale: Scale) -> list[Measure]:
    runs = []
    for number in range(scale.rounds):
        console.print(f"[dim]open workload, 20,000/s for {scale.open_seconds:.0f} s, {number + 1} of {scale.rounds}")
        runs.append(_figures(clients.worker("opened", url, seconds=scale.open_seconds, rate=20_000)))
    dropped = statistics.median(one["dropped"] for one in runs)
    lag, half = (statistics.median(one[name] for one in runs) for name in ("lag_p99_us", "lag_p50_us"))
    response = statistics.median(one["response_p99_us"] for one in runs)
    seconds = f"{scale.open_seconds:.0f} s"
    return [
        Measure(f"open, 20,000/s for {seconds}: dropped", f"{dropped:.0f}", "0", dropped == 0),
        Measure(
            "  send lag p99", f"{lag:.0f} µs (p50 {half:.0f}; response p99 {response:.0f})", "≤ 150 µs", lag <= 150
        ),
    ]


def _fleet(clients: Clients, url: str, scale: Scale) -> Measure:
    """Two cores are all there is and one is the server's, so what two processes give is told by CPU per request."""
    costs: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(scale.rounds):
        for processes, found in costs.items():
            console.print(f"[dim]fleet of {processes}")
            # As many connections for each process: the load of one is what is doubled.
            arguments = {"seconds": scale.seconds, "connections": CONNECTIONS * processes, "processes": processes}
            found.append(_figures(clients.worker("fleet", url, **arguments))["cpu_us"])
    cost = {processes: statistics.median(found) for processes, found in costs.items()}
    gain = 2 * cost[1] / max(cost[2], 1e-9)
    figure = f"{gain:.2f} × ({cost[1]:.1f} and {cost[2]:.1f} µs CPU a request)"
    return Measure("two processes : one, by CPU per request", figure, "≥ 1.8 ×", gain >= 1.8)


def _bursts(clients: Clients, url: str, scale: Scale) -> list[Measure]:
    found = []
    for n, most_us in ((10, 300), (500, 10_000)):
        console.print(f"[dim]barrier burst over {n}")
        skews = _figures(clients.worker("burst", url, n=n, rounds=scale.bursts))["skews_us"]
        middle = statistics.median(skews)
        figure = f"{middle:,.0f} µs (worst of {len(skews)}: {max(skews):,.0f})"
        found.append(Measure(f"barrier burst over {n}: spread", figure, f"≤ {most_us:,} µs", middle <= most_us))
    return found


def _memory(clients: Clients, url: str) -> list[Measure]:
    console.print("[dim]10,000 paused users")
    paused = _figures(clients.worker("paused", url, users=10_000, connected=False))
    connected = _figures(clients.worker("paused", url, users=10_000, connected=True))
    console.print("[dim]k6 with 2,000 sleeping users")
    k6 = clients.k6_sleeping(2_000)
    beside = f"with open connections {connected['peak_mb']:.0f}; k6 with 2,000: {k6.peak_mb:.0f}"
    figure = f"{paused['peak_mb']:.0f} MB ({beside})"
    return [Measure("10,000 paused users", figure, "≤ 250 MB", paused["peak_mb"] <= 250)]


def _figures(outcome: Outcome) -> dict[str, Any]:
    if outcome.error:
        raise SystemExit(f"a measurement failed: {outcome.error}")
    return outcome.extra


def show(outcomes: dict[str, list[Outcome]], measures: list[Measure]) -> None:
    table = Table(title=f"Closed workload, {CONNECTIONS} connections, one core; medians")
    for name in ("client", "requests/s", "to k6", "CPU a request", "rounds"):
        table.add_column(name, justify="left" if name == "client" else "right")
    k6 = max(rate(outcomes, "k6"), 1e-9)
    for name, runs in outcomes.items():
        base = max(rate(outcomes, "k6, TLS"), 1e-9) if "TLS" in name else k6
        each = " ".join(f"{one.per_second / 1_000:.1f}" for one in runs)
        table.add_row(
            name,
            f"{rate(outcomes, name):,.0f}",
            f"{rate(outcomes, name) / base:.2f} ×",
            f"{cpu(outcomes, name):.1f} µs",
            f"{each} k",
        )
    console.print(table)
    goals = Table(title="What issue 3 asks for")
    for name in ("measure", "measured", "goal", ""):
        goals.add_column(name)
    for one in measures:
        goals.add_row(one.name, one.figure, one.goal, "[green]met" if one.met else "[red]missed")
    console.print(goals)


if __name__ == "__main__":
    sys.exit(main())
