"""An honest system is never accused: about a thousand worlds in the ordinary suite, ten thousand in `make prove`."""

from __future__ import annotations

import pytest
from tests.prove.latency import slowness
from tests.prove.linearizable import cells
from tests.prove.lock import banks, trials
from tests.prove.reconcile import metrics_and_audit as books


@pytest.mark.parametrize("part", range(4))
def test_an_honest_bank_is_never_accused(part: int) -> None:
    for seed in range(part * 75, part * 75 + 75):
        assert trials.failed(trials.honest_trial(seed)) == [], seed


@pytest.mark.parametrize("world", [books.metrics_world, books.audit_world])
def test_honest_books_are_never_accused(world) -> None:
    for seed in range(200):
        assert books.failed(world(seed, count=60 + seed % 5 * 30)[0]) == [], seed


def test_an_honest_register_is_never_accused() -> None:
    for seed in range(300):
        assert not cells.accused(cells.simulate(seed, count=20 + seed % 5 * 20)[0]), seed


def test_an_honest_server_is_never_called_slow() -> None:
    for seed in range(200):
        assert slowness.failed(slowness.judged(seed, count=600)) == [], seed


@pytest.mark.parametrize("defect", banks.DEFECTS)
def test_each_defect_of_a_lock_is_found_where_it_could_be_told(defect: str) -> None:
    could, found, _ = trials.detection(defect, 20, 12)
    assert could >= 5
    # A lock that never expires shows only where its user tries again late enough.
    assert found >= (0.5 if defect == "lock.never_expires" else 0.75) * could


@pytest.mark.parametrize("defect", [*books.METRIC_DEFECTS, *books.AUDIT_DEFECTS])
def test_each_defect_of_the_books_is_found_where_it_could_be_told(defect: str) -> None:
    world = books.metrics_world if defect.startswith("mon.") else books.audit_world
    could, found = books.detection(world, defect, 1_000, 12)
    assert could >= 1
    assert found >= 0.75 * could


@pytest.mark.parametrize("defect", slowness.DEFECTS)
def test_each_kind_of_slowness_is_found_given_samples(defect: str) -> None:
    found = sum(defect in slowness.failed(slowness.judged(seed, defect, 6_000)) for seed in range(10))
    assert found >= 6


@pytest.mark.parametrize("defect", cells.DEFECTS)
def test_each_defect_of_a_register_is_found_in_the_long_run(defect: str) -> None:
    worlds = [cells.simulate(seed, defect, 300) for seed in range(12)]
    told = [seen for seen, true in worlds if cells.could_be_told(true)]
    assert len(told) >= 10
    assert sum(cells.accused(seen) for seen in told) >= 3
