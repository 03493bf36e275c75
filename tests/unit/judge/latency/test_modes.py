"""Latencies of any spread have modes that can be counted: none, narrow, wide, two of them."""

import numpy as np
import pytest

from proofload.judge.latency.shape import count_modes


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.1, 1.2, 1.3, 1.5, 2.0, 10.0])
def test_latencies_of_any_spread_are_one_group(factor: float) -> None:
    assert count_modes(np.geomspace(1_000_000, 1_000_000 * factor, 400).astype(np.int64)) == 1


def test_two_groups_far_apart_are_two() -> None:
    near = np.geomspace(900_000, 1_100_000, 300)
    assert count_modes(np.concatenate([near, 50 * near]).astype(np.int64)) == 2
