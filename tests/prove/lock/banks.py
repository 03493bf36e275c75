"""Simulated banks behind a network: true instants of every hold and write, and what a client sees of them.

Written apart from the models and judges: a discrete-event simulation that knows nothing of intervals.
"""

from __future__ import annotations

import heapq
import itertools
import json
from dataclasses import dataclass, field
from random import Random

from proofload.core.seeds import stream
from proofload.judge.lock import AccountBalance, Movement
from proofload.plan.policies import LockPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

MS = 1_000_000
HOLD, EXPIRES, TIMEOUT = 40 * MS, 300 * MS, 1_000 * MS
POLICY = LockPolicy(name="money", operation="deposit", holds_at_least="40ms", expires_after="300ms")


@dataclass
class Request:
    row: int
    user: str
    kind: str
    amount: int
    sent: int
    arrives: int
    returns_after: int
    lost: bool
    dies: bool
    fails: bool
    hold: int
    read: int = 0
    decided: int | None = None
    span: tuple[int, int] | None = None
    contended: bool = False
    answer: tuple[int, int, dict] | None = None

    @property
    def gain(self):
        return self.amount if self.kind == "deposit" else -self.amount


@dataclass
class Bank:
    """An honest bank: one lock a user, taken in one step, with an expiry, a token at the write, compare-and-delete."""

    dice: Random
    balances: dict = field(default_factory=dict)
    locks: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    number: itertools.count = field(default_factory=itertools.count)

    expires = EXPIRES

    def at(self, when, do, request):
        heapq.heappush(self.events, (when, next(self.number), do, request))

    def run(self, requests):
        for request in requests:
            if not request.lost:
                self.at(request.arrives, self.arrive, request)
        while self.events:
            when, _, do, request = heapq.heappop(self.events)
            do(when, request)

    def key(self, request):
        return request.user

    def taken(self, now, request):
        held = self.locks.get(self.key(request))
        return held is not None and held[1] > now

    def arrive(self, now, request):
        request.decided = now
        if self.taken(now, request):
            request.contended = True
            self.refuse(now, request)
        else:
            self.take(now, request)

    def refuse(self, now, request):
        request.answer = (now, 503, {"code": "LOCK_CONTENTION"})

    def take(self, now, request):
        self.locks[self.key(request)] = (request.row, now + self.expires)
        request.read = self.balances[request.user]
        request.span = (now, now + request.hold)
        if request.dies:
            request.span = (now, now + self.expires)
        else:
            self.at(now + request.hold, self.commit, request)

    def holds(self, now, request):
        held = self.locks.get(self.key(request))
        return held is not None and held[0] == request.row and held[1] > now

    def commit(self, now, request):
        if request.fails:
            request.answer = (now, 503, {"code": "DEPENDENCY_UNAVAILABLE"})
        elif not self.holds(now, request):
            request.answer = (now, 503, {"code": "LOCK_LOST"})
        elif request.read + request.gain < 0:
            request.answer = (now, 409, {"code": "INSUFFICIENT_FUNDS"})
        else:
            self.write(request)
            request.answer = (now, 200, {"balance": request.read + request.gain})
        self.release(now, request)

    def write(self, request):
        self.balances[request.user] = request.read + request.gain

    def release(self, now, request):
        if self.locks.get(self.key(request), (None,))[0] == request.row:
            del self.locks[self.key(request)]


class NoLock(Bank):
    def taken(self, now, request):
        return False

    def holds(self, now, request):
        return True


class CheckThenSet(Bank):
    def arrive(self, now, request):
        request.decided = now
        if self.taken(now, request):
            request.contended = True
            self.refuse(now, request)
        else:
            self.at(now + self.dice.randrange(MS // 2, 4 * MS), self.take, request)

    def holds(self, now, request):
        return True


class PerProcess(Bank):
    def key(self, request):
        return request.user, request.row % 2


class Global(Bank):
    def key(self, request):
        return "all"


class ExpiresTooSoon(Bank):
    expires = HOLD // 2

    def holds(self, now, request):
        return True


class NotReleasedOnError(Bank):
    expires = 3_000 * MS

    def release(self, now, request):
        if request.answer[1] == 200:
            super().release(now, request)


class NeverExpires(Bank):
    expires = 10**15

    def take(self, now, request):
        super().take(now, request)
        if request.dies:
            request.span = (now, now + EXPIRES)


class WrongStatus(Bank):
    def refuse(self, now, request):
        request.answer = (now, self.dice.choice([500, 409]), {"code": "CONFLICT"})


class WaitsSilently(Bank):
    def arrive(self, now, request):
        request.decided = request.decided or now
        held = self.locks.get(self.key(request))
        if held is not None and held[1] > now:
            self.at(now + MS, self.arrive, request)
        else:
            self.take(now, request)


class CountedAsDone(Bank):
    def refuse(self, now, request):
        request.answer = (now, 200, {})


class DoubleApply(Bank):
    def write(self, request):
        super().write(request)
        if self.dice.random() < 0.05:
            self.balances[request.user] += request.gain


class KindsApart(Bank):
    def key(self, request):
        return request.user, request.kind


DEFECTS = {
    "lock.none": NoLock,
    "lock.check_then_set": CheckThenSet,
    "lock.per_process": PerProcess,
    "lock.global": Global,
    "lock.expires_too_soon": ExpiresTooSoon,
    "lock.not_released_on_error": NotReleasedOnError,
    "lock.never_expires": NeverExpires,
    "lock.wrong_status": WrongStatus,
    "lock.waits_silently": WaitsSilently,
    "lock.contention_counted_as_done": CountedAsDone,
    "lock.double_apply_on_retry": DoubleApply,
    "lock.orders_and_balance_apart": KindsApart,
}


@dataclass
class World:
    history: History
    movements: list
    accounts: list
    bursts: list
    requests: list


def delay(dice, slow):
    """Return a one-way network delay: mostly short, now and then long."""
    usual = int(dice.expovariate(1 / (1.5 * MS))) + MS // 10
    return usual + (dice.randrange(200 * MS) if dice.random() < slow else 0)


def simulate(seed, bank=Bank, bursts=5):
    """Return a world: bursts on one user each, others trickling beside them, an answer lost or late here and there."""
    dice = stream(seed, "bank", bank.__name__, bursts)
    users = [f"load_test_user_{number}" for number in range(3)]
    slow, loss, told = dice.choice([0.0, 0.05, 0.3]), dice.choice([0.0, 0.01, 0.05]), dice.random() < 0.5
    requests, groups, now = [], [], 0

    def add(user, kind, sent):
        amount = dice.choice([1, 2, 5, 10, 100] if kind == "withdraw" else [1, 2, 5, 10])
        arrives, returns_after = sent + delay(dice, slow), delay(dice, slow)
        lost, dies, fails = (dice.random() < share for share in (loss, 0.02, 0.03))
        hold = HOLD + int(dice.expovariate(1 / (3 * MS))) + (EXPIRES if dice.random() < 0.02 else 0)
        row = len(requests)
        requests.append(Request(row, user, kind, amount, sent, arrives, returns_after, lost, dies, fails, hold))
        return len(requests) - 1

    for _ in range(bursts):
        user, skew = dice.choice(users), dice.choice([1, 5, 60]) * MS
        kind = dice.choice(["deposit", "withdraw", "mixed"])
        groups.append([
            add(user, kind if kind != "mixed" else dice.choice(["deposit", "withdraw"]), now + dice.randrange(skew))
            for _ in range(dice.randrange(2, 9))
        ])  # fmt: skip
        for other in users:
            if other != user and dice.random() < 0.7:
                add(other, dice.choice(["deposit", "withdraw"]), now + dice.randrange(100 * MS))
        now += dice.choice([100, 300, 2_000]) * MS
    system = bank(dice, dict.fromkeys(users, 50))
    system.run(requests)
    exchanges = [exchange(dice, request, loss) for request in requests]
    movements = [
        Movement(
            one.row, one.user, one.kind, one.amount, (one.answer[2].get("balance") if told and one.answer else None)
        )
        for one in requests
    ]
    last = max([one.done_ns for one in exchanges] + [one.span[1] for one in requests if one.span]) + 10 * MS
    accounts = []
    for user in users:
        row = len(exchanges)
        accounts.append(AccountBalance(user, 50, system.balances[user], row))
        times = (last, last, last + MS, last + MS)
        exchanges.append(Exchange(row, "b", "balance", 0, "", row, *times, Ending.ANSWERED, Fault.NONE, 200, 1, 1, ""))
    return World(History.of(exchanges), movements, accounts, groups, requests)


def exchange(dice, request, loss):
    late = request.answer is None or request.answer[0] + request.returns_after > request.sent + TIMEOUT
    if late or dice.random() < loss:
        done, ending, fault, status, body = request.sent + TIMEOUT, Ending.UNKNOWN, Fault.TIMEOUT, 0, None
    else:
        at, status, content = request.answer
        done, ending, fault = at + request.returns_after, Ending.ANSWERED, Fault.NONE
        body = json.dumps(content).encode()
    row, times = request.row, (request.sent, request.sent, done, done)
    return Exchange(row, "b", request.kind, 0, "", row, *times, ending, fault, status, 1, 1, f"r{row}", {}, body)


def could_be_told(world):
    """Say whether someone who knew each true instant, and of the answers what the client knows, could tell a defect."""
    exchanges = list(world.history)
    by_user = {}
    for request in world.requests:
        by_user.setdefault(request.user, []).append(request)
    for account in world.accounts:
        acknowledged, unsure = account.first, []
        for request in by_user.get(account.user, ()):
            seen = exchanges[request.row]
            if seen.status == 200:
                acknowledged += request.gain
            elif seen.status == 0 or (seen.status == 503 and b"CONTENTION" not in (seen.body or b"")):
                unsure.append(request.gain)
        if len(unsure) <= 10:
            sums = {sum(chosen) for size in range(len(unsure) + 1) for chosen in itertools.combinations(unsure, size)}
            if account.final - acknowledged not in sums:
                return True
    for request in world.requests:
        seen = exchanges[request.row]
        if not request.contended or not seen.status:
            continue
        if seen.status != 503:
            return True
        active = any(
            other.span and other is not request and other.span[0] <= request.decided <= other.span[1]
            for other in by_user[request.user]
        )
        if not active:
            return True
    for group in world.bursts:
        done = [world.requests[row] for row in group if exchanges[row].status == 200 and world.requests[row].span]
        held = sorted(request.span for request in done)
        if any(later[0] < earlier[1] for earlier, later in itertools.pairwise(held)):
            return True
        if len(done) >= 3 and len(done) == len(group) and any(r.span[0] > r.arrives for r in done):
            return True
    return False
