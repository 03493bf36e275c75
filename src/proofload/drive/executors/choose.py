"""Which runner runs which kind of workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofload.core.errors import ToolError
from proofload.drive.executors.arrival_rate import OpenRunner
from proofload.drive.executors.base import Runner
from proofload.drive.executors.virtual_users import (
    BurstRunner,
    ConstantUsersRunner,
    IterationsRunner,
    RampingUsersRunner,
)
from proofload.plan import workload as plan

if TYPE_CHECKING:
    from proofload.drive.engine import Engine

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


def runner_for(engine: Engine, workload: plan.AnyWorkload, number: int, first_user: int) -> Runner:
    """Return the runner of a workload's kind."""
    kind = _KINDS.get(type(workload))
    if kind is None:
        raise ToolError(f"workload {workload.name}: no runner for {type(workload).__name__}")
    return kind(engine, workload, number, first_user)
