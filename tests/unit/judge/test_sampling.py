"""How rare a wrong answer may be and still be seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.core.seeds import stream
from proofload.judge.sampling import SHARE, needed_to_see, share_seen, with_share
from proofload.judge.verdict import held


@given(st.integers(1, 10**9))
def test_none_of_that_share_shows_one_time_in_twenty(examined):
    share = share_seen(examined)
    assert 0 < share <= 0.95 + 1e-12
    assert (1 - share) ** examined == pytest.approx(0.05, rel=1e-5)


@given(st.floats(1e-6, 0.999))
def test_as_many_as_needed_suffice_and_one_less_does_not(share):
    needed = needed_to_see(share)
    assert share_seen(needed) <= share * (1 + 1e-9)
    assert needed == 1 or share_seen(needed - 1) > share * (1 - 1e-9)


def test_nothing_examined_shows_nothing():
    assert share_seen(0) == 1.0


def test_nineteen_samples_of_twenty_show_it():
    dice = stream(1, "share")
    share = share_seen(50)
    seen = sum(any(dice.random() < share for _ in range(50)) for _ in range(2_000))
    assert 0.93 < seen / 2_000 < 0.97


def test_a_finding_tells_it_beside_its_figures():
    found = with_share(held("x.y", "so", examined=3, keys=2), 3)
    assert found.figures["keys"] == 2
    assert found.figures[SHARE] == pytest.approx(0.6316, abs=1e-4)
