"""Writes one workload as a script for k6; says why where k6 can't send it as it is meant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proofload.core.errors import UnfitEngineError
from proofload.core.units import NS_PER_MS, NS_PER_SECOND
from proofload.drive.http.endpoint import Endpoint
from proofload.plan import workload as plan
from proofload.plan.operation import Operation, render

ANSWER = "proofload_answer"
"""A metric of one point a request: by its metadata the request's headers are told, which k6's own points leave out."""
_MOST_USERS = 2_000
_CLOSED = (plan.ConstantUsers, plan.RampingUsers, plan.SharedIterations, plan.PerUserIterations, plan.Sequence)


def why_not(workload: plan.AnyWorkload, operations: Mapping[str, Operation]) -> str:
    """Return what of the workload k6 can't do, or nothing."""
    if isinstance(workload, plan.Burst):
        return "k6 can't release a burst at one instant over connections that stand open"
    if not isinstance(workload, _CLOSED):
        return "k6's results don't tell when an arrival was due"
    if not isinstance(workload.run, str):
        return "k6 can't run a script of proofload's"
    if workload.prepare is not None or workload.data:
        return "k6 can't prepare users, or feed them, as proofload does"
    operation = operations.get(workload.run)
    if operation is None:
        return "k6 is given declared operations only"
    if plan.user_count(workload) > _MOST_USERS:
        return f"more than {_MOST_USERS} users take k6 more memory than a case may have"
    return ""


def to_script(
    workload: plan.AnyWorkload,
    operations: Mapping[str, Operation],
    endpoint: Endpoint,
    *,
    address: str,
    id_prefix: str,
    keep_headers: tuple[str, ...] = (),
    rate_per_second: int | None = None,
    verify: bool = True,
) -> str:
    """Return the script. Raises UnfitEngineError with the reason where k6 can't send this workload.

    `address` is the vetted IP address behind the endpoint's name: k6 asks no resolver of its own. Everything of the
    target stands in the script as one JSON document, so that nothing in it becomes code.
    """
    if why := why_not(workload, operations):
        raise UnfitEngineError(f"{workload.name}: {why}; run it with proofload's own engine")
    assert isinstance(workload.run, str)
    operation = operations[workload.run]
    users = plan.user_count(workload)
    scheme = "https" if endpoint.tls else "http"
    host = endpoint.host_header or endpoint.host
    options: dict[str, Any] = {
        "scenarios": {"load": _scenario(workload, grace_ns(workload, operation))},
        "noConnectionReuse": bool(getattr(workload, "fresh_connections", False)),
        "insecureSkipTLSVerify": not verify,
        "systemTags": ["status", "method", "name", "error_code"],
        "userAgent": "proofload",
    }
    if address != endpoint.host:
        options["hosts"] = {endpoint.host: address}
    if rate_per_second is not None:
        options["rps"] = rate_per_second
    think: plan.Think | None = getattr(workload, "think", None)
    facts = {
        "options": options,
        "requests": [_request(operation, workload, index, f"{scheme}://{host}") for index in range(users)],
        "operation": operation.name,
        "prefix": id_prefix,
        "kept": list(keep_headers),
        "keep_body": operation.keep_body,
        "think": [think.least_ns / NS_PER_SECOND, think.most_ns / NS_PER_SECOND] if think else None,
        "timeout": f"{operation.timeout // NS_PER_MS}ms",
    }
    # In JSON, but not in JavaScript's older grammar, these two may stand in a text as they are.
    text = json.dumps(facts).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"const FACTS = {text};\n{_BODY}"


_BODY = Path(__file__).with_name("body.js").read_text(encoding="utf-8")


def _request(operation: Operation, workload: plan.AnyWorkload, index: int, origin: str) -> dict[str, Any]:
    identity = workload.identities[index % len(workload.identities)] if workload.identities else {}
    source = workload.sources[index % len(workload.sources)] if workload.sources else ""
    fields: dict[str, object] = {f"user.{key}": value for key, value in identity.items()}
    fields |= {"user.index": index, "user.number": index, "user.source": source, "user.tag": workload.tag}
    made = render(operation, fields, token=identity.get("token"))
    return {
        "method": made.method,
        "url": origin + made.target,
        "headers": dict(made.headers),
        "body": made.body.decode() if made.body is not None else None,
    }


def grace_ns(workload: plan.AnyWorkload, operation: Operation) -> int:
    """Return how long k6 waits at its end: of requests that it cuts off it says nothing, so none may be."""
    return max(workload.graceful_ns, operation.timeout + NS_PER_SECOND)


def _scenario(workload: plan.AnyWorkload, graceful_ns: int) -> dict[str, Any]:
    common: dict[str, Any] = {"startTime": _time(workload.start_after_ns), "gracefulStop": _time(graceful_ns)}
    match workload:
        case plan.ConstantUsers():
            told: dict[str, Any] = {
                "executor": "constant-vus",
                "vus": workload.users,
                "duration": _time(workload.for_ns),
            }
        case plan.RampingUsers():
            stages = [{"duration": _time(stage.for_ns), "target": int(stage.to)} for stage in workload.stages]
            told = {"executor": "ramping-vus", "startVUs": workload.start, "stages": stages}
            told["gracefulRampDown"] = _time(graceful_ns)
        case plan.SharedIterations():
            told = {"executor": "shared-iterations", "vus": workload.users, "iterations": workload.iterations}
            told["maxDuration"] = _time(workload.within_ns)
        case plan.PerUserIterations():
            told = {"executor": "per-vu-iterations", "vus": workload.users, "iterations": workload.iterations}
            told["maxDuration"] = _time(workload.within_ns)
        case plan.Sequence():
            told = {"executor": "per-vu-iterations", "vus": 1, "iterations": workload.n}
            told["maxDuration"] = _time(plan.span_ns(workload))
        case _:
            raise UnfitEngineError(f"{workload.name}: {type(workload).__name__} has no executor in k6")
    return {**common, **told}


def _time(duration_ns: int) -> str:
    return f"{-(-duration_ns // NS_PER_MS)}ms"
