"""Puts the findings on one lock together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proofload.judge.answers import AnswerClassifier
from proofload.judge.linearizable.search import BUDGET
from proofload.judge.lock.balances import judge_answers, judge_conservation
from proofload.judge.lock.burst import judge_bursts
from proofload.judge.lock.contention import RELEASE_GRACE_NS, judge_contention, judge_status
from proofload.judge.lock.effects import AccountBalance, Effect, Movement, attempts
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LockPolicy
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

REFUSALS = frozenset({"INSUFFICIENT_FUNDS"})


def judge_lock(
    policy: LockPolicy,
    history: History,
    movements: Iterable[Movement],
    accounts: Sequence[AccountBalance],
    *,
    bursts: Sequence[Sequence[int]] = (),
    faults: Sequence[FaultSpan] = (),
    refusals: frozenset[str] = REFUSALS,
    release_grace_ns: int = RELEASE_GRACE_NS,
    needed: int = 2,
    budget: int = BUDGET,
    answers: AnswerClassifier | None = None,
) -> list[Finding]:
    """Return what a history says of a user lock.

    `movements` are all operations on the users' money in the history, of every kind: what is left out could be the
    holder that a contention answer needs. `bursts` are the rows of each barrier burst, of one user each. `refusals` are
    the codes of a withdrawal refused for lack of funds. Keep the bodies of answers: without them a contention answer is
    known by its status alone. `answers` knows the target's other controls (`Evidence.answers`): what they or a failing
    service may have answered as well is no proof of contention. The rules are `lock.money_not_conserved`,
    `.not_linearizable`, `.contention_without_holder`, `.users_contend`, `.not_released`, `.wrong_status`,
    `.two_succeeded`, and `.waits_silently` or, where the policy is to wait, `.refused_in_place_of_waiting`.
    """
    found = attempts(policy, history, movements, answers)
    final_rows = [account.final_row for account in accounts if account.final_row is not None]
    reads = {one.row: one for one in history.exchanges(final_rows)}
    by_row = {one.exchange.row: one for one in found}
    turned_away = sum(one.effect is Effect.NONE or one.by_another for one in found)
    findings = [
        judge_conservation(found, accounts, reads, needed),
        judge_answers(found, accounts, reads, refusals, budget=budget),
        *judge_contention(policy, found, faults, release_grace_ns),
        judge_status(policy, found),
    ]
    if bursts:
        findings += judge_bursts(policy, [[by_row[row] for row in burst] for burst in bursts])
    if turned_away * 2 > len(found):
        says = f"{turned_away} of {len(found)} operations were turned away before they reached the lock"
        findings.append(Finding("lock.not_reached", Outcome.INCONCLUSIVE, says, len(found)))
    return findings


def judge_idempotency(history: History, groups: Sequence[Sequence[int]], made: Mapping[int, str]) -> Finding:
    """Return `lock.idempotency_ignored`: requests that bear one idempotency key make one thing.

    `groups` are the rows that bear the same key; `made` tells for a row the id of what its answer says it made.
    """
    rule = "lock.idempotency_ignored"
    examined = 0
    for group in groups:
        ids = {made[row]: row for row in reversed(group) if row in made}
        examined += sum(row in made for row in group) >= 2
        if len(ids) > 1:
            return Finding(
                rule,
                Outcome.FAIL,
                f"{len(ids)} things were made under one idempotency key: {', '.join(sorted(ids))}",
                len(history),
                rows=tuple(sorted(ids.values())),
                look_at="whether the key is stored in the same transaction as what it stands for",
            )
    return held(rule, f"{examined} keys were used more than once and made one thing each", examined=examined)
