"""Writes a case as a script for k6, as sharp as k6 can be, and says in it what k6 can't prove."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.k6.javascript import filled, literal, request, successes
from proofload.cases.latency.percentiles import measured
from proofload.cases.lock.contention import reckoned
from proofload.cases.monitoring.accuracy import times_each
from proofload.cases.reads import repeatable
from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_MS, NS_PER_SECOND
from proofload.plan.policies import LockPolicy, RateLimitPolicy
from proofload.plan.target import Target

_SECONDS_OF_LATENCY = 30
_LEAST_SAMPLES = 400
"""Fewer would make a 99th percentile out of four requests."""
_BURSTS = 2


def k6_script(case_id: str, target: Target) -> str:
    """Return a k6 script for the case.

    Raises PlanError where k6 can't do what the case rests on, or where the target does not declare the control. Every
    value of the target stands in the script as a JSON literal; a user's fields and token come from the environment.
    """
    writer = WRITERS.get(case_id)
    if writer is None:
        known = ", ".join(sorted(WRITERS))
        why = "its faults, books or bursts are beyond k6" if case_id.startswith("TC-") else "no case"
        raise PlanError([Problem("CASE", f"{case_id}: {why}", f"one of {known}", "proofload run does the others")])
    return writer(target)


def _enforcement(target: Target) -> str:
    policy = _limit(target)
    allowed = allowance(policy)
    return filled(
        "enforcement",
        _spending(target, policy)
        | {
            "allowed": literal(allowed),
            "flows": literal(policy.limit * NS_PER_SECOND / policy.window if policy.is_bucket else 0),
            "successes": successes(target, policy.probe),
        },
    )


def _headers(target: Target) -> str:
    policy = _limit(target)
    names = policy.headers
    promised = {name: getattr(names, name) for name in ("limit", "remaining", "reset", "retry_after")}
    if not any(promised.values()):
        raise _undeclared("policies.rate_limit.headers")
    if policy.is_bucket:
        why = f"{policy.algorithm}: what is left of it flows in all the time, and k6's script can't tell how much"
        raise PlanError([Problem("policies.rate_limit", why, "a limit with windows", "proofload run TC-RL-002 can")])
    return filled(
        "headers",
        _spending(target, policy)
        | {
            "limit": literal(policy.limit),
            "names": literal(promised),
            "reset_unit": literal(names.reset_unit),
        },
    )


def _lock(target: Target) -> str:
    locks = reckoned(target)
    if not locks:
        raise _undeclared("policies.locks with amount and balance")
    told = [_told(target, lock) for lock in locks]
    refusing = any(lock.on_contention == "reject" for lock in locks)
    return filled(
        "lock",
        {
            "bursts": literal(_BURSTS),
            "at_once": literal(max(lock.concurrency for lock in locks)),
            "least_refused": literal("count>0" if refusing else "count<1"),
            "locks": "\n".join(told),
        },
    )


def _told(target: Target, lock: LockPolicy) -> str:
    assert lock.amount is not None
    assert lock.balance is not None
    values = {
        "name": literal(lock.name),
        "request": f"() => {request(target, lock.operation)}",
        "reads": f"() => {request(target, lock.balance)}",
        "field": literal(lock.balance_field),
        "moves": literal(lock.amount if lock.kind == "deposit" else -lock.amount),
        "at_once": literal(lock.concurrency),
        "waits": literal(lock.on_contention == "wait"),
        "status": literal(lock.status),
        "code": literal(lock.code),
        "successes": successes(target, lock.operation),
    }
    return "  {\n" + "".join(f"    {name}: {value},\n" for name, value in values.items()) + "  },"


def _metrics(target: Target) -> str:
    policy = target.policies.metrics
    if policy is None or policy.url is None:
        raise _undeclared("policies.metrics.url")
    names = repeatable(target)
    if not names:
        raise _undeclared("operations without effect")
    operations = []
    for name in names:
        operation = target.operations[name]
        route = literal(operation.counted_as)
        sends = f"request: () => {request(target, name)}"
        operations.append(f"  {{ route: {route}, method: {literal(operation.method)}, {sends} }},")
    return filled(
        "metrics",
        {
            "page": literal(policy.url),
            "counter": literal(policy.requests_total),
            "labels": literal(policy.labels),
            "only": literal(policy.only),
            "each": literal(times_each(target, names)),
            "operations": "\n".join(operations),
        },
    )


def _latency(target: Target) -> str:
    policy = target.policies.latency
    if policy is None:
        raise _undeclared("policies.latency")
    rate = max(policy.levels[0], -(-_LEAST_SAMPLES // _SECONDS_OF_LATENCY))
    bounds = [
        f"p({share})<={within / NS_PER_MS:g}"
        for share, within in ((90, policy.p90_within), (99, policy.p99_within))
        if within is not None
    ]
    scenarios: dict[str, object] = {}
    thresholds: dict[str, list[str]] = {"dropped_iterations": ["count<1"]}
    functions: list[str] = []
    for number, name in enumerate(measured(target)):
        key = f"operation_{number}"
        scenarios[key] = {
            "executor": "constant-arrival-rate",
            "exec": key,
            "rate": rate,
            "timeUnit": "1s",
            "duration": f"{_SECONDS_OF_LATENCY}s",
            "preAllocatedVUs": 2 * rate,
        }
        only = f"{{scenario:{key}}}"
        thresholds[f"http_req_duration{only}"] = bounds or ["p(99)>=0"]
        thresholds[f"http_reqs{only}"] = [f"count>={_LEAST_SAMPLES}"]
        thresholds[f"http_req_failed{only}"] = ["rate<=0"]
        sends = f"http.request(...{request(target, name)});"
        functions.append(f"// {literal(name)}\nexport function {key}() {{\n  {sends}\n}}\n")
    return filled(
        "latency",
        {
            "scenarios": json.dumps(scenarios, indent=2),
            "thresholds": json.dumps(thresholds, indent=2),
            "functions": "\n".join(functions).rstrip(),
        },
    )


WRITERS: Mapping[str, Callable[[Target], str]] = {
    "TC-LATENCY-001": _latency,
    "TC-LOCK-001": _lock,
    "TC-MON-001": _metrics,
    "TC-RL-001": _enforcement,
    "TC-RL-002": _headers,
}
"""The cases whose intent k6 can express."""


def _limit(target: Target) -> RateLimitPolicy:
    policy = gateway_limit(target)
    if policy is None:
        raise _undeclared("policies.rate_limit")
    return policy


def _spending(target: Target, policy: RateLimitPolicy) -> dict[str, str]:
    """Return what a script needs that spends an allowance, and more, from one client."""
    allowed, seconds = allowance(policy), policy.window / NS_PER_SECOND
    return {
        "window": literal(seconds),
        "by_the_clock": literal(policy.alignment == "clock"),
        "times": literal(allowed + max(20, allowed // 2)),
        "lasts": literal(f"{max(1, round(seconds))}s"),
        "request": request(target, policy.probe),
        "rejection": literal(policy.status),
    }


def _undeclared(what: str) -> PlanError:
    return PlanError([Problem(what, "nothing", "the promise that the case holds the target to", "see docs/target.md")])
