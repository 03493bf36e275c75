"""From a fault as a target file declares it to the driver that carries it out."""

from __future__ import annotations

from typing import assert_never

from proofload.drive.faults.command import CommandDriver
from proofload.drive.faults.driver import Driver
from proofload.drive.faults.supervised import SupervisedDriver
from proofload.plan.target import CommandFault, FaultDeclared, SupervisedFault


def driver_of(declared: FaultDeclared) -> Driver:
    """Return the driver for a declared fault. Nothing is touched before it is asked to apply one."""
    match declared:
        case CommandFault():
            return CommandDriver(declared.stop, declared.start)
        case SupervisedFault():
            return SupervisedDriver(declared.control, declared.service)
        case _:
            assert_never(declared)
