"""Is the defect there? Checks of circuit breakers, metrics and what surrounds them."""

from __future__ import annotations

import asyncio
import time

from proofload.demo.ordersystem.common.upstream import UpstreamTimeoutError

from .check_registry import check
from .world import World


def opened(said) -> bool:
    return said.code == "CIRCUIT_OPEN"


async def open_circuit(w: World, worker=0) -> None:
    w.backend.status = 500
    await w.many(5, worker=worker)


async def let_period_pass(w: World) -> None:
    await asyncio.sleep(0.35)


@check("cb.never_opens")
async def never_opens(w: World):
    w.backend.status = 500
    await w.gateway().many(10)
    return w.backend.hits == 10


@check("cb.threshold_off_by_one")
async def sixth(w: World):
    w.backend.status = 500
    await w.gateway().many(10)
    return w.backend.hits == 6


@check("cb.threshold_too_low")
async def fourth(w: World):
    w.backend.status = 500
    await w.gateway().many(10)
    return w.backend.hits == 4


@check("cb.counts_non_consecutive")
async def among_successes(w: World):
    w.gateway()
    for status in (500, 500, 500, 500, 200, 500):
        w.backend.status = status
        await w.ask()
    return opened(await w.ask())


@check("cb.counts_client_errors")
async def client_errors(w: World):
    w.backend.status = 404
    return opened((await w.gateway().many(6))[-1])


@check("cb.counts_contention", "int.contention_trips_breaker")
async def contention(w: World):
    w.backend.status, w.backend.code = 503, "LOCK_CONTENTION"
    return opened((await w.gateway().many(6))[-1])


@check("cb.ignores_timeouts")
async def timeouts(w: World):
    w.backend.error = UpstreamTimeoutError("the service took longer than it may")
    await w.gateway().many(8)
    return w.backend.hits == 8


@check("cb.no_fast_fail", BREAKER_OPEN="30")
async def still_calls(w: World):
    w.backend.status = 500
    answers = await w.gateway().many(8)
    return opened(answers[-1]) and w.backend.hits == 8


@check("cb.wrong_status_when_open", BREAKER_OPEN="30")
async def internal_error(w: World):
    w.backend.status = 504
    return (await w.gateway().many(6))[-1].status == 500


@check("cb.ok_when_open", BREAKER_OPEN="30")
async def okay(w: World):
    w.backend.status = 500
    last = (await w.gateway().many(6))[-1]
    return opened(last) and last.status == 200


@check("cb.shared_across_services", BREAKER_OPEN="30")
async def others(w: World):
    await open_circuit(w.gateway())
    return (await w.ask("/api/v1/balance", headers=w.bearer())).status == 503


@check("cb.per_worker_state", BREAKER_OPEN="30")
async def other_worker(w: World):
    await open_circuit(w.gateway(), worker=0)
    await w.ask(worker=1)
    return w.backend.hits == 6


@check("cb.lost_on_restart_of_worker", BREAKER_OPEN="30")
async def restarted(w: World):
    await open_circuit(w.gateway())
    w.start_worker()
    await w.ask(worker=2)
    return w.backend.hits == 6


@check("cb.never_half_opens")
async def never_half_opens(w: World):
    await open_circuit(w.gateway())
    w.backend.status = 200
    await let_period_pass(w)
    return opened(await w.ask())


@check("cb.timer_restarted_by_rejects")
async def renewed(w: World):
    await open_circuit(w.gateway())
    w.backend.status = 200
    answers = []
    for _ in range(9):
        await asyncio.sleep(0.1)
        answers.append(await w.ask())
    return all(opened(answer) for answer in answers)


@check("cb.half_open_flood")
async def flood(w: World):
    await open_circuit(w.gateway())
    await let_period_pass(w)
    w.backend.status, w.backend.hits = 200, 0
    w.backend.gate.clear()
    burst = [asyncio.create_task(w.ask(worker=i % 2)) for i in range(6)]
    await asyncio.wait(burst, timeout=0.3)
    hits = w.backend.hits
    w.backend.gate.set()
    await asyncio.gather(*burst)
    return hits == 6


@check("cb.closes_after_one")
async def closes_early(w: World):
    await open_circuit(w.gateway())
    await let_period_pass(w)
    w.backend.status = 200
    await w.ask()
    w.backend.status = 500
    await w.ask()
    return not opened(await w.ask())


@check("cb.reopens_without_period")
async def no_period(w: World):
    await open_circuit(w.gateway())
    await let_period_pass(w)
    w.backend.hits = 0
    await w.many(3)
    return w.backend.hits == 3


@check("cb.success_count_kept")
async def kept(w: World):
    await open_circuit(w.gateway())
    await let_period_pass(w)
    for status in (200, 200, 500):
        w.backend.status = status
        await w.ask()
    await let_period_pass(w)
    for status in (200, 500):
        w.backend.status = status
        await w.ask()
    return not opened(await w.ask())


@check("mon.errors_not_counted")
async def errors_not_counted(w: World):
    await open_circuit(w.gateway())
    return 'status="500"' not in await w.page()


@check("mon.double_counted")
async def twice(w: World):
    await w.gateway().ask()
    return 'status="200"} 2.0' in await w.page()


@check("mon.lost_under_concurrency")
async def lost(w: World):
    await asyncio.gather(*(w.gateway().ask() for _ in range(1)))
    await asyncio.gather(*(w.ask() for _ in range(10)))
    await asyncio.sleep(0.05)
    total = next(line for line in (await w.page()).splitlines() if line.startswith("http_requests_total{"))
    return float(total.rsplit(" ", 1)[1]) < 11


@check("mon.histogram_count_differs")
async def histogram(w: World):
    w.backend.status = 404
    await w.gateway().many(3)
    page = await w.page()
    return 'status="404"} 3.0' in page and "http_request_duration_seconds_count{" not in page


@check("mon.histogram_in_milliseconds")
async def unit(w: World):
    await w.gateway().many(60)
    line = next(x for x in (await w.page()).splitlines() if x.startswith("http_request_duration_seconds_sum{"))
    return float(line.rsplit(" ", 1)[1]) > 1


@check("mon.raw_path_label")
async def raw_path(w: World):
    await w.gateway().ask("/api/v1/orders/ord_17", headers=w.bearer())
    return 'route="/api/v1/orders/ord_17"' in await w.page()


@check("mon.health_counted_as_traffic")
async def probes(w: World):
    await w.gateway().many(3, path="/health")
    return "http_requests_total{" in await w.page()


@check("mon.worked_out_each_time")
async def worked_out(w: World):
    rendered = 0
    metrics = w.parts.metrics("gateway")
    render = metrics.page

    def page(extra: bytes = b"") -> bytes:
        nonlocal rendered
        rendered += 1
        return render(extra)

    metrics.page = page
    metrics.answered("/x", "GET", 200, 0.001)
    return rendered == 1


@check("mon.stale_gauge", BREAKER_OPEN="30")
async def stale(w: World):
    await w.gateway().page()
    await open_circuit(w)
    return 'circuit_breaker_state{service="auth"} 0.0' in await w.page()


@check("int.open_circuit_not_counted", BREAKER_OPEN="30")
async def not_counted(w: World):
    await open_circuit(w.gateway())
    assert opened(await w.ask())
    return 'status="503"' not in await w.page()


@check("int.open_circuit_not_audited")
async def not_audited(w: World):
    await open_circuit(w.gateway())
    return w.lines("gateway") == []


@check("audit.request_id_trusted_blindly")
async def any_id(w: World):
    return (await w.gateway().ask(headers={"X-Request-ID": "two words"})).headers["x-request-id"] == "two words"


@check("audit.wrong_ip")
async def wrong_ip(w: World):
    await w.gateway().ask()
    return w.backend.seen[-1][b"x-client-ip"] == b"127.0.0.1"


@check("res.unbounded_queue", GATEWAY_MAX_CONCURRENCY="1", GATEWAY_MAX_QUEUE="1", GATEWAY_QUEUE_PATIENCE="0.05")
async def endless(w: World):
    w.gateway().backend.gate.clear()
    asked = [asyncio.create_task(w.ask()) for _ in range(5)]
    done, _ = await asyncio.wait(asked, timeout=0.3)
    w.backend.gate.set()
    await asyncio.gather(*asked)
    return not done


async def overload(w: World):
    w.gateway().backend.gate.clear()
    asked = [asyncio.create_task(w.ask()) for _ in range(4)]
    refused, _ = await asyncio.wait(asked, timeout=0.2)
    w.backend.gate.set()
    await asyncio.gather(*asked)
    return [task.result() for task in refused]


TIGHT = {"GATEWAY_MAX_CONCURRENCY": "1", "GATEWAY_MAX_QUEUE": "0"}


@check("res.no_recovery", **TIGHT)
async def no_recovery(w: World):
    await overload(w)
    started = time.perf_counter()
    await w.ask()
    return time.perf_counter() - started > 0.25


@check("res.errors_as_200", **TIGHT)
async def polite(w: World):
    refused = await overload(w)
    assert {answer.code for answer in refused} == {"OVERLOADED"}
    return {answer.status for answer in refused} == {200}


@check("res.health_starved")
async def starved(w: World):
    w.gateway().backend.gate.clear()
    asked = [asyncio.create_task(w.ask()) for _ in range(20)]
    await asyncio.wait(asked, timeout=0.1)
    health = asyncio.create_task(w.ask("/health"))
    done, _ = await asyncio.wait([health], timeout=0.3)
    w.backend.gate.set()
    await asyncio.gather(health, *asked)
    return not done


@check("res.retry_storm")
async def storm(w: World):
    w.backend.status = 500
    await w.gateway().ask()
    return w.backend.hits == 4


@check("res.cascading", **TIGHT)
async def cascading(w: World):
    w.gateway().backends["user"].gate.clear()
    hanging = asyncio.create_task(w.ask("/api/v1/balance", headers=w.bearer()))
    await asyncio.wait([hanging], timeout=0.2)
    assert w.backends["user"].hits == 1
    said = await w.ask()
    w.backends["user"].gate.set()
    await hanging
    return said.status == 503


async def took_s(w: World, **options) -> float:
    started = time.perf_counter()
    await w.ask(**options)
    return time.perf_counter() - started


@check("lat.slow_one_percent")
async def hundredth(w: World):
    w.gateway()
    times = [await took_s(w) for _ in range(100)]
    return max(times[:99]) < 0.35 < times[99]


@check("lat.slow_first_request")
async def first(w: World):
    w.gateway()
    cold, warm = await took_s(w), await took_s(w)
    return cold > 0.9 > warm


@check("lat.periodic_stall")
async def stall(w: World):
    w.gateway()
    before = await took_s(w)
    await asyncio.sleep(1.1)
    return before < 0.4 < await took_s(w)


@check("lat.serialized_by_lock")
async def serialized(w: World):
    w.gateway()
    started = time.perf_counter()
    await asyncio.gather(*(w.ask("/api/v1/balance", headers=w.bearer()) for _ in range(10)))
    one_user_s = time.perf_counter() - started
    return one_user_s > 0.28


@check("lat.grows_with_time")
async def grows(w: World):
    w.gateway()
    before = await took_s(w)
    for _ in range(10):
        await asyncio.gather(*(w.ask() for _ in range(60)))
    return await took_s(w) > before + 0.2
