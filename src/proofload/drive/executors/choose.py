"""Which runner runs which kind of workload."""

from __future__ import annotations

from proofload.core.errors import ToolError
from proofload.drive.executors.arrival_rate import OpenRunner
from proofload.drive.executors.base import Runner
from proofload.drive.executors.host import ExecutorHost
from proofload.drive.executors.virtual_users import (
    BurstRunner,
    ConstantUsersRunner,
    IterationsRunner,
    RampingUsersRunner,
)
from proofload.plan import workload as plan

_KINDS: dict[type[plan.Workload], type[Runner]] = {
    plan.ConstantUsers: ConstantUsersRunner,
    plan.RampingUsers: RampingUsersRunner,
    plan.SharedIterations: IterationsRunner,
    plan.PerUserIterations: IterationsRunner,
    plan.Sequence: IterationsRunner,
    plan.ConstantRate: OpenRunner,
    plan.RampingRate: OpenRunner,
    plan.PoissonArrivals: OpenRunner,
    plan.Burst: BurstRunner,
}


def runner_for(host: ExecutorHost, workload: plan.AnyWorkload, number: int, first_user: int) -> Runner:
    """Return the runner of a workload's kind."""
    kind = _KINDS.get(type(workload))
    if kind is None:
        raise ToolError(f"workload {workload.name}: no runner for {type(workload).__name__}")
    return kind(host, workload, number, first_user)
