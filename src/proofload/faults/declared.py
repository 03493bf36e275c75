"""From a fault as a target file declares it to the driver that carries it out."""

from __future__ import annotations

from typing import assert_never

from proofload.faults.command import CommandDriver
from proofload.faults.docker import DockerDriver
from proofload.faults.driver import Driver
from proofload.faults.kubernetes import KubernetesDriver
from proofload.faults.proxy import ProxyDriver
from proofload.faults.supervised import SupervisedDriver
from proofload.faults.toxiproxy import ToxiproxyDriver
from proofload.plan import faults as plan


def driver_of(declared: plan.FaultDeclared) -> Driver:
    """Return the driver for a declared fault. Nothing is touched before it is asked to apply one."""
    match declared:
        case plan.CommandFault():
            return CommandDriver(declared.stop, declared.start)
        case plan.SupervisedFault():
            return SupervisedDriver(declared.control, declared.service)
        case plan.ProxyFault():
            return ProxyDriver(
                declared.control,
                status=declared.status,
                times=declared.times,
                delay_ns=declared.delay,
                path=declared.path,
            )
        case plan.DockerFault():
            return DockerDriver(declared.container, declared.network, declared.client)
        case plan.KubernetesFault():
            return KubernetesDriver(declared.workload, declared.namespace, declared.client)
        case plan.ToxiproxyFault():
            return ToxiproxyDriver(declared.api, declared.proxy, declared.delay)
        case _:
            assert_never(declared)
