"""Judges user locks: money is conserved, one at a time wins, contention has a holder, and the lock is free again."""

from proofload.judge.answers import error_code
from proofload.judge.lock.amounts import balance_in, why_no_balance
from proofload.judge.lock.balances import bank_operations
from proofload.judge.lock.counts import judge_counts
from proofload.judge.lock.effects import AccountBalance, Effect, Movement, effect_of
from proofload.judge.lock.judge import judge_idempotency, judge_lock

__all__ = [
    "AccountBalance",
    "Effect",
    "Movement",
    "balance_in",
    "bank_operations",
    "effect_of",
    "error_code",
    "judge_counts",
    "judge_idempotency",
    "judge_lock",
    "why_no_balance",
]
