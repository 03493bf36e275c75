"""Parts of cases that must not meet what another case has broken."""

import asyncio

from proofload.cases.resource_locks import ResourceLocks


def test_a_part_waits_until_what_it_calls_is_no_longer_disturbed() -> None:
    async def main() -> list[str]:
        disturbed = {"service:order"}
        locks = ResourceLocks(lambda _: frozenset(disturbed))
        seen: list[str] = []

        async def part(name: str) -> None:
            async with locks.using([name]):
                seen.append(name)
                assert locks.in_use >= {name}

        waits, goes = asyncio.create_task(part("service:order")), asyncio.create_task(part("service:user"))
        await goes
        await locks.look_again()
        await asyncio.sleep(0)
        assert not waits.done()
        disturbed.clear()
        await locks.look_again()
        await waits
        assert locks.in_use == frozenset()
        assert locks.released.is_set()
        return seen

    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["service:user", "service:order"]


def test_a_part_that_breaks_down_lets_go() -> None:
    async def main() -> frozenset[str]:
        locks = ResourceLocks()
        try:
            async with locks.using(["service:order"]):
                raise ValueError
        except ValueError:
            return locks.in_use

    assert asyncio.run(main()) == frozenset()
