"""`proofload load`, as a person calls it, against a real socket server."""

import json
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from proofload.cli.load import load
from proofload.core.errors import PlanError, SafetyError
from proofload.record.exchange import Ending
from proofload.record.history import History

pytestmark = pytest.mark.xdist_group("load-command")

app = typer.Typer()
app.command()(load)


class Handler(socketserver.StreamRequestHandler):
    """Answers `/fail` with 503 and everything else with 200."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline().strip().lower()) != b"":
                if header.startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            self.server.seen.append((line, self.rfile.read(length)))  # type: ignore[attr-defined]
            status = b"503 Unavailable" if b"/fail" in line else b"200 OK"
            self.wfile.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as tcp:
        tcp.daemon_threads = True
        tcp.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=tcp.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{tcp.server_address[1]}", tcp.seen  # type: ignore[attr-defined]
        tcp.shutdown()
        thread.join()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def test_a_rate_for_a_time_is_delivered_and_written(
    server: tuple[str, list[tuple[bytes, bytes]]], tmp_path: Path
) -> None:
    url, seen = server
    report, parquet = tmp_path / "r.json", tmp_path / "h.parquet"
    result = call(
        f"{url}/a?b=c", "--rate", "100/s", "--for", "300ms", "--report", str(report), "--history", str(parquet),
        "--fail-if", "p99 > 5s", "--fail-if", "errors > 1%",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len(seen) == 30
    assert seen[0][0] == b"GET /a?b=c HTTP/1.1\r\n"
    told = json.loads(report.read_text())
    assert told["requests"]["answered"] == 30
    assert told["by_status"] == {"200": 30}
    assert [one["failed"] for one in told["thresholds"]] == [False, False]
    history = History.read(parquet)
    assert history.counts()[Ending.ANSWERED] == 30
    assert "30" in result.output


@pytest.mark.parametrize(
    ("path", "threshold", "status"),
    [
        ("/fail", "errors > 1%", 10),
        ("/fail", "p95 > 10s", 10),  # failing fast is not being fast: no successful answer, no sample
        ("/fail", "status-503 > 5%", 10),
        ("/ok", "checks < 90%", 10),  # no check was ever made
        ("/ok", "rate < 1/s", 0),
        ("/ok", "dropped > 0%", 0),
        ("/ok", "max > 1ns", 10),
    ],
)
def test_thresholds(server: tuple[str, list[tuple[bytes, bytes]]], path: str, threshold: str, status: int) -> None:
    result = call(server[0] + path, "--users", "2", "-n", "20", "--fail-if", threshold)
    assert result.exit_code == status, result.output


def test_a_body_makes_it_a_post_and_a_file_gives_requests_in_turn(
    server: tuple[str, list[tuple[bytes, bytes]]], tmp_path: Path
) -> None:
    url, seen = server
    assert call(f"{url}/o", "--json", '{"a": 1}', "--users", "1", "-n", "1").exit_code == 0
    assert seen[-1] == (b"POST /o HTTP/1.1\r\n", b'{"a":1}')
    path = tmp_path / "requests.jsonl"
    path.write_text('{"path": "/1"}\n{"method": "PUT", "path": "/2", "json": [2]}\n')
    assert call(url, "--from-file", str(path), "--users", "1", "-n", "4").exit_code == 0
    assert [line.split(b" ")[0] for line, _ in seen[-4:]] == [b"GET", b"PUT", b"GET", b"PUT"]


def test_a_script_in_two_processes(server: tuple[str, list[tuple[bytes, bytes]]], tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text("async def shopper(user):\n    a = await user.get('/cart')\n    user.check('ok', a.ok)\n")
    result = call(
        server[0], "--script", f"{path}:shopper", "--users", "2", "-n", "10", "-p", "2", "--fail-if", "checks < 100%"
    )
    assert result.exit_code == 0, result.output
    assert len(server[1]) == 10


def test_an_aborting_threshold_ends_the_run_early(server: tuple[str, list[tuple[bytes, bytes]]]) -> None:
    result = call(f"{server[0]}/fail", "--rate", "400/s", "--for", "60s", "--fail-if", "errors > 1%", "--abort")
    assert result.exit_code == 10
    assert len(server[1]) < 24_000
    assert "stopped because errors > 1%" in result.output


def test_what_is_not_delivered_or_not_answered_is_no_success(server: tuple[str, list[tuple[bytes, bytes]]]) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_address[1]
    assert call(f"http://127.0.0.1:{port}", "--users", "1", "-n", "3").exit_code == 11
    # A thousand arrivals at once and one user: most are dropped.
    assert call(server[0], "--rate", "20000/s", "--for", "100ms", "--max-users", "1").exit_code == 11


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "fast"],
        ["--stages", "up and down"],
        ["--for", "1 fortnight"],
        ["--json", "{", "--users", "1"],
        ["--rate", "1/s", "--users", "1"],
        ["--fail-if", "p99 > 5%"],
        ["--fail-if", "speed > 5"],
        ["--header", "nonsense"],
        ["--script", "nowhere.py:shopper"],
        ["--from-file", "nowhere.jsonl"],
        ["--ca", "nowhere.pem"],
        ["--method", "BREW"],
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    server: tuple[str, list[tuple[bytes, bytes]]], arguments: list[str]
) -> None:
    result = call(server[0], *arguments)
    assert isinstance(result.exception, PlanError)
    assert ": got " in str(result.exception)
    assert server[1] == []


def test_only_loopback_may_be_loaded_without_a_target_file() -> None:
    assert isinstance(call("http://192.0.2.1/", "--users", "1", "-n", "1").exception, SafetyError)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_ends_it_in_good_order_with_all_counts(
    server: tuple[str, list[tuple[bytes, bytes]]], tmp_path: Path, processes: str
) -> None:
    url, seen = server
    report, parquet = tmp_path / "r.json", tmp_path / "h.parquet"
    code = "import typer, proofload.cli.load as m; app = typer.Typer(); app.command()(m.load); app()"
    command = [
        sys.executable, "-c", code, url, "--rate", "200/s", "--for", "60s", "-p", processes,
        "--report", str(report), "--history", str(parquet),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    enough = threading.Event()
    threading.Thread(target=lambda: _wait_for(seen, 40, enough), daemon=True).start()
    assert enough.wait(60)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    told = json.loads(report.read_text())["requests"]
    history = History.read(parquet)
    assert told["answered"] + told["not_sent"] + told["unknown"] + told["dropped"] == len(history) >= 40
    assert sum(history.counts().values()) == len(history)
    assert "Traceback" not in output


def test_generators_do_not_outlive_a_killed_parent(server: tuple[str, list[tuple[bytes, bytes]]]) -> None:
    url, seen = server
    code = "import typer, proofload.cli.load as m; app = typer.Typer(); app.command()(m.load); app()"
    command = [sys.executable, "-c", code, url, "--rate", "100/s", "--for", "120s", "-p", "2", "--quiet"]
    process = subprocess.Popen(command)
    enough = threading.Event()
    threading.Thread(target=lambda: _wait_for(seen, 20, enough), daemon=True).start()
    assert enough.wait(60)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(_runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if _runs(child)]


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(seen: list[tuple[bytes, bytes]], many: int, enough: threading.Event) -> None:
    pause = threading.Event()
    while len(seen) < many:
        pause.wait(0.005)
    enough.set()
