"""A runner that holds a fault until it is killed: `runner.py JOURNAL DURATION_S DRIVER ARGUMENTS_AS_JSON KIND URL`."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from proofload.core.clock import SystemClock
from proofload.faults.command import CommandDriver
from proofload.faults.driver import Driver
from proofload.faults.journal import Journal
from proofload.faults.lease import lease
from proofload.faults.probes import answers, held_by
from proofload.faults.supervised import SupervisedDriver

DRIVERS = {"command": CommandDriver, "supervised": SupervisedDriver}


async def main(journal: str, duration_s: str, driver_name: str, arguments: str, kind: str, url: str) -> None:
    driver: Driver = DRIVERS[driver_name](**json.loads(arguments))
    async with lease(
        driver,
        kind,
        fault=kind,
        service="order",
        clock=SystemClock(),
        journal=Journal(Path(journal)),
        duration_ns=int(float(duration_s) * 1e9),
        held=held_by(kind, url),
        mended=answers(url),
    ) as held:
        child = os.fork() if "WITH_CHILD" in os.environ else None
        if child == 0:
            signal.alarm(60)
            signal.pause()  # keeps every descriptor of the runner open when that is gone
        print("held" if held.proven else "not proven", child or "", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
