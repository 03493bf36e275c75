"""The workloads that cases send most often, named as steps of a case."""

from __future__ import annotations

from collections.abc import Sequence

from proofload.cases.accounts import Account
from proofload.drive.user import User
from proofload.plan.workload import Burst, PerUserIterations, Script
from proofload.plan.workload import Sequence as Steps

_MOST_CONNECTIONS = 500


class Workloads:
    """Makes workloads whose names are steps of one case."""

    def __init__(self, case_id: str) -> None:
        self._case_id = case_id

    def step(self, name: str) -> str:
        """Return the name of a workload of this case."""
        return f"{self._case_id}/{name}"

    def steps(
        self,
        name: str,
        run: str | Script,
        n: int = 1,
        *,
        account: Account | None = None,
        source: str | None = None,
        fresh_connections: bool = False,
        tag: str = "",
    ) -> Steps:
        """Return `n` requests (or runs of a script) one after the other, by one client."""
        return Steps(
            name=self.step(name),
            run=run,
            n=n,
            sources=(source,) if source else (),
            identities=(account.identity(),) if account else (),
            fresh_connections=fresh_connections,
            tag=tag,
        )

    def crowd(
        self,
        name: str,
        run: str | Script,
        users: int,
        iterations: int,
        *,
        accounts: Sequence[Account] = (),
        sources: Sequence[str] = (),
    ) -> PerUserIterations:
        """Return `users` clients side by side, each with its own address and account, that send `iterations` each."""
        return PerUserIterations(
            name=self.step(name),
            run=run,
            users=users,
            iterations=iterations,
            sources=tuple(sources),
            identities=tuple(account.identity() for account in accounts),
        )

    def burst(
        self, name: str, run: str | Script, n: int, *, account: Account | None = None, source: str | None = None
    ) -> Burst:
        """Return `n` requests released at one instant by as many connections of one client, 500 at the most."""
        return Burst(
            name=self.step(name),
            run=run,
            n=n,
            connections=min(n, _MOST_CONNECTIONS),
            sources=(source,) if source else (),
            identities=(account.identity(),) if account else (),
        )


def once(operation: str) -> Script:
    """Return a script that sends one request and keeps what is answered."""

    async def script(user: User) -> None:
        await user.request(operation, keep_body=True)

    return script
