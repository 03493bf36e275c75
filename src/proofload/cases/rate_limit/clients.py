"""Who spends: clients that have an allowance of their own, under whatever scope the limit has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proofload.cases.accounts import Account
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import ACCOUNTS
from proofload.cases.isolation import share_an_allowance
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import AnyWorkload


@dataclass(frozen=True, slots=True)
class Client:
    """One who is limited: a user at an address."""

    account: Account
    source: str | None


def can_be_told_apart(target: Target, policy: RateLimitPolicy) -> bool:
    """Return whether two clients of ours have two allowances: by address, or by user."""
    if policy.scope == "user":
        return target.users is not None and target.users.login is not None
    return not share_an_allowance(target, policy)


def why_not_apart(target: Target, policy: RateLimitPolicy) -> str:
    """Return why clients of ours have no allowance each; empty where they have."""
    if can_be_told_apart(target, policy):
        return ""
    if policy.scope == "global":
        return "the limit has one allowance for all clients (scope: global), so none has its own"
    if policy.scope == "user":
        return "the limit is per user, and the target declares no log-in (users.login)"
    return "this machine has one address only, so clients can't be told apart (sources)"


def own_allowances(limit: Requirement[RateLimitPolicy]) -> Requirement[RateLimitPolicy]:
    """Return the requirement of a limit under which each of our clients has its own allowance."""

    def find(target: Target) -> RateLimitPolicy | Missing:
        found = limit.find(target)
        if isinstance(found, Missing):
            return found
        reason = why_not_apart(target, found)
        return Missing(reason) if reason else found

    declare = f"{limit.declare}, sources, or a target on loopback"
    return Requirement(f"{limit.name}; several clients with an allowance each", declare, find)


async def clients_of(run: CaseContext, policy: RateLimitPolicy, names: Sequence[str]) -> dict[str, Client]:
    """Return a client with an untouched allowance for each name; where they can't be told apart all are one client."""
    if not can_be_told_apart(run.target, policy):
        (account,) = await run.accounts(1)
        await _let_it_come_back(run, policy)
        return dict.fromkeys(names, Client(account, run.source()))
    accounts = await run.accounts(len(names) if policy.scope == "user" else 1)
    return {name: Client(accounts[i % len(accounts)], run.source()) for i, name in enumerate(names)}


async def _let_it_come_back(run: CaseContext, policy: RateLimitPolicy) -> None:
    """Wait for the one allowance: signing up, and whatever came before this case, may have spent of it."""
    due_ns = run.clock.now_ns() + policy.window + NS_PER_SECOND
    await run.wait_until_ns(due_ns, f"the allowance of {policy.name}, which all clients share, to be whole")


async def send(run: CaseContext, *workloads: AnyWorkload) -> None:
    """Drive workloads side by side to their end, and note for which accounts each of them sent."""
    note_accounts(run, workloads)
    await run.run(*workloads)


def note_accounts(run: CaseContext, workloads: Iterable[AnyWorkload]) -> None:
    """Note which accounts each workload sends for, so that a user's limit can be judged."""
    told = run.facts.setdefault(ACCOUNTS, {})
    told.update({one.name: [str(each.get("name", "")) for each in one.identities] for one in workloads})
