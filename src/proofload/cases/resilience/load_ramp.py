"""Finds what a target carries: an open load that climbs in steps until the answers no longer keep up with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from proofload.cases.accounts import Account
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import gateway_limit
from proofload.core.errors import TargetError
from proofload.core.units import NS_PER_SECOND
from proofload.judge.overload import Step, steps_of
from proofload.plan.policies import OverloadPolicy
from proofload.plan.target import Target
from proofload.plan.workload import ConstantRate
from proofload.record.history import History

BASELINE, BEYOND, AFTER, HEALTH = "baseline", "beyond", "after", "health"
RAMP = "ramp "
SLICE_NS = NS_PER_SECOND // 4
STEP_NS = 10 * SLICE_NS
BEYOND_NS = 18 * SLICE_NS
WATCHED_NS = 2 * NS_PER_SECOND
"""How long the target is watched once it has had its time to recover."""
HEALTH_PER_SECOND = 10
_FACTOR = 1.5
_WAIT_S = 0.35
"""How long an answer may take before its client is wanted again: clients enough are made for that."""
_MOST_CLIENTS = 1_000


@dataclass(slots=True)
class Load:
    """What a case offers of one operation: clients of their own addresses, accounts that take turns."""

    run: CaseContext
    policy: OverloadPolicy
    accounts: list[Account] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)
    """What was offered so far, for whoever judges it: name, how long, how many addresses it wanted and had."""

    async def hold(self, name: str, rate: int, for_ns: int, *beside: ConstantRate) -> Step:
        """Offer `rate` a second for a while, and return what came of it."""
        run = self.run
        await self.prepare(rate)
        run.doing(f"offering {rate} {self.policy.operation} a second")
        await run.run(self.arrivals(name, rate, for_ns), *beside)
        return step_of(self.policy, run.history(), run.step(name), for_ns)

    async def prepare(self, rate: int) -> None:
        """See to it that there are accounts enough for so many requests a second."""
        wanted = accounts_needed(self.run.target, self.policy, rate)
        while len(self.accounts) < wanted:
            # A few at a time: others who want accounts, or silence, come in between.
            try:
                self.accounts += await self.run.accounts(min(10, wanted - len(self.accounts)))
            except TargetError:
                # The load may just have killed what makes accounts: go on with those there are, and see.
                if not self.accounts:
                    raise
                return

    def arrivals(self, name: str, rate: int, for_ns: int, start_after_ns: int = 0) -> ConstantRate:
        """Return an open load of the operation, by clients that take turns."""
        run, many = self.run, math.ceil(rate * for_ns / NS_PER_SECOND)
        clients = min(_MOST_CLIENTS, max(math.ceil(rate * _WAIT_S), _polite(run.target, many)))
        most = max(clients, min(_MOST_CLIENTS, many))
        sources = run.target.sources or run.sources(most)
        self.held.append({"name": name, "for_ns": for_ns, "rate": rate, "wanted": clients, "had": len(sources)})
        return ConstantRate(
            name=run.step(name),
            run=self.policy.operation,
            rate=rate,
            for_ns=for_ns,
            start_after_ns=start_after_ns,
            sources=tuple(sources),
            identities=tuple(account.identity() for account in self.accounts),
            max_users=most,
            warm_users=clients,
        )

    def health(self, name: str, for_ns: int) -> ConstantRate:
        """Return a few health checks a second, each by whoever is free, so that a slow one holds up no other."""
        return ConstantRate(
            name=self.run.step(name),
            run=self.policy.health,
            rate=HEALTH_PER_SECOND,
            for_ns=for_ns,
            sources=tuple(self.run.target.sources or self.run.sources(1)),
            max_users=100,
            warm_users=1,
        )

    async def climb(self, rate: int) -> int:
        """Raise the load step by step above `rate`; return the first that did not come back good, or 0."""
        while rate < self.policy.most:
            rate = min(round(rate * _FACTOR), self.policy.most)
            if (await self.hold(f"{RAMP}{rate}", rate, STEP_NS)).carried is False:
                return rate
        return 0


def step_of(policy: OverloadPolicy, history: History, workload: str, for_ns: int) -> Step:
    """Return one load of a case, as offered and as answered. Raises IndexError where nothing of it was sent."""
    rows = history.of_workloads(workload)
    begun_ns = int(history.numbers("intended_ns")[rows].min()) if len(rows) else 0
    return steps_of(history, rows, (begun_ns, begun_ns + for_ns), SLICE_NS, marks_of(policy))[0]


def marks_of(policy: OverloadPolicy) -> tuple[bytes, ...]:
    """Return what tells an error by its body."""
    return tuple(mark.encode() for mark in policy.error_marks)


def accounts_needed(target: Target, policy: OverloadPolicy, rate: int) -> int:
    """Return how many accounts a load needs, so that none has two requests under way where one would be refused."""
    operation = target.operations[policy.operation]
    if operation.auth == "none" and "${user." not in str(operation.json_body):
        return 1
    locked = any(policy.operation == lock.operation for lock in target.policies.locks)
    return math.ceil(rate * _WAIT_S) if locked else 5


def _polite(target: Target, requests: int) -> int:
    """Return how many addresses so many requests need, so that each stays well below its limit."""
    policy = gateway_limit(target)
    if policy is None or policy.scope != "client_ip":
        return 1
    return math.ceil(requests / max(1, int(policy.allowance * 0.8)))
