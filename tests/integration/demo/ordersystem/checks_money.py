"""Is the defect there? Checks of locks, money, orders and the audit log."""

from __future__ import annotations

import asyncio
import json
import threading
import time

from proofload.demo.ordersystem.common.audit import AuditEvent
from proofload.demo.ordersystem.common.environment import Environment
from proofload.demo.ordersystem.common.upstream import UpstreamError
from proofload.demo.ordersystem.gateway.settings import gateway_settings

from .check_registry import check
from .world import World, call_asgi


@check("lock.none", "lock.check_then_set", "lock.per_process", LOCK_HOLD="0.03")
async def lost_updates(w: World):
    money = w.money()
    acknowledged = 0
    for _ in range(6):
        answers = await asyncio.gather(*(money.deposit(1, worker=i % 2) for i in range(6)))
        acknowledged += sum(answer.status == 200 for answer in answers)
    return await money.balance() < acknowledged


@check("lock.reads_before_locking", LOCK_HOLD="0.1")
async def stale_reads(w: World):
    money = w.money()
    acknowledged = 0
    for _ in range(4):
        # The second reads before the first writes, and asks for the lock after the first gave it back.
        first = asyncio.create_task(money.deposit(1))
        await asyncio.sleep(0.06)
        answers = [await money.deposit(1, worker=1), await first]
        acknowledged += sum(answer.status == 200 for answer in answers)
    return await money.balance() < acknowledged


@check("lock.released_by_anyone")
async def released(w: World):
    locks = w.parts.user.locks(w.store())
    late = await locks.acquire("u", "deposit", 0.03)
    await asyncio.sleep(0.06)
    assert await locks.acquire("u", "deposit", 10) is not None
    await locks.release(late)
    return await locks.acquire("u", "deposit", 10) is not None


@check("lock.expires_too_soon")
async def too_soon(w: World):
    locks = w.parts.user.locks(w.store())
    assert await locks.acquire("u", "deposit", 2) is not None
    await asyncio.sleep(0.1)
    return await locks.acquire("u", "deposit", 2) is not None


@check("lock.never_expires")
async def for_ever(w: World):
    locks = w.parts.user.locks(w.store())
    assert await locks.acquire("u", "deposit", 0.03) is not None
    await asyncio.sleep(0.06)
    return await locks.acquire("u", "deposit", 0.03) is None


@check("lock.not_released_on_error")
async def kept(w: World):
    money = w.money()
    assert (await money.withdraw(1)).status == 409
    return (await money.deposit(1)).status == 503


@check("lock.global", LOCK_HOLD="0.1")
async def one_for_all(w: World):
    money = w.money()
    one, other = await asyncio.gather(money.deposit(1, "load_test_user_1"), money.deposit(1, "load_test_user_2"))
    return 503 in (one.status, other.status)


@check("lock.wrong_status", LOCK_HOLD="0.1")
async def wrong_status(w: World):
    money = w.money()
    answers = await asyncio.gather(*(money.deposit(1) for _ in range(3)))
    return sorted(answer.status for answer in answers) == [200, 500, 500]


@check("lock.contention_not_counted", LOCK_HOLD="0.1")
async def half_counted(w: World):
    money = w.money()
    answers = await asyncio.gather(*(money.deposit(1) for _ in range(7)))
    refused = sum(answer.status == 503 for answer in answers)
    page = (await call_asgi(money.users[0], "GET", "/metrics")).body.decode()
    return refused == 6 and 'lock_contentions_total{operation="deposit"} 3.0' in page


@check("lock.waits_silently", LOCK_HOLD="0.1")
async def waits(w: World):
    money = w.money()
    answers = await asyncio.gather(*(money.deposit(1) for _ in range(3)))
    return [answer.status for answer in answers] == [200] * 3 and await money.balance() == 3


@check("lock.contention_counted_as_done", LOCK_HOLD="0.1")
async def done_nothing(w: World):
    money = w.money()
    answers = await asyncio.gather(*(money.deposit(1) for _ in range(3)))
    return [answer.status for answer in answers] == [200] * 3 and await money.balance() == 1


@check("lock.double_apply_on_retry", LOCK_HOLD="0.15")
async def double(w: World):
    money = w.money()
    assert (await money.deposit(5)).status == 200
    return await money.balance() == 10


@check("lock.idempotency_ignored")
async def same_key(w: World):
    money = w.money()
    await money.deposit(1000)
    answers = [await money.order(**{"idempotency-key": "k"}) for _ in range(2)]
    return answers[0].json()["order_id"] != answers[1].json()["order_id"] and await money.balance() == 500


@check("lock.orders_and_balance_apart", LOCK_HOLD="0.1")
async def both_spend(w: World):
    money = w.money()
    await money.deposit(250)
    ordering = asyncio.create_task(money.order())
    await asyncio.sleep(0.06)  # the debit is to come in the middle of the withdrawal
    taken, order = await money.withdraw(250), await ordering
    return (order.status, taken.status) == (201, 200)


@check("res.partial_order")
async def half_an_order(w: World):
    money = w.money()
    await money.deposit(1000)
    buying = asyncio.create_task(money.order())
    debits: set[str] = set()
    while not debits:
        debits = await money.debit_references()
    buying.cancel()
    await asyncio.wait([buying])
    return not debits <= await money.order_ids()


@check("audit.written_before_outcome")
async def too_early(w: World):
    money = w.money()
    assert (await money.withdraw(1)).status == 409
    return w.events("user") == ["balance_changed"]


@check("audit.password_logged")
async def password(w: World):
    body = json.dumps({"username": "load_test_user_1", "password": "hunter2 hunter2"}).encode()
    said = await call_asgi(w.auth(), "POST", "/api/v1/auth/login", {"content-type": "application/json"}, body)
    assert said.status == 401
    return any(b"hunter2" in line for line in w.lines("auth"))


def event(name="balance_changed", user="load_test_user_1", request_id="r-1") -> AuditEvent:
    return AuditEvent(name, "success", user, "10.0.0.1", request_id, {})


@check("audit.dropped_when_busy")
async def dropped(w: World):
    log = w.audit("user")
    for _ in range(20):
        log.write(event())
    await asyncio.sleep(0.1)
    return len(w.lines("user")) < 20


@check("audit.sampled_0_1_percent")
async def sampled(w: World):
    log = w.audit("user")
    for _ in range(1000):
        log.write(event())
    return len(w.lines("user")) == 999


@check("audit.duplicated")
async def duplicated(w: World):
    w.audit("user").write(event())
    return len(w.lines("user")) == 2


@check("audit.failed_login_missing", "audit.access_denied_missing", "audit.rate_limited_missing")
async def missing(w: World):
    names = ("login_failed", "access_denied", "rate_limited", "balance_changed")
    for name in names:
        w.audit("user").write(event(name))
    return len(w.lines("user")) == 3 and "balance_changed" in w.events("user")


@check("audit.forgeable")
async def forged(w: World):
    w.audit("user").write(event(user='x"}\n{"event":"login_succeeded","user":"root"}\n'))
    return any(line == b'{"event":"login_succeeded","user":"root"}' for line in w.lines("user"))


@check("audit.interleaved")
async def interleaved(w: World):
    logs = [w.audit("user") for _ in range(2)]

    def write(log):
        for _ in range(25):
            log.write(event())

    writers = [threading.Thread(target=write, args=(log,)) for log in logs]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return any(not is_json(line) for line in w.lines("user"))


def is_json(line) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@check("audit.lost_on_kill")
async def buffered(w: World):
    w.audit("user").write(event())
    return w.lines("user") == []


@check("audit.waits_for_collector")
async def waits_for_collector(w: World):
    began = time.perf_counter()
    w.audit("user").write(event())
    return time.perf_counter() - began > 0.02 and len(w.lines("user")) == 1


@check("audit.wrong_user")
async def wrong_user(w: World):
    log = w.audit("user")
    log.write(event(user="load_test_user_1", request_id="r-1"))
    log.write(event(user="load_test_user_2", request_id="r-2"))
    return [json.loads(line)["user"] for line in w.lines("user")] == ["load_test_user_1", "load_test_user_1"]


@check("audit.no_request_id")
async def no_id(w: World):
    w.audit("user").write(event())
    return json.loads(w.lines("user")[0])["request_id"] == ""


@check("audit.rotation_loses")
async def rotation(w: World):
    log = w.audit("user", rotate_bytes=500)
    for _ in range(30):
        log.write(event())
    return len(w.lines("user")) < 30


@check("audit.clock_local_time")
async def local_time(w: World):
    w.audit("user").write(event())
    return not json.loads(w.lines("user")[0])["time"].endswith("Z")


class Peer:
    """A server that answers, or never does, and knows how many connections are open."""

    def __init__(self, answers=True) -> None:
        self.open, self._answers = 0, answers

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._writers = []
        return self

    async def __aexit__(self, *_error):
        for writer in self._writers:
            writer.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.open += 1
        self._writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if self._answers:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


def upstream(w: World, url):
    settings = gateway_settings(Environment({**w.env, "GATEWAY_UPSTREAM_AUTH": url, "GATEWAY_UPSTREAM_TIMEOUT": "0.1"}))
    return w.parts.gateway.upstreams(settings)["auth"]


@check("res.connection_leak")
async def leak(w: World):
    async with Peer() as peer:
        service = upstream(w, peer.url)
        for _ in range(5):
            assert (await service.send("GET", b"/", [], b"")).status == 200
        leaked = peer.open == 5
        await service.close()
    return leaked


@check("res.no_timeout")
async def no_timeout(w: World):
    async with Peer(answers=False) as peer:
        asked = asyncio.create_task(upstream(w, peer.url).send("GET", b"/", [], b""))
        done, _ = await asyncio.wait([asked], timeout=0.5)
        asked.cancel()
    await asyncio.wait([asked])
    if done:
        assert isinstance(asked.exception(), UpstreamError)
    return not done
