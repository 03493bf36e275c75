"""What a generator elsewhere sends home while it runs: rows that are whole, the older ones first."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proofload.drive.distributed import generator
from proofload.drive.distributed.clock_sync import Shipment, Shipping
from proofload.drive.rows import END, END_AT, PLAN, PLANNED, Rows
from proofload.drive.stats import Stats
from proofload.record.exchange import Ending, Fault


class Wire:
    """Rows made in two steps, as the engine makes them: numbered first, written a moment later."""

    def __init__(self, folder: Path) -> None:
        self.rows = Rows((), "id-", folder, 0)
        self.rows.workloads.number("w")
        self.rows.operations.number("read")
        self.rows.new_chunk()

    def number(self) -> int:
        self.rows.made += 1
        return self.rows.made - 1

    def write(self, row: int) -> None:
        PLAN.pack_into(self.rows.chunk, row * 64, row, row, 0, 0, 10, 0, 0, 0, 0, PLANNED)

    def end(self, row: int) -> None:
        END.pack_into(self.rows.chunk, row * 64 + END_AT, Ending.ANSWERED + 1, Fault.NONE, 200, 5, row, row)


class Home:
    """The parent's end of the pipe: puts rows where they belong; `gate` holds up whoever sends the first of them."""

    def __init__(self, folder: Path) -> None:
        self.shipment = Shipment(folder)
        self.gate = threading.Event()
        self.sending = threading.Event()
        self.came: list[str] = []

    def send(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "rows":
            if not self.came:
                self.sending.set()
                assert self.gate.wait(20)
            self.came.append(rest[0])
            self.shipment.take(*rest)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    return here, there


def telling(home: Home, wire: Wire, shipping: Shipping) -> generator._Generator:
    made: Any = generator._Generator
    one: generator._Generator = made(home, None)
    engine: Any = SimpleNamespace(standing=lambda: None, rows=wire.rows)
    one._engine = engine
    one._shipping = shipping
    return one


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 -- threads set it, which no event of the loop hears of
            await asyncio.sleep(0)


def counted(folder: Path) -> tuple[Rows, Stats]:
    """Return what a parent makes of the rows of a generator that died without a last word."""
    side = {"workloads": ["w"], "operations": ["read"], "sources": [""], "tags": [""], "made": -1}
    rows, stats = Rows.adopt((), "id-", folder, side), Stats()
    for table in rows.tables():
        stats.add_rows(table)
    return rows, stats


def test_rows_are_read_on_the_loop_that_writes_them_so_none_is_met_half_made(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = folders
    monkeypatch.setattr(generator, "_TELL_EVERY_S", 0)
    wire, home = Wire(there), Home(here)
    home.gate.set()
    readers: list[int] = []

    class Watched(Shipping):
        def parts(self, *, notes: bool = False) -> Iterator[tuple[str, Any, bytes]]:
            readers.append(threading.get_ident())
            # What any other thread may meet at this instant: a row that is numbered and not yet written.
            between = readers[-1] != threading.main_thread().ident
            row = wire.number() if between else None
            yield from super().parts(notes=notes)
            if row is not None:
                wire.write(row)

    async def run() -> None:
        wire.write(wire.number())
        one = telling(home, wire, Watched(wire.rows, there))
        task = asyncio.create_task(one._tell())
        await until(lambda: len(home.came) == 1)
        wire.write(wire.number())
        await until(lambda: len(home.came) == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    wire.rows.close()
    rows, stats = counted(here)
    assert rows.made == 2
    assert stats.total(Ending.UNKNOWN) == 2
    assert stats.by_fault() == {"STOPPED": 2}
    assert set(readers) == {threading.main_thread().ident}


def test_the_last_parts_wait_for_those_that_are_still_under_way(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = folders
    monkeypatch.setattr(generator, "_TELL_EVERY_S", 0)
    wire, home = Wire(there), Home(here)

    async def run() -> None:
        wire.write(wire.number())
        one = telling(home, wire, Shipping(wire.rows, there))
        task = asyncio.create_task(one._tell())
        await until(home.sending.is_set)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        wire.end(0)
        last = asyncio.create_task(one._ship_the_rest())
        await asyncio.sleep(0)
        assert home.came == []
        home.gate.set()
        await last

    asyncio.run(run())
    wire.rows.close()
    assert home.came == ["new", "ended"]
    _, stats = counted(here)
    assert stats.total(Ending.ANSWERED) == 1
