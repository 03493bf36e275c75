"""Durations survive being written down, and no text crashes the parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.core.units import format_duration, parse_duration_ns, parse_rate_per_second


@given(st.integers(0, 10**15))
def test_a_formatted_duration_reads_back_to_within_its_figures(duration_ns: int) -> None:
    again = parse_duration_ns(format_duration(duration_ns)) if duration_ns else 0
    assert abs(again - duration_ns) <= max(500_000_000 if duration_ns > 60 * 10**9 else duration_ns // 190, 0)


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    for parse in (parse_duration_ns, parse_rate_per_second):
        told = ""
        try:
            assert parse(text) >= 0
        except ValueError as error:
            told = str(error)
        assert not told or "such as" in told


@pytest.mark.parametrize("text", ["1 fortnight", "", "s", "-1s", "1", "1e3s", "60ss", "nan s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration_ns(text)
