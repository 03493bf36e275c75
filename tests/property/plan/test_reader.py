"""No text crashes the reader."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from proofload.core.errors import PlanError
from proofload.plan.reader import parse_target

KEYS = st.sampled_from(["version", "address", "operations", "policies", "rate_limit", "limit", "window", "users", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def read(text: str) -> None:
    problems = None
    try:
        parse_target(text, "t.yaml", {})
    except PlanError as error:
        problems = error.problems
    assert problems is None or all(one.where and one.expected for one in problems)


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    read(text)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_document(content: dict[str, object]) -> None:
    read(yaml.safe_dump(content))
