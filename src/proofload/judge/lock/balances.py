"""Money: what was acknowledged is there, what was refused is not, and some order explains all answers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from proofload.judge.linearizable.judge import judge_linearizable
from proofload.judge.linearizable.search import BUDGET
from proofload.judge.lock.effects import AccountBalance, Attempt, Effect, by_user, told
from proofload.judge.models.bank import DONE, INSUFFICIENT, BankAccount
from proofload.judge.models.model import FOREVER_NS, UNKNOWN, ModelOperation
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import Exchange

_LOOK = "read-modify-write of a balance: is the lock held around all of it, with its token checked at the write?"
_MOST_SUMS = 20_000
_MOST_UNSURE_PER_MILLE = 100


def judge_conservation(
    found: Sequence[Attempt], accounts: Sequence[AccountBalance], reads: Mapping[int, Exchange], needed: int
) -> Finding:
    """Return `lock.money_not_conserved`: final = first + acknowledged deposits − acknowledged withdrawals.

    Movements that were never answered, or with an error of the server's, may have been made or not, each by itself.
    """
    rule = "lock.money_not_conserved"
    users = by_user(found)
    examined = unsure = 0
    early: list[AccountBalance] = []
    for account in accounts:
        moved = [one for one in users.get(account.user, ()) if one.movement.kind != "balance"]
        done = [one for one in moved if one.effect is Effect.DONE]
        maybe = [one for one in moved if one.effect in (Effect.UNKNOWN, Effect.FAILED)]
        examined += len(done)
        unsure += len(maybe)
        if account.final_row is not None and any(
            one.exchange.done_ns > reads[account.final_row].sent_ns for one in done
        ):
            early.append(account)
            continue
        expected = account.first + sum(one.movement.gain for one in done)
        if not _reachable(account.final - expected, [one.movement.gain for one in maybe]):
            return _lost(account, expected, done, maybe, examined, needed)
    figures: dict[str, int | float | str] = {"accounts": len(accounts), "unsure": unsure}
    if early:
        says = f"the balance of {len(early)} users was read before all of their operations were done"
        return Finding(rule, Outcome.INCONCLUSIVE, says, examined, needed, figures=figures)
    if unsure * 1000 > _MOST_UNSURE_PER_MILLE * (examined + unsure):
        says = f"{unsure} of {examined + unsure} operations may have been made or not, so much could hide among them"
        return Finding(rule, Outcome.INCONCLUSIVE, says, examined, needed, figures=figures)
    says = f"{examined} acknowledged operations on {len(accounts)} accounts add up to the cent"
    if unsure:
        says += f", {unsure} that were not acknowledged counted either way"
    return held(rule, says, examined=examined, needed=needed, **figures)


def _reachable(difference: int, gains: Sequence[int]) -> bool:
    """Say whether some of the gains add up to the difference; with too many sums, whether it is within their reach."""
    sums = {0}
    for gain in gains:
        sums |= {one + gain for one in sums}
        if len(sums) > _MOST_SUMS:
            return sum(min(0, one) for one in gains) <= difference <= sum(max(0, one) for one in gains)
    return difference in sums


def _lost(
    account: AccountBalance,
    expected: int,
    done: Sequence[Attempt],
    maybe: Sequence[Attempt],
    examined: int,
    needed: int,
) -> Finding:
    off = account.final - expected
    zero_ns = min((one.exchange.sent_ns for one in done), default=0)
    way = "less" if off < 0 else "more"
    # One movement that explains the gap by itself is the likeliest culprit, and is shown first.
    suspects = [one for one in done if one.movement.gain == -off]
    overlapping = [
        one
        for one in done
        if any(
            other is not one
            and other.exchange.sent_ns <= one.exchange.done_ns
            and one.exchange.sent_ns <= other.exchange.done_ns
            for other in done
        )
    ]
    shown = (suspects or overlapping or list(done))[:6]
    gained = sum(max(0, one.movement.gain) for one in done)
    taken = sum(max(0, -one.movement.gain) for one in done)
    return Finding(
        "lock.money_not_conserved",
        Outcome.FAIL,
        f"user {account.user} has {abs(off)} {way} than was acknowledged: {account.final} instead of {expected}",
        examined,
        needed,
        rows=tuple(one.exchange.row for one in shown),
        shown=(
            f"{account.first} first + {gained} deposited − {taken} withdrawn = {expected}, not {account.final}",
            *(told(one, zero_ns) for one in shown),
            *([f"{len(maybe)} more were not acknowledged; no choice of them explains it"] if maybe else []),
        ),
        look_at=_LOOK,
        figures={"off": off, "acknowledged": len(done), "unsure": len(maybe)},
    )


def judge_answers(
    found: Sequence[Attempt],
    accounts: Sequence[AccountBalance],
    reads: Mapping[int, Exchange],
    refusals: frozenset[str],
    *,
    budget: int = BUDGET,
) -> Finding:
    """Return `lock.not_linearizable`: the answers of each user can be explained by some order of the operations."""
    operations = bank_operations(found, accounts, reads, refusals)
    first = {account.user: account.first for account in accounts}
    zero_ns = min((one.exchange.sent_ns for one in found), default=0)
    lines = {one.exchange.row: told(one, zero_ns) for one in found}

    def place(one: ModelOperation) -> str:
        return lines.get(one.row, f"row {one.row}").partition(" →")[0]

    return judge_linearizable(
        operations,
        BankAccount(),
        models=lambda user: BankAccount(first.get(user, 0)),
        place=place,
        budget=budget,
        look_at=_LOOK,
    )


def bank_operations(
    found: Sequence[Attempt],
    accounts: Sequence[AccountBalance],
    reads: Mapping[int, Exchange],
    refusals: frozenset[str],
) -> list[ModelOperation]:
    """Return the attempts as operations of bank accounts, by user, with the reading of each final balance."""
    known = {account.user for account in accounts}
    ours = (one for one in found if one.movement.user in known)
    operations = [operation for one in ours if (operation := _operation(one, refusals)) is not None]
    for account in accounts:
        if account.final_row is not None:
            read = reads[account.final_row]
            operations.append(
                ModelOperation(
                    read.row,
                    "final",
                    "balance",
                    None,
                    account.final,
                    read.sent_ns,
                    read.done_ns,
                    key=account.user,
                )
            )
    return operations


def _operation(one: Attempt, refusals: frozenset[str]) -> ModelOperation | None:
    movement, exchange = one.movement, one.exchange
    call = {"deposit": "deposit", "balance": "balance"}.get(movement.kind, "withdraw")
    certain = one.effect in (Effect.DONE, Effect.REFUSED)
    result: Hashable = UNKNOWN
    if one.effect is Effect.DONE:
        result = movement.told if movement.told is not None else DONE
        if call == "balance" and movement.told is None:
            return None
    elif one.effect is Effect.REFUSED:
        # A refusal for another reason than lack of funds says nothing of the balance.
        if call != "withdraw" or one.code not in refusals:
            return None
        result = INSUFFICIENT
    elif one.effect in (Effect.CONTENDED, Effect.NONE):
        return None
    return ModelOperation(
        exchange.row,
        exchange.connection,
        call,
        None if call == "balance" else movement.amount,
        result,
        exchange.sent_ns,
        exchange.done_ns if certain else FOREVER_NS,
        certain,
        movement.user,
    )
