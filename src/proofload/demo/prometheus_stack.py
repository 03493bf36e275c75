"""Starts a real Prometheus and a real Pushgateway as child processes, for the demo and for tests."""

from __future__ import annotations

import ctypes
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from proofload.core.errors import ToolError

_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 10.0
_PR_SET_PDEATHSIG = 1
PROGRAMS = ("prometheus", "prometheus-pushgateway")


def not_installed() -> tuple[str, ...]:
    """Return the programs of the stack that are not on PATH."""
    return tuple(name for name in PROGRAMS if shutil.which(name) is None)


class Server:
    """One server of the stack: a child process that dies with us."""

    def __init__(self, name: str, command: Sequence[str], url: str, folder: Path) -> None:
        self.name = name
        self.url = url
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 -- does nothing but one system call
            )

    def wait_until_ready(self) -> None:
        """Return once it answers; raises ToolError where it does not."""
        deadline = time.monotonic() + _START_DEADLINE_S
        while not _is_ready(f"{self.url}/-/ready"):
            try:
                status = self._process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    self.stop()
                    raise ToolError(f"{self.name} is not ready after {_START_DEADLINE_S:.0f} s") from None
            else:
                told = self.log.read_text(errors="replace").strip().splitlines()[-5:]
                raise ToolError(f"{self.name} ended with status {status}:\n" + "\n".join(told))

    def stop(self) -> None:
        """End it and wait until it is gone."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stack:
    """Prometheus and Pushgateway, running: `with Stack.start(folder, {"gateway": url}) as stack: ...`."""

    def __init__(self, prometheus: Server, pushgateway: Server) -> None:
        self.prometheus = prometheus
        self.pushgateway = pushgateway

    @classmethod
    def start(cls, folder: Path, scrape: Mapping[str, str], *, every: str = "1s") -> Stack:
        """Start both with their data under `folder`; Prometheus scrapes the addresses, by job, and the Pushgateway.

        Raises ToolError where a program is not installed, or does not become ready.
        """
        missing = not_installed()
        if missing:
            raise ToolError(f"not installed: {', '.join(missing)}; on Debian, apt-get install {' '.join(missing)}")
        folder.mkdir(parents=True, exist_ok=True)
        pushgateway = start_pushgateway(folder)
        try:
            pushgateway.wait_until_ready()
            prometheus = start_prometheus(folder, {**scrape, "pushgateway": pushgateway.url}, every=every)
        except BaseException:
            pushgateway.stop()
            raise
        try:
            prometheus.wait_until_ready()
        except BaseException:
            prometheus.stop()
            pushgateway.stop()
            raise
        return cls(prometheus, pushgateway)

    def stop(self) -> None:
        """End both."""
        self.prometheus.stop()
        self.pushgateway.stop()

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_pushgateway(folder: Path, port: int = 0) -> Server:
    """Start a Pushgateway; it is not ready yet."""
    address = f"127.0.0.1:{port or _free_port()}"
    command = ["prometheus-pushgateway", f"--web.listen-address={address}", "--log.level=warn"]
    return Server("prometheus-pushgateway", command, f"http://{address}", folder)


def start_prometheus(folder: Path, scrape: Mapping[str, str], *, every: str = "1s", port: int = 0) -> Server:
    """Start a Prometheus that scrapes these addresses, by job; it is not ready yet."""
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(scrape_config(scrape, every)), encoding="utf-8")
    address = f"127.0.0.1:{port or _free_port()}"
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
        "--web.enable-remote-write-receiver",
        "--log.level=warn",
    ]
    return Server("prometheus", command, f"http://{address}", folder)


def scrape_config(scrape: Mapping[str, str], every: str) -> dict[str, object]:
    """Return a configuration of Prometheus that scrapes these addresses, by job."""
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [urlsplit(url).netloc]}],
                # What a run pushed keeps the labels that the run gave it.
                **({"honor_labels": True} if job == "pushgateway" else {}),
            }
            for job, url in scrape.items()
        ],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(url: str) -> bool:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
