"""Test users that exist at the target: made through its own API, logged in, handed out once each."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from proofload.cases.addresses import Addresses
from proofload.cases.requirement import Missing, Requirement
from proofload.core.errors import TargetError, UnfitTargetError
from proofload.drive.engine import Engine
from proofload.drive.user import Answer, User
from proofload.plan.target import Target
from proofload.plan.workload import Sequence as Steps

_USERS_PER_SOURCE = 10
"""Signing up spends the allowance of the address that it comes from: a fresh address after so many users."""


def _log_in(target: Target) -> str | Missing:
    login = target.users.login if target.users is not None else None
    return login or Missing("the target declares no log-in (users.login)")


LOG_IN = Requirement("log-in of test users", "users.login", _log_in)
"""Finds the operation that logs a user in."""


@dataclass(frozen=True, slots=True)
class Account:
    """A logged-in test user."""

    name: str
    password: str = field(repr=False)
    token: str | None = field(repr=False)

    def identity(self) -> dict[str, Any]:
        """Return what a virtual user needs to act as this account: `${user.name}`, `${user.password}`, the token."""
        return {"name": self.name, "password": self.password, "token": self.token}


class Accounts:
    """Makes accounts on demand. Without a log-in in the target file, accounts are mere names without a token."""

    def __init__(self, target: Target, engine: Engine, sources: Addresses, reserve: int = 0) -> None:
        """`reserve` accounts are kept for when the service that signs users up is broken by a case."""
        self._target = target
        self._engine = engine
        self._sources = sources
        self._next = 1
        self._batch = 0
        self._lock = asyncio.Lock()
        self._reserve_size = reserve
        self._reserve: list[Account] = []
        self._spare: Account | None = None
        # Known to this process alone; a user that an earlier run made has another password, and gets a new number.
        self._run = secrets.token_hex(3)

    async def take(self, count: int) -> Sequence[Account]:
        """Return `count` logged-in accounts that nobody else was given. Raises TargetError where signing up fails.

        While a case has broken the very service that signs users up, they come from the reserve, as far as it goes.
        """
        async with self._lock:
            try:
                made = await self._several(count)
            except TargetError:
                if count > len(self._reserve):
                    raise
                return [self._reserve.pop() for _ in range(count)]
            await self._refill()
            return made

    async def spare(self) -> Account:
        """Return the one account for calls that belong to no case, such as those that bring a service back."""
        if self._spare is None:
            (self._spare,) = await self.take(1)
        return self._spare

    async def _refill(self) -> None:
        with contextlib.suppress(TargetError):
            self._reserve += await self._several(self._reserve_size - len(self._reserve))

    async def _several(self, count: int) -> list[Account]:
        made: list[Account] = []
        while len(made) < count:
            made += await self._make(min(_USERS_PER_SOURCE, count - len(made)))
        return made

    async def _make(self, count: int) -> list[Account]:
        users = self._target.users
        first, self._next = self._next, self._next + count
        self._batch += 1
        accounts: list[Account] = []
        refused: list[UnfitTargetError] = []
        prefix = users.prefix if users else "load_test_user_"
        names = [f"{prefix}{self._run}_{number}" for number in range(first, first + count)]

        async def sign_up(user: User) -> None:
            # One by one, so that those made before a failure are counted.
            for name in names:
                try:
                    accounts.append(await self._sign_up(user, name))
                except UnfitTargetError as error:
                    # The engine keeps the text of what ends a script, and not its kind.
                    refused.append(error)
                    return

        if users is None or users.login is None:
            return [Account(name, "", None) for name in names]
        source = self._sources.fresh()
        workload = f"setup/{self._batch}"
        await self._engine.run(Steps(name=workload, run=sign_up, n=1, sources=(source,) if source else ()))
        if refused:
            raise refused[0]
        if len(accounts) < count:
            problems = [error.text for error in self._engine.delivery().user_errors if error.workload == workload]
            raise TargetError("; ".join(problems) or f"no test user could be made at {self._target.address}")
        return accounts

    async def _sign_up(self, user: User, name: str) -> Account:
        users = self._target.users
        assert users is not None
        assert users.login is not None
        password = secrets.token_urlsafe(12) + "aA1!"
        user.state.update({"user.name": name, "user.password": password})
        if users.register_ is not None:
            answer = await user.request(users.register_, keep_body=True)
            if not answer.ok:
                raise _refusal("register", users.register_, name, answer)
        answer = await user.request(users.login, keep_body=True)
        token = users.token_of(answer.json()) if answer.ok else None
        if token is None:
            raise _refusal("log in", users.login, name, answer)
        return Account(name, password, token)


def _refusal(what: str, operation: str, name: str, answer: Answer) -> TargetError:
    got = f"status {answer.status}" if answer.status else f"no answer ({answer.fault.name.lower().replace('_', ' ')})"
    kind = UnfitTargetError if answer.status else TargetError
    return kind(
        f"operations.{operation}: could not {what} test user {name}: got {got}, expected a success; "
        "is the target up, and does the operation fit it? See proofload check-target"
    )
