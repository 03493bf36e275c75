"""`proofload load URL`: plain load, for people who want no verdicts, and honest figures of it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from proofload.core.errors import PlanError, Problem, ToolError
from proofload.core.units import NS_PER_SECOND, parse_duration_ns, parse_rate_per_second

if TYPE_CHECKING:
    from rich.console import Console

    from proofload.cli.thresholds import Judged, Threshold
    from proofload.drive.engine import Engine
    from proofload.drive.fleet import Fleet
    from proofload.plan.operation import Operation
    from proofload.plan.workload import AnyWorkload

# As in docs/exit-status.md: what the command found, not how it was called.
_THRESHOLD_FAILED = 10
_NOT_DELIVERED = 11
_INTERRUPTED = 128
_NAME = "load"
_LIVE_EVERY_S = 0.25
_LINE_EVERY_S = 5.0
_LEAST_TO_ABORT = 100
_LEAST_DELIVERED = 0.95


def load(
    url: Annotated[str, typer.Argument(help="Where to send requests; its path is the one requested.")],
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
    order = _Order(seed=fresh_seed() if seed is None else seed)
    _read_requests(order, given)
    _read_workload(order, given)
    _read_target(order, url, target)
    order.options["tls"] = _tls(ca, cert, key, insecure)
    order.options["keep_headers"] = tuple(keep_header or ())
    console = Console(quiet=quiet, highlight=False)
    places = _Places(processes, cluster)
    status = asyncio_run(_run(order, url, unix_socket, places, thresholds, abort, console, report, history))
    if status:
        raise typer.Exit(status)


@dataclass(slots=True)
class _Order:
    """What the arguments ask for."""

    seed: int
    operations: dict[str, Operation] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    run: Any = _NAME
    data: tuple[dict[str, Any], ...] = ()
    workload: AnyWorkload | None = None


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the generators run."""

    processes: int | None
    cluster: str | None


@dataclass(frozen=True, slots=True)
class _InTurn:
    """A script that sends the operation that the data names next."""

    def __call__(self, user: Any) -> Any:
        return user.request(user.feed()["operation"]).__await__()


def asyncio_run(coroutine: Any) -> int:
    """Run to the end on uvloop and return the exit status."""
    import uvloop

    status: int = uvloop.run(coroutine)
    return status


# -- arguments in ----------------------------------------------------------------------------------------------------


def _read_requests(order: _Order, given: dict[str, Any]) -> None:
    from proofload.drive.script import FileScript

    bodies = [name for name in ("json_", "data", "from_file", "script") if given[name] is not None]
    if len(bodies) > 1:
        raise _wrong(
            "options", " and ".join(f"--{name.strip('_').replace('_', '-')}" for name in bodies), "one of them"
        )
    if given["script"] is not None:
        order.run = FileScript.of(given["script"])
    elif given["from_file"] is not None:
        names = _read_file(order, given["from_file"], given["timeout"])
        order.run, order.data = _InTurn(), tuple({"operation": name} for name in names)
    else:
        parts = urlsplit(given["url"])
        headers = dict(_header(text) for text in given["header"] or ())
        content: dict[str, Any] = {"path": (parts.path or "/") + (f"?{parts.query}" if parts.query else "")}
        content |= {"method": (given["method"] or ("POST" if bodies else "GET")).upper(), "headers": headers}
        if given["json_"] is not None:
            try:
                content["json"] = json.loads(given["json_"])
            except ValueError as error:
                raise _wrong("--json", repr(given["json_"]), f"JSON ({error})") from error
        if given["data"] is not None:
            content["body"] = given["data"]
        order.operations[_NAME] = _operation("options", content, given["timeout"])


def _read_file(order: _Order, path: Path, timeout: str) -> Iterator[str]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise _wrong(str(path), str(error), "a file of requests") from error
    names = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            content = json.loads(line)
        except ValueError as error:
            raise _wrong(where, repr(line[:60]), 'a request such as {"method": "GET", "path": "/"}') from error
        if not isinstance(content, dict):
            raise _wrong(where, repr(line[:60]), 'a request such as {"method": "GET", "path": "/"}')
        name = str(content.get("name") or f"{content.get('method', 'GET')} {content.get('path')}")
        order.operations[name] = _operation(where, content, timeout)
        names.append(name)
    if not names:
        raise _wrong(str(path), "no requests", 'a JSON object such as {"path": "/"} on each line')
    return iter(names)


def _operation(where: str, content: dict[str, Any], timeout: str) -> Operation:
    from pydantic import ValidationError

    from proofload.plan.operation import Operation

    try:
        return Operation.model_validate({"timeout": timeout, **content})
    except ValidationError as error:
        problems = [
            Problem(f"{where} {'.'.join(map(str, one['loc']))}", repr(one["input"]), one["msg"])
            for one in error.errors()
        ]
        raise PlanError(problems) from error


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise _wrong("--header", repr(text), "'Name: value'")
    return name.strip(), value.strip()


def _read_workload(order: _Order, given: dict[str, Any]) -> None:
    from proofload.plan import workload as plan
    from proofload.plan.stages import parse_stages

    shapes = [name for name in ("rate", "users", "stages") if given[name] is not None]
    if len(shapes) > 1:
        raise _wrong("options", " and ".join(f"--{name}" for name in shapes), "one of --rate, --users, --stages")
    common: dict[str, Any] = {
        "name": _NAME,
        "run": order.run,
        "data": order.data,
        "sources": tuple(given["source"] or ()),
    }
    opened: dict[str, Any] = {**common, "max_users": given["max_users"]}
    for_ns = _value("--for", given["for_"], parse_duration_ns)
    if given["stages"] is not None:
        is_rate, start, steps = _value("--stages", given["stages"], parse_stages)
        if not is_rate:
            order.workload = plan.RampingUsers(stages=steps, start=int(start), **common)
        else:
            kind = plan.PoissonArrivals if given["poisson"] else plan.RampingRate
            order.workload = kind(stages=steps, start=start, **opened)
    elif given["rate"] is not None:
        rate = _value("--rate", given["rate"], parse_rate_per_second)
        opened["warm_users"] = min(given["max_users"], 10)
        if given["poisson"]:
            order.workload = plan.PoissonArrivals.at(rate, for_ns, **opened)
        else:
            order.workload = plan.ConstantRate(rate=rate, for_ns=for_ns, **opened)
    elif given["requests"] is not None:
        many = given["users"] or 10
        order.workload = plan.SharedIterations(users=many, iterations=given["requests"], within_ns=for_ns, **common)
    else:
        order.workload = plan.ConstantUsers(users=given["users"] or 10, for_ns=for_ns, **common)


def _read_target(order: _Order, url: str, path: Path | None) -> None:
    """Take operations, ceilings and the right to load other addresses than loopback from a target file."""
    if path is None:
        return
    from proofload.drive.endpoint import Endpoint
    from proofload.plan.ownership import prove_ownership
    from proofload.plan.reader import read_target
    from proofload.plan.workload import Ceilings

    target = read_target(path)
    if Endpoint.of(url).host != Endpoint.of(target.address).host:
        raise _wrong("URL", url, f"a place on {target.address}, which {path} names")
    order.operations = {**target.operations, **order.operations}
    limits = target.ceilings
    order.options["ceilings"] = Ceilings(limits.requests_per_second, limits.total_requests, limits.duration)
    order.options["vet"] = prove_ownership(target)


def _tls(ca: Path | None, cert: Path | None, key: Path | None, insecure: bool) -> Any:
    from proofload.drive.endpoint import TlsSettings

    for name, path in (("--ca", ca), ("--cert", cert), ("--key", key)):
        if path is not None and not path.is_file():
            raise _wrong(name, str(path), "a file")
    return TlsSettings(not insecure, ca, cert, key)


def _value(where: str, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise _wrong(where, repr(text), str(error)) from error


def _wrong(where: str, got: str, expected: str) -> PlanError:
    return PlanError([Problem(where, got, expected)])


# -- the run ---------------------------------------------------------------------------------------------------------


async def _run(
    order: _Order,
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
    from proofload.drive.endpoint import Endpoint
    from proofload.drive.engine import Engine
    from proofload.drive.fleet import Fleet

    assert order.workload is not None
    endpoint = Endpoint.of(url, unix_socket)
    engine: Engine | Fleet
    # Drawing takes milliseconds, and arrivals would wait for it: with a live view the load comes from elsewhere.
    if places.cluster is not None:
        from proofload.drive.cluster import RayNodes

        nodes = RayNodes(places.cluster, places.processes)
        console.print(
            f"{nodes.processes} generators on {len(set(nodes.nodes))} nodes: {', '.join(sorted(set(nodes.nodes)))}"
        )
        engine = Fleet(nodes.processes, endpoint, order.operations, places=nodes, seed=order.seed, **order.options)
    elif (places.processes or 1) > 1 or (console.is_terminal and not console.quiet):
        engine = Fleet(places.processes or 1, endpoint, order.operations, seed=order.seed, **order.options)
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
    finally:
        engine.close()
    if signals:
        return _INTERRUPTED + signals[0]
    return _status(judged, delivery)


def _status(judged: list[Judged], delivery: Any) -> int:
    if any(one.failed for one in judged):
        return _THRESHOLD_FAILED
    (one,) = delivery.workloads
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
