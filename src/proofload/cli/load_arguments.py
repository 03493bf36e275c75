"""What the arguments of `proofload load` ask for: requests, a workload, and the right to send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from proofload.core.errors import PlanError, Problem
from proofload.core.units import parse_duration_ns, parse_rate_per_second

if TYPE_CHECKING:
    from proofload.plan.operation import Operation
    from proofload.plan.workload import AnyWorkload

_NAME = "load"


@dataclass(slots=True)
class LoadOrder:
    """What the arguments ask for."""

    seed: int
    operations: dict[str, Operation] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    run: Any = _NAME
    data: tuple[dict[str, Any], ...] = ()
    workload: AnyWorkload | None = None


@dataclass(frozen=True, slots=True)
class _InTurn:
    """A script that sends the operation that the data names next."""

    def __call__(self, user: Any) -> Any:
        return user.request(user.feed()["operation"]).__await__()


def url_of(url: str | None, locustfile: Path | None) -> str:
    """Return where to send: the URL, or the host that a Locust file names. Raises PlanError where there is neither."""
    from proofload.drive.locust import LocustScript

    if url is None and locustfile is not None:
        url = LocustScript.of(locustfile).host
    if not url:
        raise _wrong("URL", "none", "an address such as http://127.0.0.1:8080/, or a Locust file with a `host`")
    return url


def read_requests(order: LoadOrder, given: dict[str, Any]) -> None:
    """Take what is to be sent from the arguments. Raises PlanError."""
    from proofload.drive.locust import LocustScript
    from proofload.drive.script import FileScript

    bodies = [name for name in ("json_", "data", "from_file", "script", "locustfile") if given[name] is not None]
    if len(bodies) > 1:
        raise _wrong(
            "options", " and ".join(f"--{name.strip('_').replace('_', '-')}" for name in bodies), "one of them"
        )
    if given["script"] is not None:
        order.run = FileScript.of(given["script"])
    elif given["locustfile"] is not None:
        order.run = LocustScript.of(given["locustfile"])
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


def _read_file(order: LoadOrder, path: Path, timeout: str) -> Iterator[str]:
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


def read_workload(order: LoadOrder, given: dict[str, Any]) -> None:
    """Take how it is to be sent from the arguments. Raises PlanError."""
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


def read_target_of(order: LoadOrder, url: str, path: Path | None) -> None:
    """Take operations, ceilings and the right to load other addresses than loopback from a target file."""
    if path is None:
        return
    from proofload.drive.http.endpoint import Endpoint
    from proofload.drive.ownership_challenge import prove_ownership
    from proofload.plan.reader import read_target
    from proofload.plan.workload import Ceilings

    target = read_target(path)
    if Endpoint.of(url).host != Endpoint.of(target.address).host:
        raise _wrong("URL", url, f"a place on {target.address}, which {path} names")
    order.operations = {**target.operations, **order.operations}
    limits = target.ceilings
    order.options["ceilings"] = Ceilings(limits.requests_per_second, limits.total_requests, limits.duration)
    order.options["vet"] = prove_ownership(target)


def tls_of(ca: Path | None, cert: Path | None, key: Path | None, insecure: bool) -> Any:
    """Return how certificates are checked. Raises PlanError for a file that is not there."""
    from proofload.drive.http.endpoint import TlsSettings

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
