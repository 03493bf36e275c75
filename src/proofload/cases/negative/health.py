"""TC-NEG-009: health stays answerable to a client that is being limited."""

from __future__ import annotations

import numpy as np

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import its_probe, limit_context
from proofload.cases.evidence_rows import delivered, rows_of, tags_of
from proofload.cases.negative.limits import FRESH_CLIENTS
from proofload.cases.rate_limit.clients import clients_of, send
from proofload.cases.rate_limit.spending import exhaust
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.short_window import in_time
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_exempt
from proofload.judge.verdict import Finding, held
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target

_EACH = 10
_STILL = 3
_EXEMPT, _AFTER = "exempt", "after"


def exempt_paths(limit: RateLimitPolicy) -> list[str]:
    """Return the paths that are declared as never limited and can be asked for as they are written."""
    return [path for path in limit.exempt if "*" not in path]


def _with_exempt_path(target: Target) -> RateLimitPolicy | Missing:
    limit = FRESH_CLIENTS.find(target)
    if isinstance(limit, Missing) or exempt_paths(limit):
        return limit
    return Missing("the target declares no exempt path (policies.rate_limit.exempt)")


EXEMPT_PATH = Requirement(
    "rate limit with an exempt path; several client addresses", "policies.rate_limit.exempt", _with_exempt_path
)


@case(
    "TC-NEG-009",
    "Health stays answerable under a limit",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=2,
    requires=EXEMPT_PATH,
    uses=its_probe,
    takes=2 * NS_PER_SECOND,
    spends=True,
)
async def limited(run: CaseContext, policy: RateLimitPolicy) -> None:
    """Whoever watches the target's health is never told that it asks too often.

    Sends: the limit and a few more from one address; then every exempt path ten times from it, and a few more
        of the limited requests
    Passes when: no exempt path was limited, though everything else of that client was, before and after
    Reading FAIL: the finding shows the exempt path that was answered with the limiter's rejection
    Least evidence: ten requests of each exempt path by a client that was being limited
    """
    (client,) = (await clients_of(run, policy, ["limited"])).values()
    paths = exempt_paths(policy)

    spend = exhaust(policy, _STILL)

    async def script(user: User) -> None:
        # All in one go: between two steps others may send, and the window may end.
        await spend(user)
        user.tag = _EXEMPT
        for _ in range(_EACH):
            for path in paths:
                await user.get(path)
        user.tag = _AFTER
        for _ in range(_STILL):
            await user.request(policy.probe)

    run.doing("using up the limit, then asking for health")
    async with in_time(run, policy):
        await send(run, run.steps("limited", script, account=client.account, source=client.source))


@limited.judge
def judge_limited(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-NEG-009: no exempt path was limited while everything else of that client was."""
    context = limit_context(evidence, policy)
    rows = rows_of(evidence, "limited")
    tags = tags_of(evidence, rows)
    rejected = evidence.history.numbers("status")[rows] == context.policy.status
    refused = [int(np.count_nonzero(rejected[tags == tag])) for tag in ("", _AFTER)]
    says = f"the client was rejected {refused[0]} times before and {refused[1]} times after it asked for exempt paths"
    needed = _EACH * len(exempt_paths(policy))
    findings = [
        *judge_exempt(context, rows[tags == _EXEMPT], needed=needed),
        held("rl.limited_meanwhile", says, examined=min(refused)),
    ]
    return delivered(evidence, findings)
