"""The room for calls: bounded, first come first served, nothing lost."""

from __future__ import annotations

import asyncio

from proofload.demo.ordersystem.gateway.bulkhead import Bulkhead


def test_places_go_in_order_and_the_rest_is_refused_at_once():
    async def run():
        room = Bulkhead(at_once=1, in_line=2, patience_s=5)
        assert await room.enter()
        waiting = [asyncio.create_task(room.enter()) for _ in range(2)]
        await asyncio.sleep(0)
        assert await room.enter() is False
        room.leave()
        assert await waiting[0]
        assert not waiting[1].done()
        room.leave()
        assert await waiting[1]
        room.leave()
        assert await room.enter()

    asyncio.run(run())


def test_patience_ends_and_gives_no_place_away():
    async def run():
        room = Bulkhead(at_once=1, in_line=5, patience_s=0.01)
        assert await room.enter()
        assert await asyncio.gather(*(room.enter() for _ in range(3))) == [False] * 3
        room.leave()
        assert await room.enter()
        assert await room.enter() is False

    asyncio.run(run())


def test_who_is_cancelled_in_line_does_not_take_a_place_along():
    async def run():
        room = Bulkhead(at_once=1, in_line=5, patience_s=5)
        assert await room.enter()
        gone, stays = asyncio.create_task(room.enter()), asyncio.create_task(room.enter())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        room.leave()
        assert await stays
        late = asyncio.create_task(room.enter())
        await asyncio.sleep(0)
        room.leave()  # the place is on its way to `late`, who is cancelled before he sees it
        late.cancel()
        await asyncio.wait([late])
        assert await room.enter()

    asyncio.run(run())
