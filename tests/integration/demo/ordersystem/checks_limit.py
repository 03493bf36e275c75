"""Is the defect there? Checks of rate limits: each returns true for what the defect's client would observe."""

from __future__ import annotations

import asyncio
import time

import jwt

from .check_registry import check
from .world import PROBE, World

LIMIT = {"GATEWAY_RATE_LIMIT": "4"}


def admitted(answers) -> int:
    return sum(answer.status == 200 for answer in answers)


def limit_check(*ids, window="30", **settings):
    return check(*ids, GATEWAY_RATE_WINDOW=window, **{**LIMIT, **settings})


@limit_check("rl.limit_plus_one")
async def one_more(w: World):
    return admitted(await w.gateway().many(7)) == 5


@limit_check("rl.limit_minus_one")
async def one_less(w: World):
    return admitted(await w.gateway().many(7)) == 3


@limit_check("rl.race_get_then_set")
async def burst(w: World):
    w.gateway()
    answers = await w.at_once(30)
    sequence = await w.many(7, ip="10.0.0.2")
    return admitted(answers) > 4 and admitted(sequence) == 4


@limit_check("rl.per_process_counter")
async def two_workers(w: World):
    w.gateway()
    return admitted([await w.ask(worker=i % 2) for i in range(20)]) == 8


@limit_check("rl.keys_collide")
async def folded_keys(w: World):
    w.gateway()
    answers = [(await w.many(1, ip=f"10.0.1.{i}"))[0] for i in range(20)]
    return admitted(answers) < 20


@limit_check("rl.ignores_service_limits", GATEWAY_RATE_LIMIT_AUTH="2")
async def no_limit_of_its_own(w: World):
    return admitted(await w.gateway().many(7)) == 4


@limit_check("rl.service_limit_shared", GATEWAY_RATE_LIMIT_AUTH="2")
async def one_count_for_a_service(w: World):
    first = await w.gateway().many(2)
    return admitted(first) == 2 and admitted(await w.many(1, ip="10.0.0.2")) == 0


@limit_check("rl.immortal_key", window="0.3")
async def immortal(w: World):
    await w.gateway().many(5)
    await asyncio.sleep(0.4)
    return (await w.ask()).status == 429


@limit_check("rl.ttl_refreshed", window="0.5")
async def steady(w: World):
    w.gateway()
    answers = []
    for _ in range(8):
        answers.append(await w.ask())
        await asyncio.sleep(0.2)
    return admitted(answers) < 8


@limit_check("rl.no_expiry_on_reject", window="0.5")
async def keeps_trying(w: World):
    await w.gateway().many(5)
    answers = []
    for _ in range(6):
        await asyncio.sleep(0.2)
        answers.append(await w.ask())
    return admitted(answers) == 0


@limit_check("rl.window_on_the_clock", window="1")
async def turn_of_the_window(w: World):
    w.gateway()
    await asyncio.sleep(1.75 - time.time() % 1 if time.time() % 1 > 0.75 else 0.75 - time.time() % 1)
    before = await w.many(4)
    await asyncio.sleep(1.02 - time.time() % 1)
    return admitted(before) + admitted(await w.many(4)) == 8


@limit_check("rl.window_too_short", window="2")
async def short_window(w: World):
    await w.gateway().many(5)
    await asyncio.sleep(1.7)
    return (await w.ask()).status == 200


@limit_check("rl.trusts_forwarded_for")
async def forged(w: World):
    w.gateway()
    return admitted([await w.ask(headers={"X-Forwarded-For": f"198.51.100.{i}"}) for i in range(8)]) == 8


@limit_check("rl.key_ignores_ip")
async def second_client(w: World):
    await w.gateway().many(5)
    return (await w.ask(ip="10.0.0.2")).status == 429


@limit_check("rl.key_per_connection")
async def new_ports(w: World):
    w.gateway()
    return admitted([await w.ask(port=5000 + i) for i in range(8)]) == 8


@limit_check("rl.key_per_path")
async def paths(w: World):
    w.gateway()
    answers = await w.many(4) + await w.many(4, path="/api/v1/auth/register")
    return admitted(answers) == 8


@limit_check("rl.query_string_in_key")
async def queries(w: World):
    w.gateway()
    return admitted([await w.ask(f"{PROBE}?x={i}") for i in range(8)]) == 8


@limit_check("rl.method_not_counted")
async def posts(w: World):
    return admitted(await w.gateway().many(8, method="POST")) == 8


@limit_check("rl.rejected_reaches_backend")
async def reaches(w: World):
    answers = await w.gateway().many(8)
    return admitted(answers) == 4 and w.backend.hits == 8


@check("rl.fail_open", REDIS_URL="redis://127.0.0.1:1/0")
async def without_store(w: World):
    return (await w.gateway().ask()).status == 200


@limit_check("rl.slow_reject")
async def slow(w: World):
    await w.gateway().many(4)
    started = time.perf_counter()
    await w.ask()
    return time.perf_counter() - started > 0.25


@limit_check("rl.wrong_status")
async def forbidden(w: World):
    return (await w.gateway().many(5))[-1].status == 403


@limit_check("rl.headers_lost_on_proxied")
async def lost(w: World):
    answers = await w.gateway().many(5)
    return ["x-ratelimit-limit" in answer.headers for answer in answers] == [False] * 4 + [True]


@limit_check("rl.headers_missing_on_429")
async def missing(w: World):
    answers = await w.gateway().many(5)
    return ["x-ratelimit-limit" in answer.headers for answer in answers] == [True] * 4 + [False]


@limit_check("rl.remaining_stuck")
async def stuck(w: World):
    return [answer.left() for answer in await w.gateway().many(4)] == [3] * 4


@limit_check("rl.remaining_negative")
async def negative(w: World):
    return (await w.gateway().many(5))[-1].left() < 0


@limit_check("rl.remaining_one_too_many")
async def too_many(w: World):
    return [answer.left() for answer in await w.gateway().many(4)] == [4, 3, 2, 1]


@limit_check("rl.reset_in_milliseconds")
async def milliseconds(w: World):
    return int((await w.gateway().ask()).headers["x-ratelimit-reset"]) > time.time() * 100


@limit_check("rl.reset_is_delta")
async def delta(w: World):
    return int((await w.gateway().ask()).headers["x-ratelimit-reset"]) <= 30


@limit_check("rl.reset_untrue", window="2")
async def untrue(w: World):
    reset = int((await w.gateway().many(5))[-1].headers["x-ratelimit-reset"])
    await asyncio.sleep(reset - time.time() + 0.01)
    return (await w.ask()).status == 429


@limit_check("rl.retry_after_missing")
async def no_retry_after(w: World):
    return "retry-after" not in (await w.gateway().many(5))[-1].headers


@limit_check("rl.retry_after_too_short", window="2")
async def too_short(w: World):
    rejected = (await w.gateway().many(5))[-1]
    await asyncio.sleep(int(rejected.headers["retry-after"]) + 0.01)
    return (await w.ask()).status == 429


@limit_check("rl.health_limited")
async def health(w: World):
    await w.gateway().many(5)
    return (await w.ask("/health")).status == 429


@limit_check("int.limit_before_auth_leaks")
async def spends_anothers(w: World):
    forged = jwt.encode({"sub": "load_test_user_1"}, "not the secret, and long enough to please", algorithm="HS256")
    stranger = await w.gateway().many(
        4, path="/api/v1/balance", ip="10.0.0.9", headers={"authorization": f"Bearer {forged}"}
    )
    assert {answer.status for answer in stranger} == {401}
    return (await w.ask("/api/v1/balance", headers=w.bearer())).status == 429


@limit_check("int.error_skips_limit")
async def errors_are_free(w: World):
    w.backend.status = 404
    return [answer.status for answer in await w.gateway().many(8)] == [404] * 8


@limit_check("int.rejected_trips_breaker")
async def rejected_trips(w: World):
    await w.gateway().many(10)
    return (await w.ask(ip="10.0.0.2")).status == 503


@limit_check("int.overload_skips_audit")
async def busy_log(w: World):
    w.gateway()
    rejected = sum(answer.status == 429 for answer in await w.at_once(40))
    return w.events("gateway").count("rate_limited") < rejected


@limit_check("audit.token_logged")
async def token_logged(w: World):
    bearer = w.bearer()
    await w.gateway().many(5, headers=bearer)
    return any(bearer["authorization"].encode() in line for line in w.lines("gateway"))


@limit_check("audit.token_in_error")
async def token_quoted(w: World):
    answers = await w.gateway().many(1, path="/api/v1/balance", headers={"authorization": "Bearer worthless"})
    return answers[0].status == 401 and b"worthless" in answers[0].body


@limit_check("mon.rejected_not_counted")
async def rejected_not_counted(w: World):
    await w.gateway().many(6)
    page = await w.page()
    return 'status="200"} 4.0' in page and 'status="429"' not in page


@limit_check("mon.wrong_status_label")
async def wrong_label(w: World):
    await w.gateway().many(6)
    return 'status="200"} 6.0' in await w.page()
