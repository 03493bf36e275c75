"""Writes a commented target file from what was found out."""

from __future__ import annotations

import json
from collections.abc import Iterator

from proofload.discover.limiter import Discovery
from proofload.discover.policy_text import comment, flow, policy_yaml, scalar
from proofload.discover.survey import Found
from proofload.plan.operation import Operation

_MOST_LEFT_OUT = 12


def draft(found: Found, limit: Discovery | None) -> str:
    """Return the text of a target file. What was seen is declared; what was not stands there as a comment."""
    return "\n".join(_lines(found, limit)) + "\n"


def _lines(found: Found, limit: Discovery | None) -> Iterator[str]:
    target = found.target
    yield "# What proofload init found. Every key is explained in docs/target.md; check it with: proofload check-target"
    yield "version: 1"
    yield f"name: {scalar(target.name)}"
    yield f"address: {scalar(target.address)}"
    yield ""
    if target.users is not None:
        yield "# How a test user comes to be. Nobody else is ever acted for: every name begins with the prefix."
        yield "users:"
        yield f"  prefix: {scalar(target.users.prefix)}"
        if target.users.register_:
            yield f"  register: {scalar(target.users.register_)}"
        yield f"  login: {scalar(target.users.login or '')}"
        yield f"  token: {scalar(target.users.token)}  # where the token stands in the log-in's answer"
    else:
        yield "# No log-in was found, or none is needed. If one is: docs/target.md, `users`."
    yield ""
    yield "# The requests that cases may send."
    yield "operations:"
    for name, operation in target.operations.items():
        yield from _operation(name, operation)
    for left_out in found.left_out[:_MOST_LEFT_OUT]:
        yield f"  {comment(f'not here: {left_out}')}"
    if len(found.left_out) > _MOST_LEFT_OUT:
        yield f"  # not here: {len(found.left_out) - _MOST_LEFT_OUT} more of the document"
    yield ""
    yield from _policies(found, limit)


def _operation(name: str, operation: Operation) -> Iterator[str]:
    yield f"  {scalar(name)}:"
    if operation.method != "GET":
        yield f"    method: {operation.method}"
    yield f"    path: {scalar(operation.path)}"
    if operation.json_body is not None:
        yield f"    json: {flow(json.loads(json.dumps(operation.json_body)))}"
    if operation.auth != "none":
        yield f"    auth: {operation.auth}"
    if operation.effect != "none":
        yield f"    effect: {operation.effect}"


def _policies(found: Found, limit: Discovery | None) -> Iterator[str]:
    yield "# What your controls promise. A control that is not declared is not tested, and its cases are SKIPPED."
    counter = found.counter
    declared = limit is not None and limit.policy is not None
    if limit is not None:
        yield from _told(limit)
    if limit is not None and limit.policy is not None:
        yield policy_yaml(limit.policy).rstrip()
    elif counter is not None:
        yield "policies:"
    else:
        yield "policies: {}"
    if counter is not None:
        yield "  # This counter rose by just as many as were sent."
        yield "  metrics:"
        yield f"    url: {scalar(found.target.address + counter.page)}"
        yield f"    requests_total: {scalar(counter.name)}"
        if dict(counter.labels) != {"route": "route", "method": "method", "status": "status"}:
            yield f"    labels: {flow(dict(counter.labels))}"
        if counter.only:
            yield f"    only: {flow(dict(counter.only))}"
    elif found.metrics:
        yield f"  {comment(found.metrics)} is a metrics page, but no counter of it rose by just as many as were sent:"
        yield "  # docs/target.md, `policies.metrics`, says how to declare one."
    missing = "circuit_breaker, locks, audit, overload" + ("" if declared else ", rate_limit")
    yield f"  # Not to be seen from outside, so not declared: {missing}. See docs/target.md."


def _told(limit: Discovery) -> Iterator[str]:
    if limit.policy is None:
        yield comment(f"rate limit: {limit.why_not}")
    else:
        yield comment(f"The rate limit is a {limit.fits[0]}.")
        for other in limit.fits[1:]:
            yield comment(f"It may be as well: {other}.")
    for note in limit.notes:
        yield comment(note)
