"""Sleeping ends at the due time or later; the anchor ties two clocks together."""

import asyncio

from proofload.core.clock import Anchor, SystemClock


def test_sleeping_never_ends_early() -> None:
    clock = SystemClock()

    async def late_by() -> int:
        due_ns = clock.now_ns() + 3_000_000
        await clock.sleep_until_ns(due_ns)
        return clock.now_ns() - due_ns

    assert asyncio.run(late_by()) >= 0


def test_the_anchor_keeps_the_tightest_reading() -> None:
    class Jumpy:
        """A clock whose first readings lie far apart."""

        def __init__(self) -> None:
            self.at = 0
            self.step = 10_000

        def now_ns(self) -> int:
            self.at += self.step
            self.step = max(10, self.step // 2)
            return self.at

        def wall_ns(self) -> int:
            return self.at + 5

        async def sleep_until_ns(self, due_ns: int) -> None:
            raise AssertionError(due_ns)

    anchor = Anchor.take(Jumpy())
    assert anchor.uncertainty_ns == 10
    assert anchor.to_monotonic_ns(anchor.to_wall_ns(123)) == 123
