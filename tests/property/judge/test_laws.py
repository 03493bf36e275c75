"""Laws of these judges: delay never makes guilty; names, the zero of time and a trip to disk mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.prove.latency import slowness
from tests.prove.lock import banks, trials
from tests.prove.reconcile import metrics_and_audit as books

from proofload.core.seeds import stream
from proofload.judge.audit import AuditEvidence, expect, judge_audit
from proofload.judge.delivery import judge_delivery
from proofload.judge.latency import judge_latency, percentile_ns
from proofload.judge.lock import AccountBalance, judge_lock
from proofload.judge.reconcile import Foreign, judge_metrics
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import LatencyPolicy
from proofload.record.history import History
from proofload.record.ledger import AuditEntry, Ledgers

MS = 1_000_000
BANKS = [banks.Bank, *banks.DEFECTS.values()]
SEEDS = st.integers(0, 10_000)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcomes(findings: list[Finding]) -> list[tuple[str, Outcome, int]]:
    return [(one.rule, one.outcome, one.examined) for one in findings]


def guilty(findings: list[Finding]) -> bool:
    return any(one.outcome is Outcome.FAIL for one in findings)


def lock_findings(world: banks.World, history: History | None = None) -> list[Finding]:
    return judge_lock(
        banks.POLICY, history or world.history, world.movements, world.accounts, bursts=world.bursts, budget=100_000
    )


@QUICK
@given(seed=SEEDS, bank=st.sampled_from(BANKS))
def test_delay_never_makes_a_bank_guilty(seed: int, bank: type[banks.Bank]) -> None:
    world, dice = banks.simulate(seed, bank, 3), stream(seed, "delay")
    if guilty(lock_findings(world)):
        return
    finals = {account.final_row for account in world.accounts}
    later = History.of(
        one if one.row in finals else replace(one, done_ns=one.done_ns + dice.choice([0, 1, 5, 50, 500]) * MS)
        for one in world.history
    )
    assert not guilty(lock_findings(world, later))


@QUICK
@given(seed=SEEDS, bank=st.sampled_from(BANKS))
def test_the_zero_of_time_and_the_names_of_users_mean_nothing_to_the_lock_judge(
    seed: int, bank: type[banks.Bank]
) -> None:
    world = banks.simulate(seed, bank, 3)
    before = lock_findings(world)
    far = 86_400 * 1_000 * MS
    world.history = History.of(
        replace(
            one,
            intended_ns=one.intended_ns + far,
            sent_ns=one.sent_ns + far,
            first_byte_ns=one.first_byte_ns + far,
            done_ns=one.done_ns + far,
        )
        for one in world.history
    )
    world.movements = [replace(one, user=f"x{one.user}") for one in world.movements]
    world.accounts = [AccountBalance(f"x{one.user}", one.first, one.final, one.final_row) for one in world.accounts]
    assert outcomes(lock_findings(world)) == outcomes(before)


@pytest.mark.parametrize("bank", BANKS)
def test_a_history_and_its_reading_back_from_parquet_judge_alike(bank: type[banks.Bank], tmp_path: Path) -> None:
    for seed in range(5):
        world = banks.simulate(seed, bank, 3)
        path = tmp_path / f"{seed}.parquet"
        world.history.write(path)
        again = History.read(path)
        assert lock_findings(world, again) == lock_findings(world)
        assert judge_delivery(again) == judge_delivery(world.history)
        policy = LatencyPolicy(p99_within="100ms")
        assert judge_latency(policy, again) == judge_latency(policy, world.history)


@QUICK
@given(seed=SEEDS, defect=st.sampled_from(["", *books.METRIC_DEFECTS]))
def test_delay_never_makes_counters_guilty(seed: int, defect: str) -> None:
    dice = stream(seed, "metrics law", defect)
    exchanges, events = books.traffic(dice, 120)
    made = books.counted(events, defect, dice)
    readings = [books.scrape(made, at, dice, defect, []) for at in (8 * books.S, exchanges[-1].sent_ns + 4 * books.S)]

    def findings(history: History) -> list[Finding]:
        return judge_metrics(
            books.POLICY, history, readings, operations=books.OPERATIONS, foreign=Foreign(exclusive=True)
        )

    if guilty(findings(History.of(exchanges))):
        return
    later = [replace(one, done_ns=one.done_ns + dice.choice([0, 5, 500, 5_000]) * MS) for one in exchanges]
    assert not guilty(findings(History.of(later)))


@QUICK
@given(seed=SEEDS)
def test_delay_never_makes_an_audit_log_guilty(seed: int) -> None:
    dice = stream(seed, "audit law")
    exchanges, events = books.traffic(dice, 60)
    read = exchanges[-1].done_ns + 10 * books.S
    fields = [{"time": one.at / 1e9, "event": "seen", "user": "u", "request_id": f"r{one.row}"} for one in events]
    kept = [one for one in fields if dice.random() > 0.02]
    entries = tuple(AuditEntry("a", number, "{}", one, read) for number, one in enumerate(kept, 1))
    policy = books.AUDIT.model_copy(update={"required_fields": ("time", "event", "user")})

    def findings(rows: list[banks.Exchange]) -> list[Finding]:
        history = History.of(rows)
        expected = expect(history, range(len(rows)), "seen")
        return judge_audit(policy, Ledgers(audit=entries), expected, AuditEvidence(read, books.ZERO))

    if not guilty(findings(exchanges)):
        later = [replace(one, done_ns=one.done_ns + dice.choice([0, 5, 500, 5_000]) * MS) for one in exchanges]
        assert not guilty(findings(later))


@QUICK
@given(seed=SEEDS, defect=st.sampled_from(["", *slowness.DEFECTS]))
def test_the_zero_of_time_means_nothing_to_the_latency_judge(seed: int, defect: str) -> None:
    due, took = slowness.response(seed, defect, 600)
    policy = LatencyPolicy(p90_within="10ms")
    first = judge_latency(policy, slowness.history(due, took))
    assert outcomes(judge_latency(policy, slowness.history(due + 10**15, took))) == outcomes(first)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from([1, 500, 900, 950, 990, 999, 1000]))
def test_nearest_rank_against_its_definition(samples: list[int], per_mille: int) -> None:
    ordered = np.sort(np.array(samples, dtype=np.int64))
    value = percentile_ns(ordered, per_mille)
    assert value in samples
    enough = [one for one in samples if sum(other <= one for other in samples) * 1000 >= per_mille * len(samples)]
    assert value == min(enough)


def test_the_simulators_are_seen_both_ways() -> None:
    assert not guilty(trials.honest_trial(3))
    assert guilty(lock_findings(banks.simulate(3, banks.NoLock, 5)))
