"""What opens an allowance is told from what flowed in meanwhile, and a limiter that delays is named."""

import asyncio
from types import SimpleNamespace

import pytest
from tests.prove.rate_limit.limiters import FixedWindowServer, SlidingCounterServer, TokenBucketServer
from tests.prove.rate_limit.worlds import MS, SECOND

from proofload.discover.budget import Budget, Manners, PoliteClient
from proofload.discover.probes import Beside, Bounds, queueing, try_round
from proofload.drive.user import Answer
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

PATHS = ("/health", "/proofload-no-such-path")


class FakeUser:
    """A virtual user in front of a simulated limiter; time passes by asking."""

    def __init__(self, limiter, key_of, exempt=(), took_ns=5 * MS):
        self.limiter, self.key_of, self.exempt, self.took_ns = limiter, key_of, exempt, took_ns
        self.now, self.connection = 1_000 * SECOND, 0
        self.wire = SimpleNamespace(now_ns=lambda: self.now)

    async def pause_until_ns(self, due_ns):
        self.now = max(self.now, due_ns)

    def reconnect(self):
        self.connection += 1

    async def get(self, path):
        return self.answer(path, None)

    async def request(self, _probe, headers=None):
        return self.answer("/api/x", headers)

    def answer(self, path, headers):
        sent_ns, self.now = self.now, self.now + self.took_ns
        key = self.key_of(self, path, headers)
        is_fine = path in self.exempt or self.limiter.decide(key, self.now).admitted
        status = 200 if is_fine else 429
        times = sent_ns, sent_ns, self.now, self.now
        return Answer(status, Ending.ANSWERED, Fault.NONE, 0, *times, is_fine, None, b"")


def bounds(limiter, key_of=lambda *_: "client", exempt=()):
    user = FakeUser(limiter, key_of, exempt)
    client = PoliteClient(user, "probe", Budget(Manners(), user.now + 300 * SECOND))
    found = Bounds()
    asyncio.run(try_round(client, PATHS, found))
    return found


FLOWING = {
    "100 a second, burst 20": lambda: TokenBucketServer(100, SECOND, 20),
    "100 a second, burst 1": lambda: TokenBucketServer(100, SECOND, 1),
    "66 a second": lambda: TokenBucketServer(66, SECOND, 5),
    "190 a second": lambda: TokenBucketServer(190, SECOND, 10),
    "sliding counter": lambda: SlidingCounterServer(60, SECOND),
    "short window": lambda: FixedWindowServer(10, SECOND // 2),
    "minute": lambda: FixedWindowServer(10, 60 * SECOND),
}


@pytest.mark.parametrize("name", FLOWING)
def test_a_token_that_flowed_in_opens_nothing(name):
    """C2: Traefik, Varnish, nginx at 100 r/s and Envoy were said to count connections and to believe headers."""
    found = bounds(FLOWING[name]())
    assert not found.new_connection_opens
    assert not found.forged_header_opens
    assert found.unlimited == []


@pytest.mark.parametrize("name", ["100 a second, burst 20", "66 a second", "sliding counter", "minute"])
def test_what_opens_an_allowance_is_named(name):
    by_connection = bounds(FLOWING[name](), lambda user, *_: user.connection)
    assert by_connection.new_connection_opens
    by_header = bounds(FLOWING[name](), lambda _user, _path, headers: bool(headers))
    assert by_header.forged_header_opens
    assert not by_header.new_connection_opens
    exempt = bounds(FLOWING[name](), exempt=("/health",))
    assert exempt.unlimited == ["/health"]


def beside(limiter, is_shared, gap_ns, reset_ns=0):
    """Return what one client and then another find, the second after a pause, on one counter or on two."""
    looked = Beside()

    def client(key, now):
        user = FakeUser(limiter, lambda *_: "one" if is_shared else key)
        user.now = now
        return PoliteClient(user, "probe", Budget(Manners(), now + 300 * SECOND, rejected=429, usual=200))

    first = client("first", 1_000 * SECOND)
    asyncio.run(looked.spend(first))
    second = client("second", first.now_ns() + gap_ns)
    asyncio.run(looked.ask(second))
    asyncio.run(looked.ask_again(client("first", second.now_ns() + reset_ns)))
    return looked.is_served


@pytest.mark.parametrize("name", FLOWING)
@pytest.mark.parametrize("gap_ms", [1, 30, 100, 400])
def test_one_counter_for_all_is_never_taken_for_one_each(name, gap_ms):
    assert beside(FLOWING[name](), True, gap_ms * MS) is not True


@pytest.mark.parametrize("name", [*(name for name in FLOWING if "190" not in name and "burst 1" not in name)])
def test_a_client_with_its_own_counter_is_served(name):
    assert beside(FLOWING[name](), False, 5 * MS) in ((True,) if "66" not in name else (True, None))


def test_a_window_that_begins_meanwhile_decides_nothing():
    limiter = FixedWindowServer(10, SECOND // 2)
    assert beside(limiter, True, SECOND // 2) is None


def answered(gaps_ns, first_ns=3 * MS):
    at, rows = 0, []
    for gap_ns in (first_ns, *gaps_ns):
        sent, at = at, at + gap_ns
        times = sent, sent, at, at
        rows.append(Exchange(0, "w", "o", 0, "127.0.0.1", 0, *times, Ending.ANSWERED, Fault.NONE, 200, 0, 0, ""))
    return History.of(rows)


@pytest.mark.parametrize(
    ("gaps_ms", "first_ms", "is_queue"),
    [
        ([200] * 60, 3, True),
        ([100, 101, 99, 100] * 15, 2, True),
        ([200] * 60, 190, False),
        ([3, 4, 2, 5] * 15, 3, False),
        ([20, 300, 90, 150] * 15, 3, False),
        ([200] * 6, 3, False),
    ],
)
def test_a_limiter_that_delays_is_told_by_its_even_answers(gaps_ms, first_ms, is_queue):
    """C3: nginx without nodelay answered 450 requests in 90 s, and was said to have no limit."""
    history = answered([ms * MS for ms in gaps_ms], first_ms * MS)
    told = queueing(history, range(len(history)))
    assert bool(told) is is_queue
    assert not is_queue or "delays requests to" in told
