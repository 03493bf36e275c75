"""Jepsen's text form: read as documented, wrong lines named, judged with a counterexample to follow."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from proofload.core.errors import PlanError
from proofload.core.seeds import stream
from proofload.judge.linearizable import check_jepsen, judge_linearizable
from proofload.judge.models.bank import DONE, INSUFFICIENT, BankAccount
from proofload.judge.models.model import ModelOperation
from proofload.judge.verdict import Outcome
from proofload.record.jepsen import read_jepsen


def lines(*events: str) -> str:
    return "\n".join(event.replace(" ", "\t", 3) for event in events) + "\n"


GOOD = lines(
    "0 :invoke :write 1", "1 :invoke :read nil", "0 :ok :write 1", "1 :ok :read nil",
    "2 :invoke :cas [1 3]", "2 :ok :cas [1 3]", "0 :invoke :cas [1 5]", "0 :fail :cas [1 5]",
    "1 :invoke :read nil", "1 :ok :read 3",
)  # fmt: skip


def test_a_good_history_passes() -> None:
    finding = check_jepsen(GOOD)
    assert finding.outcome is Outcome.PASS
    assert finding.examined == 5


def test_a_lost_write_fails_with_the_operations_that_show_it() -> None:
    finding = check_jepsen(GOOD.replace(":ok\t:read\t3", ":ok\t:read\t1"))
    assert finding.outcome is Outcome.FAIL
    # The compare-and-set from 1 to 3 and the read of 1 after it: the write of 1 may have been made whenever one likes,
    # but the failed compare-and-set from 1 to 5 in between shows that 1 was not there any more.
    assert finding.shown[-2].startswith("no order explains them: when process 1, lines 9 to 10 returned")
    assert "process 1, lines 9 to 10: read() → 1" in finding.shown


def test_a_stale_read_needs_the_write_before_it() -> None:
    finding = check_jepsen(lines("0 :invoke :write 1", "0 :ok :write 1", "1 :invoke :read nil", "1 :ok :read nil"))
    assert finding.rows == (1, 3)
    assert finding.shown == (
        "process 0, lines 1 to 2: write(1) → None",
        "process 1, lines 3 to 4: read() → None",
        "no order explains them: when process 1, lines 3 to 4 returned, the register could only be 1, "
        "which read() → None contradicts",
    )


@pytest.mark.parametrize("ending", [":info\t:write\t:timed-out", ":info\t:write\t7", ""])
@pytest.mark.parametrize(("seen", "outcome"), [("7", Outcome.PASS), ("nil", Outcome.PASS), ("8", Outcome.FAIL)])
def test_an_indeterminate_write_may_have_happened_or_not(ending: str, seen: str, outcome: Outcome) -> None:
    text = lines("0 :invoke :write 7") + (f"0\t{ending}\n" if ending else "")
    text += lines("1 :invoke :read nil", f"1 :ok :read {seen}")
    assert check_jepsen(text).outcome is outcome


def test_what_failed_did_not_happen_and_a_timed_out_read_tells_nothing() -> None:
    write = ("0 :invoke :write 7", "0 :fail :write 7", "1 :invoke :read nil")
    assert check_jepsen(lines(*write, "1 :ok :read nil")).outcome is Outcome.PASS
    assert check_jepsen(lines(*write, "1 :ok :read 7")).outcome is Outcome.FAIL
    timed_out = lines(
        "1 :invoke :read nil", "1 :fail :read :timed-out", "2 :invoke :read nil", "2 :info :read :timed-out"
    )
    assert check_jepsen(timed_out).outcome is Outcome.INCONCLUSIVE
    assert (
        check_jepsen(lines("2 :invoke :cas [4 5]", "2 :fail :cas :timed-out", *write, "1 :ok :read nil")).outcome.name
        == "PASS"
    )


def test_a_failed_compare_and_set_did_compare() -> None:
    text = lines("0 :invoke :write 1", "0 :ok :write 1", "0 :invoke :cas [1 2]", "0 :fail :cas [1 2]")
    assert check_jepsen(text).outcome is Outcome.FAIL


def test_nothing_is_inconclusive() -> None:
    assert check_jepsen("").outcome is Outcome.INCONCLUSIVE
    assert check_jepsen("\n:nemesis\t:info\t:start\tnil\n").outcome is Outcome.INCONCLUSIVE


def test_log_prefixes_and_the_nemesis_are_passed_over() -> None:
    text = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - :nemesis\t:info\t:start\tnil\n"
    text += "INFO  jepsen.util - 0\t:ok\t:read\tnil\n"
    assert check_jepsen(text).outcome is Outcome.PASS
    assert [(one.invoked_line, one.returned_line) for one in read_jepsen(text)] == [(1, 3)]


def test_every_wrong_line_is_named_at_once() -> None:
    text = lines(
        "0 :invoke :write 1", "0 :invoke :write 2", "1 :ok :read 3", "x :ok :read 3", "2 :done :read 3", "3 :ok"
    )
    text += lines("4 :invoke :write {}", "0 :ok :read 1")
    with pytest.raises(PlanError) as caught:
        read_jepsen(text, "h.txt")
    told = str(caught.value)
    assert [f"h.txt:{number}:" in told for number in range(1, 9)] == [False] + [True] * 7
    for argument in (lines("0 :invoke :write nil"), lines("0 :invoke :cas 3"), lines("0 :invoke :pop nil")):
        with pytest.raises(PlanError):
            check_jepsen(argument)
    with pytest.raises(PlanError, match="register"):
        check_jepsen(GOOD, "nothing")


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        ("counter", ("0 :invoke :add 2", "0 :ok :add 2", "1 :invoke :read nil", "1 :ok :read 2"), ("2", "1")),
        ("list", ("0 :invoke :append 2", "0 :ok :append 2", "1 :invoke :read nil", "1 :ok :read [2]"), ("[2]", "[]")),
        ("set", ("0 :invoke :add 2", "0 :ok :add 2", "1 :invoke :read nil", "1 :ok :read [2]"), ("[2]", "[3]")),
        ("mutex", ("0 :invoke :acquire nil", "0 :ok :acquire nil", "1 :invoke :acquire nil", "1 :fail :acquire nil"),
         (":fail", ":ok")),
    ],
)  # fmt: skip
def test_other_models_read_the_same_form(model: str, good: tuple[str, ...], bad: tuple[str, str]) -> None:
    text = lines(*good)
    head, _, last = text.rpartition("\n1")
    assert check_jepsen(text, model).outcome is Outcome.PASS
    assert check_jepsen(head + "\n1" + last.replace(*bad), model).outcome is Outcome.FAIL


def simulated(random: Random, operations: int, processes: int, lost: float) -> str:
    """Return an honest register's history: each effect at one instant within its call, some answers never told."""
    events: list[tuple[float, int, str]] = []
    calls = []
    free = [0.0] * processes
    for _ in range(operations):
        process = free.index(min(free))
        begin = free[process] + random.random()
        effect = begin + random.random()
        free[process] = effect + random.random()
        calls.append((effect, begin, free[process], process))
    value: int | None = None
    for number, (effect, begin, end, process) in enumerate(sorted(calls)):
        f, told = random.choice(["read", "write", "cas"]), random.random() >= lost
        # A process whose answer was lost never comes back: a new one takes its place.
        name = process if told else 1000 + number
        happens = told or random.random() < 0.5
        if f == "read":
            argument, answer, kind = "nil", "nil" if value is None else str(value), "ok"
        elif f == "write":
            argument = answer = str(random.randrange(5))
            kind = "ok"
            value = int(answer) if happens else value
        else:
            old, new = random.randrange(5), random.randrange(5)
            argument = answer = f"[{old} {new}]"
            kind = "ok" if value == old else "fail"
            value = new if happens and value == old else value
        events.append((begin, 0, f"{name}\t:invoke\t:{f}\t{argument}"))
        events.append((end, 1, f"{name}\t:{kind if told else 'info'}\t:{f}\t{answer if told else ':timed-out'}"))
        del effect
    return "\n".join(text for _, _, text in sorted(events))


@pytest.mark.parametrize("seed", range(20))
def test_a_few_hundred_events_with_indeterminate_ones_are_answered(seed: int) -> None:
    text = simulated(stream(seed, "jepsen"), 200, 5, 0.1)
    honest = check_jepsen(text)
    assert honest.outcome is Outcome.PASS
    assert honest.figures["steps"] < 100_000
    reads = [line for line in text.splitlines() if ":ok\t:read" in line]
    never_written = text.replace(reads[-1], reads[-1].rpartition("\t")[0] + "\t9")
    finding = check_jepsen(never_written)
    assert finding.outcome is Outcome.FAIL
    assert len(finding.rows) == 1


def test_a_pathological_history_stops_at_its_budget() -> None:
    # Every subset of thirty adds gives another sum, and none the one that was read: the search would take for ever.
    events = [f"{n} :invoke :add {2**n}" for n in range(30)]
    events += ["99 :invoke :read nil", "99 :ok :read 5000000001", *(f"{n} :ok :add {2**n}" for n in range(30))]
    finding = check_jepsen(lines(*events), "counter", budget=50_000)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "given up" in finding.says


def test_a_bank_of_100_users_is_decided_within_a_small_budget() -> None:
    random, made = stream(8, "bank"), []
    for user in range(100):
        balance, now = 100, 0
        for row in range(100):
            now += random.randrange(1, 10)
            amount, call = random.randrange(1, 60), random.choice(["deposit", "withdraw", "balance"])
            result: int | str = DONE
            if call == "balance":
                result = balance
            elif call == "withdraw" and amount > balance:
                result = INSUFFICIENT
            else:
                balance += amount if call == "deposit" else -amount
            span = (now - random.randrange(15), now + random.randrange(15))
            argument = None if call == "balance" else amount
            made.append(ModelOperation(row, row % 5, call, argument, result, *span, key=user))
    finding = judge_linearizable(made, BankAccount(100), budget=100_000)
    assert finding.outcome is Outcome.PASS
    assert finding.examined == 10_000
    last = max(range(len(made)), key=lambda at: made[at].call == "balance")
    made[last] = replace(made[last], result=-1)
    assert judge_linearizable(made, BankAccount(100), budget=200_000).outcome is Outcome.FAIL
