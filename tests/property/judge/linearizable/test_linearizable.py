"""The search against brute force: every order of every choice of uncertain operations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest

from proofload.core.seeds import stream
from proofload.judge.linearizable import SearchResult, search, shrink
from proofload.judge.models.append_list import AppendList, GrowSet
from proofload.judge.models.bank import DONE, INSUFFICIENT, BankAccount
from proofload.judge.models.counter import Counter
from proofload.judge.models.model import FOREVER_NS, IMPOSSIBLE, UNKNOWN, Model, ModelOperation
from proofload.judge.models.mutex import BUSY, NOT_HELD, STALE, Mutex
from proofload.judge.models.register import Register


def brute_force(operations: Sequence[ModelOperation], model: Model) -> bool:
    """Try every order that keeps real time, with every choice of the uncertain ones. Written apart from the search."""

    def place(left: frozenset[int], state: object) -> bool:
        if not any(operations[index].certain for index in left):
            return True
        for index in left:
            one = operations[index]
            # Another that must happen, and returned before this one was called, comes first.
            if any(
                operations[other].certain and operations[other].returned_ns < one.invoked_ns
                for other in left
                if other != index
            ):
                continue
            after = model.step(state, one)
            if after is not IMPOSSIBLE and place(left - {index}, after):
                return True
        return False

    return place(frozenset(range(len(operations))), model.initial)


def draw_register(random: Random) -> tuple[str, object, object]:
    call = random.choice(["read", "write", "cas"])
    if call == "read":
        return call, None, random.choice([None, 0, 1, 2])
    if call == "write":
        return call, random.randrange(3), None
    return call, (random.randrange(3), random.randrange(3)), random.random() < 0.6


def draw_bank(random: Random) -> tuple[str, object, object]:
    call = random.choice(["deposit", "withdraw", "balance"])
    if call == "balance":
        return call, None, random.randrange(8)
    result: object = random.choice([DONE, DONE, random.randrange(8)])
    if call == "withdraw" and random.random() < 0.3:
        result = INSUFFICIENT
    return call, random.randrange(1, 5), result


def draw_counter(random: Random) -> tuple[str, object, object]:
    if random.random() < 0.5:
        return "read", None, random.randrange(5)
    return "add", random.choice([1, 2, -1]), random.choice([None, None, random.randrange(4)])


def draw_list(random: Random) -> tuple[str, object, object]:
    if random.random() < 0.4:
        return "read", None, tuple(random.sample(range(3), random.randrange(3)))
    return "append", random.randrange(3), None


def draw_set(random: Random) -> tuple[str, object, object]:
    if random.random() < 0.4:
        return "read", None, frozenset(random.sample(range(3), random.randrange(3)))
    return "add", random.randrange(3), None


def draw_mutex(random: Random) -> tuple[str, object, object]:
    call = random.choice(["acquire", "acquire", "release", "write", "expire"])
    if call == "acquire":
        return call, None, random.choice([BUSY, None, random.randrange(1, 5)])
    if call == "release":
        return call, None, random.choice([None, None, NOT_HELD])
    if call == "write":
        return call, random.randrange(1, 5), random.choice([None, STALE])
    return call, random.randrange(4), None


MODELS: dict[str, tuple[Model, Callable[[Random], tuple[str, object, object]]]] = {
    "register": (Register(), draw_register),
    "bank": (BankAccount(2), draw_bank),
    "counter": (Counter(), draw_counter),
    "list": (AppendList(), draw_list),
    "set": (GrowSet(), draw_set),
    "mutex": (Mutex(), draw_mutex),
}


def draw(random: Random, kind: str, most: int = 8) -> list[ModelOperation]:
    """Draw a history; instants are few, so that many operations touch or overlap."""
    operations = []
    for row in range(random.randrange(1, most + 1)):
        call, argument, result = MODELS[kind][1](random)
        begin = random.randrange(12)
        certain = random.random() < 0.8
        end = begin + random.randrange(6) if certain else FOREVER_NS
        known = result if certain or random.random() < 0.2 else UNKNOWN
        operations.append(ModelOperation(row, row % 3, call, argument, known, begin, end, certain))  # type: ignore[arg-type]
    return operations


@pytest.mark.parametrize("kind", MODELS)
def test_the_search_agrees_with_brute_force(kind: str) -> None:
    random, model = stream(4, "agree", kind), MODELS[kind][0]
    said = {SearchResult.LINEARIZABLE: 0, SearchResult.NOT_LINEARIZABLE: 0}
    for number in range(5_000):
        # Seven and eight operations take brute force long: they are drawn, but less often.
        operations = draw(random, kind, 8 if number % 10 == 0 else 5)
        answer = search(operations, model).answer
        said[answer] += 1
        assert (answer is SearchResult.LINEARIZABLE) == brute_force(operations, model), operations
    assert min(said.values()) > 250, said


@pytest.mark.parametrize("kind", MODELS)
def test_a_counterexample_is_a_proof_by_itself_and_can_lose_nothing(kind: str) -> None:
    random, model = stream(5, "shrink", kind), MODELS[kind][0]
    shown = 0
    for _ in range(400):
        operations = draw(random, kind)
        found = search(operations, model)
        if found.answer is not SearchResult.NOT_LINEARIZABLE:
            continue
        shown += 1
        example = shrink(operations, model, found)
        assert example.stuck in example.operations
        assert not brute_force([*example.operations, *example.others], model)
        for one in example.operations:
            rest = [other for other in example.operations if other is not one]
            freed = replace(one, certain=False, result=UNKNOWN, invoked_ns=-1, returned_ns=FOREVER_NS)
            assert brute_force([*rest, *example.others, *([] if model.reads(one) else [freed])], model)
    assert shown > 30


@pytest.mark.parametrize("kind", MODELS)
def test_wider_intervals_never_turn_yes_into_no(kind: str) -> None:
    random, model = stream(6, "wider", kind), MODELS[kind][0]
    for _ in range(1_000):
        operations = draw(random, kind)
        if search(operations, model).answer is SearchResult.NOT_LINEARIZABLE:
            continue
        wider = [
            replace(
                one,
                invoked_ns=one.invoked_ns - random.randrange(4),
                returned_ns=min(FOREVER_NS, one.returned_ns + random.randrange(4)),
            )
            for one in operations
        ]
        assert search(wider, model).answer is SearchResult.LINEARIZABLE


@pytest.mark.parametrize("kind", MODELS)
def test_time_may_be_shifted_and_order_of_rows_does_not_matter(kind: str) -> None:
    random, model = stream(7, "shift", kind), MODELS[kind][0]
    for _ in range(500):
        operations = draw(random, kind)
        shifted = [
            replace(one, invoked_ns=one.invoked_ns + 10**15, returned_ns=min(FOREVER_NS, one.returned_ns + 10**15))
            for one in operations
        ]
        random.shuffle(shifted)
        assert search(shifted, model).answer is search(operations, model).answer


def test_all_small_orders_of_three_register_operations() -> None:
    model, checked = Register(), 0
    calls = [("read", None, None), ("read", None, 1), ("write", 1, None), ("cas", (1, 2), True)]
    spans = [(0, 1), (0, 3), (2, 3), (2, 5), (4, 5)]
    for chosen in itertools.product(itertools.product(calls, spans), repeat=3):
        operations = [
            ModelOperation(row, row, call, argument, result, begin, end)
            for row, ((call, argument, result), (begin, end)) in enumerate(chosen)
        ]
        checked += 1
        assert (search(operations, model).answer is SearchResult.LINEARIZABLE) == brute_force(operations, model)
    assert checked == 8_000
