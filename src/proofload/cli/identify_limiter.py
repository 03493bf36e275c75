"""What `proofload discover` does, once its arguments are known."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from rich.console import Console
from rich.text import Text

from proofload.cli.exit_status import ExitStatus
from proofload.core.errors import PlanError, Problem
from proofload.core.units import format_duration, parse_duration_ns, parse_rate_per_second
from proofload.discover.budget import Manners
from proofload.discover.limiter import Discovery, discover
from proofload.discover.policy_text import policy_yaml
from proofload.drive.ownership_challenge import prove_ownership
from proofload.plan.operation import Operation
from proofload.plan.reader import read_target
from proofload.plan.target import Target
from proofload.record.bundle import dump_json


def discover_and_tell(
    url: str | None, target: Path | None, operation: str | None, polite: Manners, *, as_json: bool, quiet: bool
) -> ExitStatus:
    """Find out what limits requests, print it, and say whether exactly one model fits."""
    declared, probe = _what(url, target, operation)
    vet = prove_ownership(declared)
    console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(text: str) -> None:
        console.print(Text(f"{text} ..."), soft_wrap=True)

    found = uvloop.run(discover(declared, probe, vet, manners=polite, say=say))
    out = Console(highlight=False)
    if as_json:
        out.file.write(dump_json(_as_json(found)).decode())
    else:
        show(found, out)
    return ExitStatus.ALL_PASS if found.sure else ExitStatus.INCONCLUSIVE


def manners(rate: str, most: int, longest: str) -> Manners:
    """Return the ceilings that the options ask for. Raises PlanError with all that is wrong with them."""
    problems: list[Problem] = []
    per_second, longest_ns = 200, 0
    try:
        per_second = int(parse_rate_per_second(rate))
        if not 1 <= per_second <= 10_000:
            problems.append(Problem("--rate", repr(rate), "between 1/s and 10000/s"))
    except ValueError as error:
        problems.append(Problem("--rate", repr(rate), str(error)))
    try:
        longest_ns = parse_duration_ns(longest)
    except ValueError as error:
        problems.append(Problem("--for", repr(longest), str(error)))
    if problems:
        raise PlanError(problems)
    return Manners(per_second, most, longest_ns)


def show(found: Discovery, console: Console) -> None:
    """Print what was found, as a person reads it."""
    took = f"{found.sent} requests in {format_duration(found.took_ns)}"
    if found.policy is None:
        console.print(Text(f"# {found.why_not} ({took})"), soft_wrap=True)
    else:
        console.print(Text(f"# {found.fits[0]}, told from {took}"), soft_wrap=True)
        for other in found.fits[1:]:
            console.print(Text(f"# fits as well: {other}"), soft_wrap=True)
    for note in found.notes:
        console.print(Text(f"# {note}"), soft_wrap=True)
    if found.policy is not None:
        console.print(Text(policy_yaml(found.policy).rstrip()), soft_wrap=True)


def _what(url: str | None, path: Path | None, operation: str | None) -> tuple[Target, str]:
    if (url is None) == (path is None):
        got = "both" if url else "neither"
        raise PlanError([Problem("discover", f"{got} of URL and --target", "exactly one", "see proofload discover -h")])
    if path is not None:
        target = read_target(path)
        limits = target.policies.rate_limit
        name = operation or (limits[0].probe if limits else next(iter(target.operations)))
        if name not in target.operations:
            known = ", ".join(target.operations)
            raise PlanError([Problem("--operation", repr(name), f"one of {known}")])
        asked = target.operations[name]
        if asked.effect == "lasting" or asked.method not in ("GET", "HEAD"):
            got = f"{name}, a {asked.method} that may change something"
            raise PlanError([Problem("--operation", got, "a GET without lasting effect")])
        return target, name
    return target_of(url or ""), "read"


def target_of(url: str, name: str = "target") -> Target:
    """Return a target that has nothing but an address and one operation, `read`. Raises PlanError."""
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        path = parts.path or "/"
        where = f"{path}?{parts.query}" if parts.query else path
        address = f"{parts.scheme}://{parts.netloc}"
        return Target(version=1, name=name, address=address, operations={"read": Operation(path=where)})
    except ValueError:
        problem = Problem("URL", repr(url), "such as http://127.0.0.1:8080/api/", "see proofload discover -h")
        raise PlanError([problem]) from None


def _as_json(found: Discovery) -> dict[str, object]:
    policy = found.policy.model_dump(mode="json") if found.policy else None
    return {
        "schema_version": 1,
        "policy": policy,
        "fits": list(found.fits),
        "notes": list(found.notes),
        "why_not": found.why_not,
        "sure": found.sure,
        "requests": found.sent,
        "took_ns": found.took_ns,
    }
