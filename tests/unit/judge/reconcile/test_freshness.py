"""How far a server lags behind, told from looks at it."""

from __future__ import annotations

from proofload.judge.reconcile.freshness import Look, judge_freshness
from proofload.judge.verdict import Finding, Outcome

BOUND = 30


def judge(*looks: Look, sent: int = 10, last: int = 100) -> Finding:
    return judge_freshness("mon.stale_server", "Prometheus", sent, last, looks, BOUND)


def test_seen_in_time_passes_and_not_seen_after_the_bound_fails() -> None:
    assert judge(Look(101, 102, 3), Look(110, 130, 10)).outcome is Outcome.PASS
    late = judge(Look(101, 102, 3), Look(131, 132, 9))
    assert late.outcome is Outcome.FAIL
    assert "9 of 10" in late.says


def test_what_the_looks_do_not_tell_is_inconclusive() -> None:
    doubtful = (
        judge(Look(101, 102, 3)),
        judge(Look(101, 102, 3), Look(130, 131, 9)),
        judge(Look(129, 131, 10)),
        judge(Look(101, 102, 0, "refused")),
        judge(Look(101, 102, 10), sent=0),
        judge(),
    )
    assert {one.outcome for one in doubtful} == {Outcome.INCONCLUSIVE}
    assert "refused" in doubtful[3].says
