"""`proofload load URL`: plain load, for people who want no verdicts, and honest figures of it."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from proofload.cli.load_arguments import LoadOrder, read_requests, read_target_of, read_workload, tls_of, url_of
from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_SECOND

if TYPE_CHECKING:
    from rich.console import Console

    from proofload.cli.thresholds import JudgedThreshold, Threshold
    from proofload.drive.distributed.fleet import Fleet
    from proofload.drive.engine import Engine
    from proofload.plan.workload import AnyWorkload

# As in docs/exit-status.md: what the command found, not how it was called.
_THRESHOLD_FAILED = 10
_NOT_DELIVERED = 11
_INTERRUPTED = 128
_LIVE_EVERY_S = 0.25
_LINE_EVERY_S = 5.0
_LEAST_TO_ABORT = 100
_LEAST_DELIVERED = 0.95


def load(
    url: Annotated[
        str | None, typer.Argument(help="Where to send requests; its path is the one requested.", show_default=False)
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Arrivals, such as 500/s; open workload.")] = None,
    users: Annotated[int | None, typer.Option(help="Users that loop; closed workload. The default is 10.")] = None,
    stages: Annotated[str | None, typer.Option(help="Such as '0→500/s in 10s, hold 30s, →0 in 5s'.")] = None,
    for_: Annotated[str, typer.Option("--for", help="How long.", metavar="DURATION")] = "10s",
    requests: Annotated[int | None, typer.Option("--requests", "-n", help="End after so many, with --users.")] = None,
    poisson: Annotated[bool, typer.Option(help="Random arrivals in place of evenly spaced ones.")] = False,
    method: Annotated[str | None, typer.Option("--method", "-X", help="GET, or POST where there is a body.")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'Name: value', repeatable.")] = None,
    json_: Annotated[str | None, typer.Option("--json", help="JSON body.", metavar="JSON")] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="Body as it stands.")] = None,
    from_file: Annotated[Path | None, typer.Option(help="Requests in turn, a JSON object on each line.")] = None,
    script: Annotated[str | None, typer.Option(help="Virtual users from file.py:name.")] = None,
    locustfile: Annotated[
        Path | None, typer.Option(help="Users of a Locust file; its `host` where no URL is given.", metavar="FILE")
    ] = None,
    fail_if: Annotated[list[str] | None, typer.Option(help="Such as 'p99 > 200ms', 'errors > 1%'.")] = None,
    abort: Annotated[bool, typer.Option(help="Stop as soon as a threshold is broken.")] = False,
    max_users: Annotated[int, typer.Option(help="Most requests at one time with --rate.")] = 1_000,
    processes: Annotated[
        int | None,
        typer.Option("--processes", "-p", help="Generator processes; 1, or all cores of a cluster.", min=1, max=256),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="A Ray cluster to send from: its address, or 'local'.", metavar="ADDRESS"),
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="Local address to send from, repeatable.")] = None,
    timeout: Annotated[str, typer.Option(help="Time limit of each request.")] = "10s",
    keep_header: Annotated[list[str] | None, typer.Option(help="Response header to keep in the history.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust in place of the system's.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Our own certificate, where the server asks for one.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key of --cert.")] = None,
    insecure: Annotated[bool, typer.Option(help="Trust any certificate.")] = False,
    unix_socket: Annotated[Path | None, typer.Option(help="Connect to this socket instead.")] = None,
    target: Annotated[Path | None, typer.Option(help="Target file: its operations, `allow` and ceilings.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON.", metavar="FILE")] = None,
    history: Annotated[Path | None, typer.Option(help="Write every request as Parquet.", metavar="FILE")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep every row in this folder while they are made; `proofload judge DIR`.", metavar="DIR"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is random.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Thresholds and errors only.")] = False,
) -> None:
    """Send load and tell how the target took it: rates, errors by kind, latency from the intended instant.

    Loopback may always be loaded; any other address needs a target file that lists it under `allow` and proves
    that it is yours. Exit status: 0, 10 a threshold was broken, 11 the load could not be delivered as asked.
    """
    from rich.console import Console

    from proofload.cli.thresholds import Threshold
    from proofload.core.seeds import fresh_seed

    given = {name: value for name, value in locals().items() if name not in ("Console", "Threshold", "fresh_seed")}
    thresholds = [Threshold.of(text) for text in fail_if or []]
    order = LoadOrder(seed=fresh_seed() if seed is None else seed)
    url = given["url"] = url_of(url, locustfile)
    read_requests(order, given)
    read_workload(order, given)
    read_target_of(order, url, target)
    order.options["tls"] = tls_of(ca, cert, key, insecure)
    order.options["keep_headers"] = tuple(keep_header or ())
    console = Console(quiet=quiet, highlight=False)
    places = _Places(processes, cluster, _keep(keep, order, url, thresholds))
    status = asyncio_run(_run(order, url, unix_socket, places, thresholds, abort, console, report, history))
    if status:
        raise typer.Exit(status)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the generators run."""

    processes: int | None
    cluster: str | None
    keep: Path | None = None
    """The folder that gets the rows while they are made."""

    @property
    def rows(self) -> dict[str, Any]:
        """What a fleet must be told of where the rows go."""
        from proofload.drive.durable_run import ROWS

        return {"folder": self.keep / ROWS, "keep": True} if self.keep is not None else {}


def asyncio_run(coroutine: Any) -> int:
    """Run to the end on uvloop and return the exit status."""
    import uvloop

    status: int = uvloop.run(coroutine)
    return status


def _keep(folder: Path | None, order: LoadOrder, url: str, thresholds: list[Threshold]) -> Path | None:
    """Write down what is asked for before anything is sent, where the run is to be kept."""
    if folder is None:
        return None
    from proofload.drive import durable_run as kept
    from proofload.drive.measure import asked_per_second

    load = order.workload
    assert load is not None
    asked = asked_per_second(load, order.seed)
    workload = {"name": load.name, "kind": type(load).__name__, "asked_per_second": asked}
    parts = urlsplit(url)
    plan = {
        "address": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        "seed": order.seed,
        "fail_if": [one.text for one in thresholds],
        "workloads": [workload],
        "operations": sorted(order.operations),
    }
    kept.begin(folder, plan)
    return folder


# -- the run ---------------------------------------------------------------------------------------------------------


async def _run(
    order: LoadOrder,
    url: str,
    unix_socket: Path | None,
    places: _Places,
    thresholds: list[Threshold],
    abort: bool,
    console: Console,
    report: Path | None,
    history: Path | None,
) -> int:
    import rich.live  # noqa: F401 -- loading it while arrivals are due would make them late

    from proofload.cli import load_view
    from proofload.cli.thresholds import judge_all
    from proofload.drive import durable_run as kept
    from proofload.drive.distributed.fleet import Fleet
    from proofload.drive.engine import Engine
    from proofload.drive.http.endpoint import Endpoint

    assert order.workload is not None
    endpoint = Endpoint.of(url, unix_socket)
    engine: Engine | Fleet
    # Drawing takes milliseconds, and arrivals would wait for it: with a live view the load comes from elsewhere.
    if places.cluster is not None:
        from proofload.drive.distributed.cluster import RayNodes

        nodes = RayNodes(places.cluster, places.processes)
        console.print(
            f"{nodes.processes} generators on {len(set(nodes.nodes))} nodes: {', '.join(sorted(set(nodes.nodes)))}"
        )
        engine = Fleet(
            nodes.processes, endpoint, order.operations, places=nodes, seed=order.seed, **places.rows, **order.options
        )
    elif (places.processes or 1) > 1 or places.keep is not None or (console.is_terminal and not console.quiet):
        engine = Fleet(
            places.processes or 1, endpoint, order.operations, seed=order.seed, **places.rows, **order.options
        )
    else:
        engine = Engine(endpoint, order.operations, seed=order.seed, **order.options)
    try:
        with _interruptible(engine) as signals:
            watcher = asyncio.ensure_future(_watch(engine, order.workload, console, thresholds if abort else []))
            try:
                await engine.run(order.workload)
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)
        progress, delivery = engine.progress(), engine.delivery()
        judged = judge_all(thresholds, progress)
        load_view.summary(console, progress, delivery, judged)
        _write(engine, report, history, load_view.as_json(progress, delivery, judged, order.seed))
        if places.keep is not None:
            kept.seal(places.keep, delivery, progress.checks, progress.elapsed_ns)
            console.print(f"kept       {places.keep}  (again: proofload judge {shlex.quote(str(places.keep))})")
    finally:
        engine.close()
    if signals:
        return _INTERRUPTED + signals[0]
    return _status(judged, delivery)


def _status(judged: list[JudgedThreshold], delivery: Any) -> int:
    (one,) = delivery.workloads
    if delivery.ran_out:
        # Whatever was measured, it was this machine's end that was measured.
        typer.echo(f"not delivered as asked: {delivery.reasons[0]}", err=True)
        return _NOT_DELIVERED
    if ours := [one for one in delivery.user_errors if one.is_ours]:
        typer.echo(f"not delivered as asked: {ours[0].place}: {ours[0].text}", err=True)
        return _NOT_DELIVERED
    failed = [one for one in judged if one.failed]
    if failed and not (delivery.stalled and all(one.threshold.is_latency for one in failed)):
        return _THRESHOLD_FAILED
    asked, achieved = one.asked_per_second, one.achieved_per_second
    short = asked is not None and one.planned > 1 and one.sent < _LEAST_DELIVERED * one.planned
    # Figures of a load that was not what was asked for, or that nobody answered, are no evidence of anything.
    if not delivery.answered or short or (delivery.bottleneck and (judged or asked is not None)):
        typer.echo(f"not delivered as asked: {one.sent:,} of {one.planned:,} sent, {achieved:,.0f}/s", err=True)
        return _NOT_DELIVERED
    return 0


async def _watch(engine: Engine | Fleet, workload: AnyWorkload, console: Console, abort_at: list[Threshold]) -> None:
    """Show how it goes, and stop the run when a threshold is broken."""
    from rich.live import Live

    from proofload.cli import load_view
    from proofload.cli.thresholds import judge_all
    from proofload.plan.workload import span_ns

    last_sent, last_ns, last_line_ns = 0, 0, 0
    with Live(console=console, auto_refresh=False, transient=True) as shown:
        while True:
            await asyncio.sleep(_LIVE_EVERY_S)
            progress = engine.progress()
            passed_s = (progress.elapsed_ns - last_ns) / NS_PER_SECOND
            rate_now = (progress.sent - last_sent) / passed_s if passed_s > 0 else 0.0
            if console.is_terminal:
                shown.update(load_view.live(progress, span_ns(workload), rate_now), refresh=True)
                last_sent, last_ns = progress.sent, progress.elapsed_ns
            elif progress.elapsed_ns - last_line_ns >= _LINE_EVERY_S * NS_PER_SECOND:
                console.print(load_view.line(progress, rate_now))
                last_sent, last_ns, last_line_ns = progress.sent, progress.elapsed_ns, progress.elapsed_ns
            for one in judge_all(abort_at, progress):
                if one.failed and one.samples >= _LEAST_TO_ABORT:
                    engine.stop(reason=f"stopped because {one.threshold.text}: {one.told}")


@contextmanager
def _interruptible(engine: Engine | Fleet) -> Iterator[list[int]]:
    """Let the first signal end the run gracefully and the second at once; yield the signals that came."""
    came: list[int] = []
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        came.append(number)
        engine.stop(at_once=len(came) > 1, reason="interrupted")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, int(number))
    try:
        yield came
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _write(engine: Engine | Fleet, report: Path | None, history: Path | None, content: dict[str, Any]) -> None:
    try:
        if report is not None:
            report.write_text(json.dumps(content, indent=1) + "\n")
        if history is not None:
            engine.history().write(history)
    except OSError as error:
        raise ToolError(f"{error.filename}: got {error.strerror}, expected a file that can be written") from error
