"""Passwords, kept only as Argon2id hashes."""

from __future__ import annotations

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError


class Passwords:
    """Hashes and checks passwords in threads, as many at a time as there is a point in."""

    def __init__(self, time_cost: int, memory_kib: int, at_once: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._threads = anyio.CapacityLimiter(at_once)
        # Checked against when there is no such user, so that the answer takes as long and tells nothing.
        self._nobody = self._hasher.hash("nobody's password")

    async def hash(self, password: str) -> str:
        """Return the hash to keep."""
        return await anyio.to_thread.run_sync(self._hasher.hash, password, limiter=self._threads)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Tell whether the password belongs to the hash; without a hash, say no in the same time."""
        right = await anyio.to_thread.run_sync(self._verify, kept or self._nobody, password, limiter=self._threads)
        return right and kept is not None

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False
