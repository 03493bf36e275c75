"""Starts the reference system as processes of its own, and sees that nothing of it is left behind."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofload.core.errors import ToolError

_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 15.0
_PR_SET_PDEATHSIG = 1
_TOLD_LINES = 15


@dataclass(frozen=True, slots=True)
class Ready:
    """What the reference system says of itself once everything is healthy."""

    gateway: str
    services: Mapping[str, str]
    redis: str
    control: str
    logs: str
    audit: tuple[str, ...]


class ReferenceSystem:
    """A running reference system: `with ReferenceSystem.start(...) as system: system.ready.gateway`."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Ready) -> None:
        self._process = process
        self.ready = ready

    @classmethod
    def start(
        cls, folder: Path, *, defects: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ) -> ReferenceSystem:
        """Start it with its files under `folder` and return once it is healthy.

        `settings` are environment variables of the system, such as GATEWAY_RATE_WINDOW.
        Raises ToolError with what the system said where it does not become healthy.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ready_file, log_file = folder / "ready.json", folder / "supervisor.log"
        ready_file.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "proofload.demo.ordersystem",
            "up",
            "--ready-file",
            str(ready_file),
            "--dir",
            str(folder),
        ]
        for defect in defects:
            command += ["--defect", defect]
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(settings or {})},
                # Its own group, so that Ctrl-C reaches us alone and we end it in order; and it dies with us.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 -- no other thread is running yet
            )
        try:
            return cls(process, _wait_until_ready(process, ready_file, log_file))
        except BaseException:
            _stop(process)
            raise

    def environ(self, window: str) -> dict[str, str]:
        """Return what the preset `ordersystem` asks for by `${env:NAME}`; `window` is in seconds."""
        return {
            "ORDERSYSTEM_GATEWAY": self.ready.gateway,
            "ORDERSYSTEM_RATE_WINDOW": f"{window}s",
            "ORDERSYSTEM_BREAKER_OPEN": f"{window}s",
            "ORDERSYSTEM_CONTROL": self.ready.control,
            "ORDERSYSTEM_REDIS": "tcp://" + self.ready.redis.removeprefix("redis://").split("/")[0],
            "ORDERSYSTEM_AUDIT": str(Path(self.ready.audit[0]).parent),
            **{f"ORDERSYSTEM_{name.upper()}": url for name, url in self.ready.services.items()},
        }

    def stop(self) -> None:
        """End the system and wait until it is gone."""
        _stop(self._process)

    def __enter__(self) -> ReferenceSystem:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log_file: Path) -> Ready:
    deadline = time.monotonic() + _START_DEADLINE_S
    while not ready_file.exists():
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise ToolError(
                    f"the reference system is not healthy after {_START_DEADLINE_S:.0f} s; its log is {log_file}"
                ) from None
        else:
            told = log_file.read_text(errors="replace").strip().splitlines()[-_TOLD_LINES:]
            raise ToolError(
                f"the reference system ended with status {process.returncode} instead of becoming healthy:\n"
                + "\n".join(f"  {line}" for line in told)
            )
    content: dict[str, Any] = json.loads(ready_file.read_bytes())
    return Ready(
        gateway=content["gateway"],
        services=content["services"],
        redis=content["redis"],
        control=content["control"],
        logs=content["logs"],
        audit=tuple(content["audit"]),
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=_STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
