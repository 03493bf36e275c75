"""Soundness and sharpness of the rate-limit judges on a sample of what `make prove` runs in full."""

import pytest
from tests.prove.rate_limit.limiters import HONEST
from tests.prove.rate_limit.trials import DECISIONS, detection, fails, honest_trial


@pytest.mark.parametrize("model", HONEST)
def test_honest_limiters_are_never_accused(model):
    for seed in range(20_000, 20_150):
        accused = fails(honest_trial(seed, model))
        assert not accused, f"seed {seed}: {accused[0]}"


@pytest.mark.parametrize("name", DECISIONS)
def test_every_kind_of_defect_is_found(name):
    could, found, _ = detection(name, limit=10, trials=14, seed0=500)
    assert could >= 2
    # Nearly always: an answer too close to the edge of a window may stay untold, a race may hide in the network.
    assert found >= 0.7 * could
