"""No text crashes the reader, and what it read survives being written down."""

import json

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofload.core.errors import PlanError
from proofload.plan.reader import from_resolved, parse_target, resolved

NAMES = [
    *("version", "address", "operations", "policies", "rate_limit", "limit", "window", "users", "ownership", "token"),
    *("allow", "sources", "faults", "driver", "command", "stop", "services", "metrics", "path", "headers", "json"),
]
KEYS = st.sampled_from(NAMES) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
FRAGMENTS = st.sampled_from(
    [
        *(
            "version: 1",
            "address: http://127.0.0.1",
            "operations:",
            "{",
            "}",
            "[",
            "]",
            ":",
            " ",
            "\n",
            "- ",
            "&a",
            "*a",
        ),
        *("!!int", "!!str", "!!binary", "? ", "|", ">", "'", '"', "#", "%", "---", "...", "a", "${env:X}", "\t"),
        *("\ud800", "0x1f", "1e999", ".nan", "2001-01-01", "=", "~", "@", "`", "<<"),
    ]
)


def read(text: str) -> None:
    problems = None
    try:
        parse_target(text, "t.yaml", {})
    except PlanError as error:
        problems = error.problems
    assert problems is None or problems
    for one in problems or ():
        assert one.where
        assert one.expected
        assert str(one).isprintable()


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    read(text)


@given(st.lists(FRAGMENTS, max_size=30).map("".join))
def test_any_pieces_of_yaml(text: str) -> None:
    read(text)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_document(content: dict[str, object]) -> None:
    read(yaml.safe_dump(content))


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("password"), inner, max_size=3),
    max_leaves=6,
)
OPERATIONS = st.fixed_dictionaries(
    {"path": st.sampled_from(["/", "/a?b=c&token=d", "/u/${user.name}"])},
    optional={
        "method": st.sampled_from(["GET", "POST"]),
        "json": JSON,
        "headers": st.dictionaries(st.sampled_from(["X-Api-Key", "Accept", "Cookie"]), TEXTS, max_size=3),
        "timeout": st.sampled_from(["1s", "1500ms", "1m30s", "1234567us"]),
        "accept": st.lists(st.integers(100, 599), max_size=3),
    },
)
LIMITS = st.fixed_dictionaries(
    {"limit": st.integers(1, 1_000_000), "window": st.sampled_from(["60s", "1h", "123ms"]), "probe": st.just("read")},
    optional={
        "scope": st.sampled_from(["client_ip", "global"]),
        "headers": st.fixed_dictionaries({}, optional={"reset": st.none() | st.just("X-Reset")}),
        "when_store_is_down": st.sampled_from([None, "open", "closed"]),
    },
)
TARGETS = st.builds(
    lambda operations, limit: {
        "version": 1,
        "address": "http://127.0.0.1:8080",
        "operations": {**operations, "read": {"path": "/read"}},
        "policies": {"rate_limit": [limit]},
    },
    st.dictionaries(st.sampled_from(["a", "b", "token", "command"]), OPERATIONS, max_size=3),
    LIMITS,
)


@given(TARGETS)
def test_what_is_resolved_is_read_back_as_the_same_target(content: dict[str, object]) -> None:
    target = parse_target(yaml.safe_dump(content, allow_unicode=True), "t.yaml", {})
    written = resolved(target)
    again = from_resolved(json.loads(json.dumps(written, allow_nan=False)))
    assert resolved(again) == written
    assert again.policies == target.policies
    assert again.model_copy(update={"operations": {}}) == target.model_copy(update={"operations": {}})
