"""The door to Redis: scripts that run atomically, and one error for every way of not reaching it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from ordersystem.common.errors import StoreDownError


class Script:
    """A Lua script; Redis runs each as one step that nothing comes between."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Store(Protocol):
    """What the services ask of Redis."""

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Return what the script answers. Raise StoreDownError when Redis can't be asked."""

    async def command(self, *parts: str | int) -> Any:
        """Return what one command answers. Raise StoreDownError when Redis can't be asked."""

    async def close(self) -> None:
        """Let go of all connections."""


class RedisStore:
    """A store on a Redis server. All keys carry the prefix of this system, so a server may be shared."""

    def __init__(self, url: str, prefix: str, timeout_s: float = 0.5, connections: int = 32) -> None:
        self._prefix = prefix
        # Retries inside the client would run a script twice after a timeout: one count too many.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis(connection_pool=pool)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run the script on prefixed keys, sending its text only when the server does not know it."""
        named = [self._prefix + key for key in keys]
        try:
            try:
                return await self._redis.evalsha(script.sha, len(named), *named, *args)
            except NoScriptError:
                return await self._redis.eval(script.source, len(named), *named, *args)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreDownError(str(error)) from error

    async def command(self, *parts: str | int) -> Any:
        """Run one command whose second part is a key."""
        name, key, *rest = parts
        try:
            return await self._redis.execute_command(name, f"{self._prefix}{key}", *rest)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreDownError(str(error)) from error

    async def close(self) -> None:
        """Close the pool."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()
