"""Limiters that decide at true instants, honest and defective. Written apart from the judge's models, on purpose."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass


@dataclass
class Answer:
    admitted: bool
    remaining: int
    reset_ns: int
    """When a full allowance (or the next admission) is there again, on the server's clock."""
    retry_ns: int = 0
    """How long from the decision until a request would be admitted."""


class FixedWindowServer:
    """A counter per key with an expiry, as one would keep in Redis."""

    def __init__(self, limit, window_ns, *, jitter=lambda: 0):
        self.limit, self.window_ns, self.jitter = limit, window_ns, jitter
        self.counters = {}

    def live(self, key, now):
        counter = self.counters.get(key)
        if counter is None or now >= counter[1]:
            counter = self.counters[key] = [0, now + self.window_ns + self.jitter()]
        return counter

    def decide(self, key, now, worker=0):
        counter = self.live(key, now)
        counter[0] += 1
        return self.answer(counter[0] <= self.limit, counter, now)

    def answer(self, admitted, counter, now):
        return Answer(admitted, max(0, self.limit - counter[0]), counter[1], counter[1] - now)


class ClockWindowServer(FixedWindowServer):
    """Windows begin at whole multiples of their length on the server's clock."""

    def live(self, key, now):
        number = now // self.window_ns
        counter = self.counters.get(key)
        if counter is None or counter[2] != number:
            counter = self.counters[key] = [0, (number + 1) * self.window_ns, number]
        return counter


class SlidingLogServer:
    def __init__(self, limit, window_ns, *, log_rejected=False):
        self.limit, self.window_ns, self.log_rejected = limit, window_ns, log_rejected
        self.logs = defaultdict(deque)

    def decide(self, key, now, worker=0):
        log = self.logs[key]
        while log and log[0] <= now - self.window_ns:
            log.popleft()
        admitted = len(log) < self.limit
        if admitted or self.log_rejected:
            log.append(now)
        room = max(0, self.limit - len(log))
        oldest = log[0] + self.window_ns if log else now
        return Answer(admitted, room, oldest, 0 if room else oldest - now)


class SlidingCounterServer:
    """Two buckets on the clock; the older one weighs by what is left of it in the window."""

    def __init__(self, limit, window_ns):
        self.limit, self.window_ns = limit, window_ns
        self.buckets = defaultdict(int)

    def decide(self, key, now, worker=0):
        number, into = divmod(now, self.window_ns)
        weighed = self.buckets[key, number - 1] * (self.window_ns - into) / self.window_ns
        used = weighed + self.buckets[key, number]
        admitted = used + 1 <= self.limit
        if admitted:
            self.buckets[key, number] += 1
            used += 1
        # Only when both buckets have passed is the whole allowance there again.
        whole = (number + 2) * self.window_ns
        return Answer(admitted, max(0, math.floor(self.limit - used)), whole, whole - now)


class TokenBucketServer:
    """Whole arithmetic: tokens in `window_ns`ths, a request costs `window_ns` of them, a nanosecond brings `limit`."""

    def __init__(self, limit, window_ns, burst):
        self.limit, self.window_ns, self.burst = limit, window_ns, burst
        self.buckets = {}

    def decide(self, key, now, worker=0):
        full = self.burst * self.window_ns
        level, at = self.buckets.get(key, (full, now))
        level = min(full, level + (now - at) * self.limit)
        admitted = level >= self.window_ns
        if admitted:
            level -= self.window_ns
        self.buckets[key] = (level, now)
        wait = max(0, -(-(self.window_ns - level) // self.limit))
        return Answer(admitted, level // self.window_ns, now + -(-(full - level) // self.limit), wait)


class GcraServer:
    """The cell rate algorithm: one theoretical arrival time a key, in `limit`ths of a nanosecond."""

    def __init__(self, limit, window_ns, burst):
        self.limit, self.window_ns, self.burst = limit, window_ns, burst
        self.arrival = {}

    def decide(self, key, now, worker=0):
        at = now * self.limit
        due = max(self.arrival.get(key, at), at)
        tolerance = (self.burst - 1) * self.window_ns
        admitted = due - at <= tolerance
        if admitted:
            due = self.arrival[key] = due + self.window_ns
        room = (self.burst * self.window_ns - (due - at)) // self.window_ns
        wait = max(0, -(-(due - at - tolerance) // self.limit))
        return Answer(admitted, max(0, room), -(-due // self.limit), wait)


class LeakyBucketServer:
    """A meter that leaks one request at a time; full means rejected."""

    def __init__(self, limit, window_ns, burst):
        self.limit, self.window_ns, self.burst = limit, window_ns, burst
        self.levels = {}

    def decide(self, key, now, worker=0):
        level, at = self.levels.get(key, (0, now))
        level = max(0, level - (now - at) * self.limit)
        size = self.burst * self.window_ns
        admitted = level + self.window_ns <= size
        if admitted:
            level += self.window_ns
        self.levels[key] = (level, now)
        wait = max(0, -(-(level + self.window_ns - size) // self.limit))
        return Answer(admitted, (size - level) // self.window_ns, now + -(-level // self.limit), wait)


# What follows is wrong in the way its name says: the defects of a fixed window.


class LimitPlusOne(FixedWindowServer):
    def decide(self, key, now, worker=0):
        counter = self.live(key, now)
        counter[0] += 1
        return self.answer(counter[0] <= self.limit + 1, counter, now)


class LimitMinusOne(FixedWindowServer):
    def decide(self, key, now, worker=0):
        counter = self.live(key, now)
        counter[0] += 1
        return self.answer(counter[0] < self.limit, counter, now)


class RaceGetThenSet(FixedWindowServer):
    """Reads, and writes what it read plus one a while later: requests in between read the same."""

    def __init__(self, *args, gap_ns=1_000_000, **kwargs):
        super().__init__(*args, **kwargs)
        self.gap_ns, self.pending = gap_ns, defaultdict(list)

    def decide(self, key, now, worker=0):
        counter = self.live(key, now)
        for due, value in list(self.pending[key]):
            if due <= now:
                counter[0] = value
                self.pending[key].remove((due, value))
        mine = counter[0] + 1
        if counter[0] < self.limit:
            self.pending[key].append((now + self.gap_ns, mine))
            return Answer(True, self.limit - mine, counter[1], counter[1] - now)
        return Answer(False, 0, counter[1], counter[1] - now)


class PerProcessCounter(FixedWindowServer):
    def decide(self, key, now, worker=0):
        return super().decide((key, worker), now)


class ImmortalKey(FixedWindowServer):
    def live(self, key, now):
        return self.counters.setdefault(key, [0, now + self.window_ns])


class TtlRefreshed(FixedWindowServer):
    def decide(self, key, now, worker=0):
        answer = super().decide(key, now)
        self.counters[key][1] = now + self.window_ns
        return answer


class KeyIgnoresIp(FixedWindowServer):
    def decide(self, key, now, worker=0):
        return super().decide("all", now)


class NoLimit(FixedWindowServer):
    def decide(self, key, now, worker=0):
        return Answer(True, self.limit - 1, now + self.window_ns, 0)


class HalfWindow(FixedWindowServer):
    def __init__(self, limit, window_ns, **kwargs):
        super().__init__(limit, window_ns // 2, **kwargs)


class RemainingStuck(FixedWindowServer):
    def answer(self, admitted, counter, now):
        return Answer(admitted, self.limit, counter[1], counter[1] - now)


class RemainingNegative(FixedWindowServer):
    def answer(self, admitted, counter, now):
        return Answer(admitted, self.limit - counter[0], counter[1], counter[1] - now)


class ResetUntrue(FixedWindowServer):
    """Says that the window ends at half its length."""

    def answer(self, admitted, counter, now):
        end = counter[1] - self.window_ns // 2
        return Answer(admitted, max(0, self.limit - counter[0]), end, counter[1] - now)


class RetryTooShort(FixedWindowServer):
    def answer(self, admitted, counter, now):
        return Answer(admitted, max(0, self.limit - counter[0]), counter[1], 0)


class _OneMore:
    """Any limiter with its limit, or its bucket, one larger than it says."""

    def __init__(self, limit, window_ns, burst=None):
        self.limit = limit
        self.inner = (
            self.kind(limit + self.by, window_ns) if burst is None else self.kind(limit, window_ns, burst + self.by)
        )

    def decide(self, key, now, worker=0):
        return self.inner.decide(key, now, worker)


def off_by(kind, by):
    """Return a limiter of another kind whose allowance is wrong by `by`, headers and all."""
    return type(f"{kind.__name__}{by:+d}", (_OneMore,), {"kind": kind, "by": by})


def refills_twice_as_fast(kind):
    return lambda limit, window_ns, burst: kind(limit, window_ns // 2, burst)


HONEST = {
    "fixed_window": lambda limit, window_ns, burst: FixedWindowServer(limit, window_ns),
    "fixed_window on the clock": lambda limit, window_ns, burst: ClockWindowServer(limit, window_ns),
    "sliding_log": lambda limit, window_ns, burst: SlidingLogServer(limit, window_ns),
    "sliding_window_counter": lambda limit, window_ns, burst: SlidingCounterServer(limit, window_ns),
    "token_bucket": TokenBucketServer,
    "gcra": GcraServer,
    "leaky_bucket": LeakyBucketServer,
}

FIXED_WINDOW_DEFECTS = {
    "rl.limit_plus_one": LimitPlusOne,
    "rl.limit_minus_one": LimitMinusOne,
    "rl.race_get_then_set": RaceGetThenSet,
    "rl.per_process_counter": PerProcessCounter,
    "rl.immortal_key": ImmortalKey,
    "rl.ttl_refreshed": TtlRefreshed,
    "rl.key_ignores_ip": KeyIgnoresIp,
    "limiter off": NoLimit,
    "window half as long": HalfWindow,
    "rl.remaining_stuck": RemainingStuck,
    "rl.remaining_negative": RemainingNegative,
    "rl.reset_untrue": ResetUntrue,
    "rl.retry_after_too_short": RetryTooShort,
}
