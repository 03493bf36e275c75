"""Each client, pinned to the core that is not the server's, measured from outside in the same way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
WORKER = Path(__file__).with_name("_worker.py")

_K6 = """
import http from 'k6/http';
export const options = {{ discardResponseBodies: false, insecureSkipTLSVerify: true, noConnectionReuse: false }};
export default function () {{ http.get('{url}'); }}
"""
_K6_SLEEP = """
import {{ sleep }} from 'k6';
export default function () {{ sleep(60); }}
"""
_LOCUST = """
from locust import FastHttpUser, constant, task
class Shopper(FastHttpUser):
    wait_time = constant(0)
    @task
    def account(self):
        self.client.get("{path}")
"""


@dataclass(slots=True)
class Outcome:
    """What one run of a client came to. `cpu_us` is the CPU time of the whole process, by request."""

    per_second: float = 0.0
    cpu_us: float = 0.0
    peak_mb: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    error: str = ""


class Clients:
    """Runs clients against one server."""

    def __init__(self, folder: Path, core: int, connections: int) -> None:
        self.folder = folder
        self.core = core
        self.connections = connections

    def worker(self, kind: str, url: str, **arguments: Any) -> Outcome:
        text, outcome = self._run([sys.executable, str(WORKER), kind, url, json.dumps(arguments)])
        if outcome.error:
            return outcome
        outcome.extra = json.loads(text.strip().splitlines()[-1])
        outcome.per_second = outcome.extra.get("per_second", 0.0)
        outcome.cpu_us = outcome.extra.get("cpu_us") or _per(outcome.cpu_us, outcome.extra.get("requests", 0))
        return outcome

    def proofload(self, url: str, seconds: float, ca: Path | None = None) -> Outcome:
        arguments = {"seconds": seconds, "connections": self.connections, "ca": str(ca) if ca else None}
        return self.worker("closed", url, **arguments)

    def proofload_load(self, url: str, seconds: float) -> Outcome:
        report = self.folder / "load.json"
        command = [str(BIN / "proofload"), "load", url, "--users", str(self.connections), "--for", f"{seconds}s"]
        _, outcome = self._run([*command, "--report", str(report), "--quiet"])
        if not outcome.error:
            told = json.loads(report.read_text())
            outcome.per_second = told["delivery"]["workloads"][0]["achieved_per_second"]
            outcome.cpu_us = _per(outcome.cpu_us, told["requests"]["answered"])
        return outcome

    def aiohttp(self, url: str, seconds: float) -> Outcome:
        return self.worker("aiohttp", url, seconds=seconds, connections=self.connections)

    def wrk(self, url: str, seconds: float) -> Outcome:
        text, outcome = self._run(["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s", url])
        rate, many = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"(\d+) requests in", text)
        if rate and many:
            outcome.per_second = float(rate[1])
            outcome.cpu_us = _per(outcome.cpu_us, int(many[1]))
        return outcome

    def k6(self, url: str, seconds: float) -> Outcome:
        script, summary = self.folder / "k6.js", self.folder / "k6.json"
        script.write_text(_K6.format(url=url))
        command = [str(BIN / "k6"), "run", "--quiet", "--no-usage-report", "--vus", str(self.connections)]
        _, outcome = self._run([*command, "--duration", f"{seconds}s", "--summary-export", str(summary), str(script)])
        if not outcome.error:
            told = json.loads(summary.read_text())["metrics"]["http_reqs"]
            outcome.per_second = told["rate"]
            outcome.cpu_us = _per(outcome.cpu_us, told["count"])
        return outcome

    def k6_sleeping(self, users: int) -> Outcome:
        script = self.folder / "k6-sleep.js"
        script.write_text(_K6_SLEEP.format())
        command = [str(BIN / "k6"), "run", "--quiet", "--no-usage-report", "--vus", str(users)]
        _, outcome = self._run([*command, "--duration", "5s", str(script)], patience_s=60, stop_after_s=12)
        return outcome

    def locust(self, url: str, seconds: float) -> Outcome:
        host, _, path = url.partition("//")[2].partition("/")
        script = self.folder / "locustfile.py"
        script.write_text(_LOCUST.format(path=f"/{path}"))
        command = [str(BIN / "locust"), "-f", str(script), "--headless", "--host", f"http://{host}", "--json"]
        text, outcome = self._run(
            [
                *command,
                "-u",
                str(self.connections),
                "-r",
                "1000",
                "-t",
                f"{max(4, round(seconds))}s",
                "--loglevel",
                "ERROR",
            ]
        )
        if not outcome.error:
            lines = json.loads(text[text.index("[") :])
            if not lines:
                outcome.error = "no request was made in time"
                return outcome
            (told,) = lines
            took = told["last_request_timestamp"] - told["start_time"]
            outcome.per_second = told["num_requests"] / max(took, 1e-9)
            outcome.cpu_us = _per(outcome.cpu_us, told["num_requests"])
        return outcome

    def _run(
        self, command: list[str], patience_s: float = 120, stop_after_s: float | None = None
    ) -> tuple[str, Outcome]:
        """Run a client; its CPU time is in `cpu_us` as a whole, to be divided by its requests."""
        outcome = Outcome()
        process = subprocess.Popen(
            ["taskset", "-c", str(self.core), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.folder, env={**os.environ, "K6_NO_USAGE_REPORT": "true"},
        )  # fmt: skip
        status: list[Any] = []
        reader = threading.Thread(target=lambda: status.append(process.communicate()))
        killer = threading.Timer(stop_after_s or patience_s, process.kill)
        before = os.times()
        reader.start()
        killer.start()
        while reader.is_alive():
            outcome.peak_mb = max(outcome.peak_mb, _peak_mb(process.pid))
            reader.join(0.2)
        killer.cancel()
        after = os.times()
        text, errors = status[0]
        outcome.cpu_us = (
            after.children_user + after.children_system - before.children_user - before.children_system
        ) * 1e6
        if process.returncode and stop_after_s is None:
            outcome.error = f"exit {process.returncode}: {errors.strip()[-300:]}"
        return text, outcome


def _peak_mb(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def _per(total: float, many: int) -> float:
    return total / many if many else 0.0
