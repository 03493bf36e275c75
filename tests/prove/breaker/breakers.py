"""Breakers that decide at true instants, honest and defective, in front of a service that a fault breaks and mends."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from proofload.core.seeds import stream
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

MS = 1_000_000
SECOND = 1_000_000_000


class HonestBreaker:
    failures, successes, trials = 5, 3, 1
    open_status, fast, counts_4xx, counts_contention, counts_timeouts = 503, True, False, False, True
    dead_answer = None
    """(status, body) of every failed call, where the gateway answers them all alike."""
    hides_trip = False
    """A call whose failure opens the circuit is answered like those that it rejects."""
    front = None
    """(limit, window) of a limiter of fixed windows in front of the circuit."""

    def __init__(self, open_ns):
        self.open_ns = open_ns
        self.state, self.count, self.until, self.busy, self.generation = "closed", 0, 0, 0, 0

    def move(self, state, until=0):
        self.state, self.count, self.until, self.busy = state, 0, until, 0
        self.generation += 1

    def enter(self, now, worker=0):
        """Return the generation that the call belongs to, or None for rejected."""
        if self.state == "open" and now >= self.until:
            self.move("half-open")
        if self.state == "closed":
            return self.generation
        if self.state == "open" or self.busy >= self.trials:
            self.on_reject(now)
            return None
        self.busy += 1
        return self.generation

    def on_reject(self, now):
        pass

    def leave(self, now, generation, outcome, worker=0):
        if generation != self.generation:
            return
        if self.state == "half-open":
            self.busy -= 1
            if outcome == "failure":
                self.reopen(now)
            elif outcome == "success":
                self.count += 1
                if self.count >= self.successes:
                    self.close()
        elif outcome == "failure":
            self.count += 1
            if self.count >= self.failures:
                self.open(now)
        elif outcome == "success":
            self.reset()

    def open(self, now):
        self.move("open", now + self.open_ns)

    reopen = open

    def close(self):
        self.move("closed")

    def reset(self):
        self.count = 0


class NeverOpens(HonestBreaker):
    def open(self, now):
        pass


class OpensAtSix(HonestBreaker):
    failures = 6


class OpensAtFour(HonestBreaker):
    failures = 4


class NonConsecutive(HonestBreaker):
    def reset(self):
        pass


class CountsClientErrors(HonestBreaker):
    counts_4xx = True


class CountsContention(HonestBreaker):
    counts_contention = True


class IgnoresTimeouts(HonestBreaker):
    counts_timeouts = False


class NoFastFail(HonestBreaker):
    fast = False


class WrongStatus(HonestBreaker):
    open_status = 500


class NeverHalfOpens(HonestBreaker):
    def open(self, now):
        self.move("open", 1 << 62)

    reopen = open


class TimerRestarted(HonestBreaker):
    def on_reject(self, now):
        if self.state == "open":
            self.until = now + self.open_ns


class HalfOpenFlood(HonestBreaker):
    trials = 10_000


class ClosesAfterOne(HonestBreaker):
    successes = 1


class ReopensWithoutPeriod(HonestBreaker):
    def reopen(self, now):
        self.move("open", now)


class SuccessCountKept(HonestBreaker):
    kept = 0

    def leave(self, now, generation, outcome, worker=0):
        half = self.state == "half-open" and generation == self.generation
        if half and outcome == "success":
            self.kept += 1
            if self.kept >= self.successes:
                self.kept = 0
                self.close()
                return
        super().leave(now, generation, outcome, worker)


class PerWorker(HonestBreaker):
    def __init__(self, open_ns):
        super().__init__(open_ns)
        self.each = [HonestBreaker(open_ns) for _ in range(3)]

    def enter(self, now, worker=0):
        return self.each[worker].enter(now)

    def leave(self, now, generation, outcome, worker=0):
        self.each[worker].leave(now, generation, outcome)


class NeverCloses(HonestBreaker):
    def close(self):
        self.move("open", self.until + 0)
        self.until = 1 << 62


DEFECTS = {
    "cb.never_opens": NeverOpens,
    "cb.threshold_off_by_one (6th)": OpensAtSix,
    "cb.threshold_off_by_one (4th)": OpensAtFour,
    "cb.counts_non_consecutive": NonConsecutive,
    "cb.counts_client_errors": CountsClientErrors,
    "cb.counts_contention": CountsContention,
    "cb.ignores_timeouts": IgnoresTimeouts,
    "cb.no_fast_fail": NoFastFail,
    "cb.wrong_status_when_open": WrongStatus,
    "cb.per_worker_state": PerWorker,
    "cb.never_half_opens": NeverHalfOpens,
    "cb.timer_restarted_by_rejects": TimerRestarted,
    "cb.half_open_flood": HalfOpenFlood,
    "cb.closes_after_one": ClosesAfterOne,
    "cb.reopens_without_period": ReopensWithoutPeriod,
    "cb.success_count_kept": SuccessCountKept,
    "never closes": NeverCloses,
}


@dataclass
class Play:
    """What happens to the service, and what the client sends when."""

    sends: list = field(default_factory=list)
    """(instant or None for 'after the last answer', kind): kind is ok, 4xx or contention where the service is up."""
    down: list = field(default_factory=list)
    """(from, to, how) in true time; how: refuse, error or hang."""


def scenario(seed, name, open_ns):
    dice = stream(seed, "play", name)
    t0 = dice.randrange(SECOND)
    ok = [(t0, "ok"), *[(None, "ok")] * dice.randrange(1, 4)]
    down = t0 + 2 * SECOND
    how = dice.choice(["refuse", "error", "hang"]) if name in ("trip", "recover") else "error"
    trip = [(down + 20 * MS, "ok"), *[(None, "ok")] * 11]
    up = down + 3 * SECOND
    if name == "trip":
        return Play(ok + trip, [(down, up, how)])
    if name == "recover":
        after = max(up, down + 3 * SECOND) + open_ns + SECOND
        meanwhile = [(up + i * open_ns // 8, "ok") for i in range(1, 24)]
        return Play(ok + trip + sorted([*meanwhile, (after + 3 * open_ns, "ok")]), [(down, up, how)])
    if name == "trial fails":
        # Down again from just after the first trials until the second round: 1 or 2 successes, then a failure.
        good = dice.randrange(3)
        first = down + 3 * SECOND + open_ns + SECOND
        plays = ok + trip + [(first, "ok")] + [(None, "ok")] * (good - 1 if good else 0)
        again = first + 3 * SECOND
        plays += [(again, "ok"), *[(None, "ok")] * 4]
        second = again + 3 * SECOND + open_ns + SECOND
        plays += [(second, "ok"), *[(None, "ok")] * 6]
        mend = first - SECOND // 2
        return Play(
            plays,
            [(down, mend if good else again + 2 * SECOND, how), (again - SECOND, again + 2 * SECOND, how)][
                : 1 + bool(good)
            ],
        )
    if name == "kept":
        # Two successes, a failure, then one success and a failure: the last must open it for a full period again.
        first = down + 3 * SECOND + open_ns + SECOND
        plays = ok + trip + [(first, "ok"), (None, "ok"), (first + 3 * SECOND, "ok"), (None, "ok")]
        second = first + 6 * SECOND + open_ns + SECOND
        plays += [(second, "ok"), (second + 3 * SECOND, "ok"), *[(None, "ok")] * 3]
        faults = [
            (down, first - SECOND, how),
            (first + 2 * SECOND, first + 5 * SECOND, how),
            (second + 2 * SECOND, second + 9 * SECOND, how),
        ]
        return Play(plays, faults)
    if name == "mixed":
        # Four failures, a success, four failures, a success: never five in a row.
        plays, faults = list(ok), []
        at = down
        for _ in range(3):
            faults.append((at, at + SECOND, how))
            plays += [(at + 20 * MS, "ok"), *[(None, "ok")] * 3, (at + 2 * SECOND, "ok")]
            at += 4 * SECOND
        return Play(plays, faults)
    if name in ("4xx", "contention"):
        return Play(ok + [(None, name)] * 12, [])
    if name == "crowd":
        # Several clients all the time, over trip and recovery.
        gap = dice.choice([5 * MS, 20 * MS])
        plays = [(t0 + i * gap + dice.randrange(gap), "ok") for i in range(int((2 * open_ns + 12 * SECOND) // gap))]
        return Play(sorted(plays), [(t0 + 2 * SECOND, t0 + 6 * SECOND, how)])
    assert name == "flood"
    ready = up + open_ns + SECOND
    return Play(ok + trip + [(ready + dice.randrange(2 * MS), "ok") for _ in range(20)], [(down, up, how)])


SCENARIOS = ("trip", "recover", "trial fails", "kept", "mixed", "4xx", "contention", "crowd", "flood")
TRIAL_NS = 20 * MS
ANSWERS = {
    "ok": (200, "success"),
    "4xx": (404, "neither"),
    "contention": (503, "neither"),
    "refuse": (502, "failure"),
    "error": (500, "failure"),
    "hang": (504, "failure"),
}
CODES = {"rejected": b'{"code":"CIRCUIT_OPEN"}', "contention": b'{"code":"LOCK_CONTENTION"}'}


@dataclass
class BreakerWorld:
    history: History
    spans: tuple
    hits: int
    """Calls that the service received, by its own count."""
    truth: list
    """(true instant of the decision, row, let through, true instant of the outcome, outcome)"""


def simulate(seed, breaker, name, open_ns, *, loss=0.005, mean_ns=MS, patience_ns=100 * MS, prove=True):
    dice = stream(seed, "breaker world", name)
    play = scenario(seed, name, open_ns)
    rows, truth, hits = [], [], 0
    flying, row_of, admitted = [], {}, {}

    def delay():
        base = dice.expovariate(1 / mean_ns)
        return int(base * 10 if dice.random() < 0.02 else base) + 20_000

    def report(until):
        for leave in sorted(one for one in flying if one[0] <= until):
            flying.remove(leave)
            before = breaker.generation
            breaker.leave(*leave)
            if breaker.hides_trip and breaker.state == "open" and breaker.generation != before:
                known = rows[row_of[leave]]
                if known[2] is Ending.ANSWERED:
                    rows[row_of[leave]] = (*known[:4], breaker.open_status, CODES["rejected"])

    waiting = [(at + delay(), number, at) for number, (at, _) in enumerate(play.sends) if at is not None]
    heapq.heapify(waiting)
    while waiting:
        there, number, sent = heapq.heappop(waiting)
        kind = play.sends[number][1]
        lucky, worker = dice.random(), dice.randrange(3)
        done = sent + 800 * MS
        if lucky >= loss / 2:
            report(there)
            window = there // breaker.front[1] if breaker.front else 0
            admitted[window] = admitted.get(window, 0) + 1
            limited = breaker.front is not None and admitted[window] > breaker.front[0]
            pass_ = None if limited else breaker.enter(there, worker)
            if limited:
                end, status, raw, body = there + 50_000, 429, "neither", b'{"code":"SLOW_DOWN"}'
            elif pass_ is None:
                end = there + (50_000 if breaker.fast else 450 * MS)
                status, raw = breaker.open_status, "rejected"
                body = CODES["rejected"] if status == 503 else b"{}"
            else:
                how = next((how for begin, finish, how in play.down if begin <= there < finish), kind)
                took = {"refuse": 300_000, "error": 2 * MS, "hang": patience_ns}.get(how)
                end = there + (took or TRIAL_NS + dice.randrange(5 * MS))
                status, raw = ANSWERS[how]
                outcome = raw
                counts = {"hang": breaker.counts_timeouts, "4xx": breaker.counts_4xx}
                counts["contention"] = breaker.counts_contention
                outcome = outcome if how not in counts else "failure" if counts[how] else "neither"
                hits += how != "refuse"
                body = CODES["contention"] if status == 503 else b"{}"
                if raw == "failure" and breaker.dead_answer is not None:
                    status, body = breaker.dead_answer
                flying.append((end, pass_, outcome, worker))
                row_of[flying[-1]] = len(rows)
            if not limited:
                truth.append((there, len(rows), pass_ is not None, end, raw))
            done = end + delay()
        if lucky < loss:
            done = max(done, sent + 800 * MS)
            rows.append((sent, done, Ending.UNKNOWN, Fault.TIMEOUT, 0, None))
        else:
            rows.append((sent, done, Ending.ANSWERED, Fault.NONE, status, body))
        if number + 1 < len(play.sends) and play.sends[number + 1][0] is None:
            heapq.heappush(waiting, (done + 10_000 + delay(), number + 1, done + 10_000))
    report(1 << 62)
    order = sorted(range(len(rows)), key=lambda place: rows[place][0])
    place_of = {old: new for new, old in enumerate(order)}
    truth = [(at, place_of[row], *rest) for at, row, *rest in truth]
    spans = tuple(
        FaultSpan("stop", "orders", begin - 30 * MS, begin + 5 * MS, finish - 5 * MS, finish + 30 * MS, prove, prove)
        for begin, finish, _ in play.down
    )
    return BreakerWorld(_history([rows[place] for place in order]), spans, hits, truth)


def _history(rows):
    return History.of(
        Exchange(0, "w", "op", 0, "127.0.0.2", 0, sent, sent, done, done, ending, fault, status, 0, 0, "", {}, body)
        for sent, done, ending, fault, status, body in rows
    )
