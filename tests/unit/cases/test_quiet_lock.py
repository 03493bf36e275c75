"""Whoever asks for silence gets it, is not starved, and gives it back whatever happens."""

import asyncio

from proofload.cases.quiet_lock import QuietLock


def test_silence_waits_for_senders_and_is_not_overtaken() -> None:
    async def scene() -> list[str]:
        turns, told, first_may_end = QuietLock(), [], asyncio.Event()

        async def sender(name: str, may_end: asyncio.Event) -> None:
            async with turns.sending():
                told.append(f"{name} sends")
                await may_end.wait()
            told.append(f"{name} ended")

        async def counter() -> None:
            async with turns.exclusive():
                told.append("silence")

        done = asyncio.Event()
        done.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(sender("first", first_may_end))
            await asyncio.sleep(0)
            group.create_task(counter())
            for _ in range(5):
                await asyncio.sleep(0)
            group.create_task(sender("late", done))
            for _ in range(5):
                await asyncio.sleep(0)
            first_may_end.set()
        return told

    told = asyncio.run(scene())
    assert told.index("first ended") < told.index("silence") < told.index("late sends")


def test_a_cancelled_wait_for_silence_lets_senders_go_on() -> None:
    async def scene() -> bool:
        turns, may_end = QuietLock(), asyncio.Event()

        async def sender() -> None:
            async with turns.sending():
                await may_end.wait()

        async def counter() -> None:
            async with turns.exclusive():
                raise AssertionError("nobody was silent")

        first = asyncio.create_task(sender())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(counter())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        may_end.set()
        await asyncio.wait_for(asyncio.gather(first, sender()), 5)
        return True

    assert asyncio.run(scene())


def test_of_two_who_want_silence_the_longer_comes_first() -> None:
    async def scene() -> list[str]:
        turns, told, may_end = QuietLock(), [], asyncio.Event()

        async def sender() -> None:
            async with turns.sending():
                await may_end.wait()

        async def quiet(name: str, takes_ns: int) -> None:
            async with turns.exclusive(takes_ns):
                told.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(sender())
            await asyncio.sleep(0)
            group.create_task(quiet("short", 1))
            group.create_task(quiet("long", 60))
            for _ in range(5):
                await asyncio.sleep(0)
            may_end.set()
        return told

    assert asyncio.run(scene()) == ["long", "short"]


def test_who_has_the_longest_way_to_go_is_not_held_up_by_those_who_want_silence() -> None:
    async def main() -> list[str]:
        lock = QuietLock()
        told: list[str] = []

        async def sends(name: str, takes_ns: int) -> None:
            async with lock.sending(takes_ns):
                told.append(name)

        async with lock.sending():
            wants = asyncio.create_task(exclusive(lock, told))
            await asyncio.sleep(0)
            near, far = asyncio.create_task(sends("near", 1)), asyncio.create_task(sends("far", 9))
            await far
        await asyncio.gather(wants, near)
        return told

    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["far", "exclusive", "near"]


async def exclusive(lock: QuietLock, told: list[str]) -> None:
    async with lock.exclusive(5):
        told.append("exclusive")
