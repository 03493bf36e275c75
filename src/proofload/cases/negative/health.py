"""TC-NEG-009: health stays answerable to a client that is being limited."""

from __future__ import annotations

import numpy as np

from proofload.cases.context import Lab
from proofload.cases.evidence_rows import delivered, rows_of, tags_of
from proofload.cases.negative.limits import limit_of, scene_of
from proofload.cases.negative.limits import missing as missing_limit
from proofload.cases.short_window import in_time
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_exempt
from proofload.judge.verdict import Finding, held
from proofload.plan.target import Target

_EACH = 10
_STILL = 3
_EXEMPT, _AFTER = "exempt", "after"


def exempt_paths(target: Target) -> list[str]:
    """Return the paths that are declared as never limited and can be asked for as they stand."""
    return [path for path in limit_of(target).exempt if "*" not in path]


def missing(target: Target) -> str:
    """Return why this case can't be run on this target, or nothing."""
    if reason := missing_limit(target):
        return reason
    return "" if exempt_paths(target) else "the target declares no exempt path (policies.rate_limit.exempt)"


async def drive_limited(lab: Lab) -> None:
    """Use up the allowance, ask for every exempt path many times, and see that the client is limited still."""
    policy = limit_of(lab.target)
    (account,) = await lab.accounts(1)
    source = lab.source()
    paths = exempt_paths(lab.target)

    async def script(user: User) -> None:
        # All in one go: between two steps others may send, and the window may end.
        for _ in range(policy.limit + _STILL):
            await user.request(policy.probe)
        user.tag = _EXEMPT
        for _ in range(_EACH):
            for path in paths:
                await user.get(path)
        user.tag = _AFTER
        for _ in range(_STILL):
            await user.request(policy.probe)

    lab.doing("using up the limit, then asking for health")
    async with in_time(lab, policy):
        await lab.run(lab.steps("limited", script, account=account, source=source))


def judge_limited(evidence: Evidence) -> list[Finding]:
    """TC-NEG-009: no exempt path was limited while everything else of that client was."""
    scene = scene_of(evidence)
    rows = rows_of(evidence, "limited")
    tags = tags_of(evidence, rows)
    rejected = evidence.history.numbers("status")[rows] == scene.policy.status
    limited = [int(np.count_nonzero(rejected[tags == tag])) for tag in ("", _AFTER)]
    says = f"the client was rejected {limited[0]} times before and {limited[1]} times after it asked for exempt paths"
    needed = _EACH * len(exempt_paths(evidence.target))
    findings = [
        *judge_exempt(scene, rows[tags == _EXEMPT], needed=needed),
        held("rl.limited_meanwhile", says, examined=min(limited)),
    ]
    return delivered(evidence, findings)
