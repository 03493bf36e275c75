"""What the target counts of its locks, against what its answers told: each refusal and each taking, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proofload.judge.answers import AnswerClassifier
from proofload.judge.lock.effects import Effect, causes_of, effect_of
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LockPolicy
from proofload.record.exchange import Exchange
from proofload.record.ledger import Reading

CONTENDED, ACQUIRED = "lock.contention_miscounted", "lock.acquisition_miscounted"
_MAY_HOLD = (Effect.UNKNOWN, Effect.REFUSED, Effect.FAILED)


@dataclass(frozen=True, slots=True)
class _Count:
    rule: str
    counter: str
    what: str
    surely: int
    maybe: int
    """How many more there may have been, of which the answers do not tell."""


def judge_counts(
    policy: LockPolicy,
    exchanges: Sequence[Exchange],
    before: Reading | None,
    after: Reading | None,
    *,
    exclusive: bool,
    needed: int = 1,
    answers: AnswerClassifier | None = None,
) -> list[Finding]:
    """Return `lock.contention_miscounted` and `lock.acquisition_miscounted`, for the counters that are declared.

    `exchanges` are all that asked for the lock between the two readings of its service. An operation that was never
    answered, or failed, may have met the lock or taken it: it widens what is accepted. Fewer than surely happened are
    always wrong; more are wrong where the target is ours alone (`exclusive`), and else told as not ours.
    """
    declared = policy.metrics
    if declared is None:
        return []
    effects = [effect_of(policy, one, causes_of(policy, one, answers)) for one in exchanges]
    unknown = effects.count(Effect.UNKNOWN)
    counts = [
        _Count(
            CONTENDED, declared.contended or "", "refusals for contention", effects.count(Effect.CONTENDED), unknown
        ),
        _Count(
            ACQUIRED,
            declared.acquired or "",
            "operations done under the lock",
            effects.count(Effect.DONE),
            sum(effects.count(one) for one in _MAY_HOLD),
        ),
    ]
    if policy.on_contention == "wait":
        # Nothing is refused, so what the target calls contention can't be had from its answers.
        counts = counts[1:]
    return [_judge(policy, one, before, after, exclusive, needed) for one in counts if one.counter]


def _judge(
    policy: LockPolicy, count: _Count, before: Reading | None, after: Reading | None, exclusive: bool, needed: int
) -> Finding:
    if before is None or after is None or before.error or after.error:
        why = next((one.error for one in (before, after) if one is not None and one.error), "it was not read twice")
        return Finding(count.rule, Outcome.INCONCLUSIVE, f"{policy.name}: {count.counter} could not be read: {why}")
    counted = _total(policy, count.counter, after) - _total(policy, count.counter, before)
    says = f"{policy.name}: {count.counter} grew by {counted:.0f} over {count.surely} {count.what}"
    if count.maybe:
        says += f" and {count.maybe} of which the answers do not tell"
    figures: dict[str, int | float | str] = {"counted": counted, "surely": count.surely, "maybe": count.maybe}
    if counted < 0:
        says += ": the counter began anew, so nothing follows"
        return Finding(count.rule, Outcome.INCONCLUSIVE, says, count.surely, needed, figures=figures)
    if counted < count.surely or (exclusive and counted > count.surely + count.maybe):
        shown = (f"{count.counter}{_labels(policy)}: {_total(policy, count.counter, before):.0f} before, "
                 f"{_total(policy, count.counter, after):.0f} after",)  # fmt: skip
        look = "where taking the lock succeeds and fails: each way out counts once, in every worker"
        return Finding(count.rule, Outcome.FAIL, says, count.surely, needed, shown=shown, look_at=look, figures=figures)
    return held(count.rule, says, examined=count.surely, needed=needed, **figures)


def _total(policy: LockPolicy, counter: str, reading: Reading) -> float:
    return reading.total(counter, policy.metrics.only if policy.metrics else {})


def _labels(policy: LockPolicy) -> str:
    only = policy.metrics.only if policy.metrics else {}
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(only.items())) + "}" if only else ""
