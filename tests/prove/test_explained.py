"""No FAIL where an honest system explains what was seen, by trying every placing of the instants."""

import pytest
from tests.prove.explained import (
    CIRCUIT_DEFECTS,
    LIMITER_DEFECTS,
    LIMITERS,
    Call,
    circuits,
    explained_by_a_circuit,
    explained_by_a_limiter,
    limiters,
)


@pytest.mark.parametrize("defect", LIMITER_DEFECTS)
@pytest.mark.parametrize("model", LIMITERS)
def test_a_limiter_is_accused_only_where_no_honest_one_explains_it(model, defect):
    tally = limiters(defect, model, blur=3, worlds=30)
    assert tally.unsound == 0
    assert tally.found >= 0.8 * tally.tellable
    assert (tally.tellable > 0) == (defect != "honest")


@pytest.mark.parametrize("blur", [0, 1, 3])
@pytest.mark.parametrize("defect", CIRCUIT_DEFECTS)
def test_a_circuit_is_accused_only_where_no_honest_one_explains_it(defect, blur):
    tally = circuits(defect, blur, worlds=60)
    assert tally.unsound == 0
    if defect == "honest":
        assert tally.tellable == 0


def test_the_search_knows_what_overlap_hides():
    apart = [Call(0, 0, "admitted"), Call(1, 1, "admitted"), Call(2, 2, "admitted")]
    assert not explained_by_a_limiter(apart, "fixed_window", 2)
    assert explained_by_a_limiter([*apart[:2], Call(2, 21, "admitted")], "fixed_window", 2)
    failed = [Call(0, 0, "failure"), Call(1, 1, "failure")]
    assert not explained_by_a_circuit([*failed, Call(3, 3, "failure")])
    assert explained_by_a_circuit([*failed, Call(0, 3, "failure")])
    assert explained_by_a_circuit([*failed, Call(3, 3, "rejected")])
