"""The door to Redis: scripts that run atomically, and one error for every way of not reaching it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from proofload.demo.ordersystem.common.errors import StoreDownError
from proofload.demo.ordersystem.common.resp import RedisConnection, ReplyError


class Script:
    """A Lua script; Redis runs each as one step that nothing comes between."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Store(Protocol):
    """What the services ask of Redis."""

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Return what the script answers. Raise StoreDownError when Redis can't be asked."""

    async def command(self, name: str, key: str, *rest: str | int) -> Any:
        """Return what one command on a key answers. Raise StoreDownError when Redis can't be asked."""

    async def close(self) -> None:
        """Let go of all connections."""


class RedisStore:
    """A store on a Redis server. All keys carry the prefix of this system, so a server may be shared."""

    def __init__(self, url: str, prefix: str, timeout_s: float = 1.0) -> None:
        self._prefix = prefix
        self._redis = RedisConnection(url, timeout_s)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run the script on prefixed keys, sending its text only when the server does not know it."""
        named = [self._prefix + key for key in keys]
        try:
            return await self._redis.call("EVALSHA", script.sha, len(named), *named, *args)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise StoreDownError(str(error)) from error
        return await self.raw("EVAL", script.source, len(named), *named, *args)

    async def command(self, name: str, key: str, *rest: str | int) -> Any:
        """Run one command on a prefixed key."""
        return await self.raw(name, self._prefix + key, *rest)

    async def raw(self, *parts: str | int) -> Any:
        """Run one command as it stands."""
        try:
            return await self._redis.call(*parts)
        except ReplyError as error:
            raise StoreDownError(str(error)) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.close()
