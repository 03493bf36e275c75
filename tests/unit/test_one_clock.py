"""Only core/clock.py reads a clock and only core/seeds.py makes generators of random numbers, outside demo/."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator

import pytest
from tests.unit.sources import modules

CLOCKS = {
    "time": {"time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime"}
    | {"gmtime", "localtime", "ctime", "asctime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
RANDOM = {
    "random": {name for name in dir(random) if name[0] != "_"},
    "np.random": {"*"},
    "numpy.random": {"*"},
}
ANNOTATIONS = {"random.Random", "np.random.Generator"}


def uses(tree: ast.Module, forbidden: dict[str, set[str]]) -> Iterator[str]:
    """Yield each use of a forbidden function, as `module.name`, whether called or handed on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            yield from named(owner.removeprefix("datetime.") if "datetime" in owner else owner, node.attr, forbidden)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield from named(node.module or "", alias.name, forbidden)
        # A loop's own clock.
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("loop().time") and "time" in forbidden:
            yield "loop.time"


def named(owner: str, name: str, forbidden: dict[str, set[str]]) -> Iterator[str]:
    names = forbidden.get(owner, set())
    bare = name.removesuffix("_ns")
    if (bare in names or "*" in names) and f"{owner}.{name}" not in ANNOTATIONS:
        yield f"{owner}.{name}"


def found(forbidden: dict[str, set[str]], but: str) -> dict[str, list[str]]:
    ours = {name: tree for name, tree in modules().items() if not name.startswith("proofload.demo")}
    return {name: told for name, tree in ours.items() if name != but and (told := [*uses(tree, forbidden)])}


def test_only_the_clock_reads_a_clock() -> None:
    assert found(CLOCKS, "proofload.core.clock") == {}


def test_only_seeds_makes_random_numbers() -> None:
    assert found(RANDOM, "proofload.core.seeds") == {}


@pytest.mark.parametrize(
    "source",
    [
        "import time\nx = time.time()",
        "import time\nf(time.perf_counter_ns)",
        "from time import monotonic",
        "from datetime import datetime, UTC\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.now()",
        "import datetime\ndatetime.date.today()",
        "import asyncio\nasyncio.get_running_loop().time()",
    ],
)
def test_a_reading_is_found_however_it_is_written(source: str) -> None:
    assert [*uses(ast.parse(source), CLOCKS)]


def test_what_reads_no_clock_is_left_alone() -> None:
    source = "import time, random\ntime.sleep(1)\ndatetime.fromtimestamp(0)\nentry.time\ndef f(r: random.Random): ..."
    assert [*uses(ast.parse(source), CLOCKS | RANDOM)] == []


def test_a_random_number_is_found() -> None:
    assert [*uses(ast.parse("import random\nrandom.choice(x)"), RANDOM)] == ["random.choice"]
