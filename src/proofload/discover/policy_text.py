"""A discovered policy as YAML to paste into a target file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from proofload.core.text import visible
from proofload.core.units import NS_PER_MS, NS_PER_SECOND
from proofload.plan.policies import RateLimitHeaders, RateLimitPolicy

_NEVER_FOLD = 1 << 30


def policy_yaml(policy: RateLimitPolicy, indent: int = 0) -> str:
    """Return `policies:` with this one limit, each line indented by so many spaces.

    >>> policy_yaml(RateLimitPolicy.model_validate({"limit": 9, "window": "1s", "probe": "read"})).splitlines()[5]
    '      limit: 9'
    """
    lines = ["policies:", "  rate_limit:"]
    for place, line in enumerate(_lines(policy)):
        lines.append(("    - " if place == 0 else "      ") + line)
    return "\n".join(" " * indent + line for line in lines) + "\n"


def duration_text(duration_ns: int) -> str:
    """Return a duration exactly, as a target file takes it.

    >>> duration_text(60 * NS_PER_SECOND), duration_text(2_500_000_000), duration_text(1_000_001)
    ('60s', '2500ms', '1000001ns')
    """
    for unit, ns in (("s", NS_PER_SECOND), ("ms", NS_PER_MS)):
        if duration_ns % ns == 0:
            return f"{duration_ns // ns}{unit}"
    return f"{duration_ns}ns"


def _lines(policy: RateLimitPolicy) -> Iterator[str]:
    yield f"name: {scalar(policy.name)}"
    yield f"scope: {policy.scope}"
    yield f"algorithm: {policy.algorithm}"
    yield f"limit: {policy.limit}"
    yield f"window: {duration_text(policy.window)}"
    if policy.alignment == "clock":
        yield "alignment: clock"
    if policy.is_bucket and policy.burst is not None:
        yield f"burst: {policy.burst}"
    yield f"applies_to: {flow(policy.applies_to)}"
    if policy.exempt:
        yield f"exempt: {flow(policy.exempt)}"
    yield f"probe: {scalar(policy.probe)}"
    yield f"status: {policy.status}"
    headers = _headers(policy.headers)
    if headers:
        yield f"headers: {flow(headers)}"


def _headers(headers: RateLimitHeaders) -> Mapping[str, object]:
    """Return what differs from what a target file promises without a word."""
    usual = RateLimitHeaders().model_dump()
    return {name: value for name, value in headers.model_dump().items() if value != usual[name]}


def flow(value: object) -> str:
    """Return a list or mapping on one line of YAML."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=_NEVER_FOLD).strip()


def scalar(text: str) -> str:
    r"""Return a text as YAML on one line, in quotes where it needs them.

    >>> scalar("a b"), scalar("yes"), scalar("a\nb")
    ('a b', "'yes'", '"a\\nb"')
    """
    lines = yaml.safe_dump(text, width=_NEVER_FOLD).splitlines()
    if lines[1:] not in ([], ["..."]):
        lines = yaml.safe_dump(text, width=_NEVER_FOLD, default_style='"').splitlines()
    return lines[0]


def comment(text: str) -> str:
    """Return a text as a comment of one line, whatever signs it holds: what others wrote must not end it."""
    return f"# {visible(text)}"
