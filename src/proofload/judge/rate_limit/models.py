"""From a declared policy to the model that it promises, and the way to hold attempts against it."""

from __future__ import annotations

from proofload.judge.models.attempts import Attempts, Examined, Told
from proofload.judge.models.fixed_window import FixedWindow, examine_first_request, tell_first_request
from proofload.judge.rate_limit.trace import Scene


def can_judge(scene: Scene) -> str:
    """Return why the policy can't be judged in this scene; empty where it can."""
    policy = scene.policy
    if policy.algorithm != "fixed_window" or policy.alignment == "clock":
        return f"no model of {policy.algorithm} aligned to {policy.alignment} yet"
    return ""


def examine(scene: Scene, attempts: Attempts) -> Examined:
    """Return one key's attempts held against the promised model."""
    model = FixedWindow(scene.policy.limit, scene.policy.window)
    return examine_first_request(model, attempts, scene.allowance)


def tell(scene: Scene, attempts: Attempts) -> Told:
    """Return what an honest limiter's headers can have said on each attempt."""
    model = FixedWindow(scene.policy.limit, scene.policy.window)
    return tell_first_request(model, attempts, scene.allowance)
