"""What mends a fault, as data: any process can carry it out, whoever made it. Plain standard library, nothing shared.

A recipe is `{"steps": [step, ...]}`, carried out in order; every step may be carried out twice without harm:

- `{"do": "run", "command": [...], "folder": "/", "already": [...]}`: a program and its arguments, never a shell line;
  where it fails and prints one of the texts in `already`, what it was to do was done before
- `{"do": "order", "socket": "/path", "request": {...}}`: one JSON line over a Unix socket, a reply with `"ok": true`
- `{"do": "http", "method": "DELETE", "url": "http://...", "body": null, "expected": [200, 404]}`

The last two may have `"may_be_gone": true`: where nobody listens any more, what was broken ended with whoever listened.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proofload.core.errors import ToolError

_RUN_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 60.0
_LONGEST_ANSWER_BYTES = 1 << 20

Step = dict[str, Any]
Recipe = dict[str, Any]


class FaultError(ToolError):
    """A fault could not be applied or mended. The text says what was tried and what came of it."""


class GoneError(FaultError):
    """Nobody listens where an order was to be given."""


def run_step(command: Sequence[str], already: Sequence[str] = ()) -> Step:
    """Return a step that runs a program. Raises FaultError where there is none of that name."""
    program = shutil.which(command[0])
    if program is None:
        raise FaultError(f"fault command: got {command[0]!r}, expected a program; there is none of that name on PATH")
    # The full path and the folder: whoever mends may have another PATH and stand elsewhere.
    command = [str(Path(program).absolute()), *command[1:]]
    return {"do": "run", "command": command, "folder": str(Path.cwd()), "already": list(already)}


def order_step(control: str, request: Mapping[str, Any], may_be_gone: bool = False) -> Step:
    """Return a step that gives one order over a control socket."""
    socket_path = str(Path(control).absolute())
    return {"do": "order", "socket": socket_path, "request": dict(request), "may_be_gone": may_be_gone}


def http_step(
    method: str, url: str, body: Any = None, expected: Sequence[int] = (200, 201, 204), may_be_gone: bool = False
) -> Step:
    """Return a step that sends one HTTP request, with a JSON body where one is given."""
    wanted = list(expected)
    return {"do": "http", "method": method, "url": url, "body": body, "expected": wanted, "may_be_gone": may_be_gone}


def carry_out(recipe: Mapping[str, Any]) -> str:
    """Carry out every step in order and return what came of them. Raises FaultError at the first that fails."""
    said = [carry_out_step(step) for step in recipe.get("steps", ())]
    return "; ".join(said) or "nothing to do"


def carry_out_step(step: Mapping[str, Any]) -> str:
    """Carry out one step and return what came of it, in a line. Raises FaultError where it fails."""
    doers = {"run": _run, "order": _order, "http": _http}
    what = step.get("do")
    if what not in doers:
        raise FaultError(f"recipe: got the step {what!r}, expected one of {', '.join(doers)}")
    try:
        return doers[what](step)
    except GoneError as error:
        if step.get("may_be_gone"):
            return f"{error}; what was broken ended with it"
        raise
    except (OSError, KeyError, TypeError, ValueError, http.client.HTTPException) as error:
        raise FaultError(f"{what}: {type(error).__name__}: {error}") from error


def _run(step: Mapping[str, Any]) -> str:
    command = [str(part) for part in step["command"]]
    status, printed = run(command, str(step.get("folder") or "/"))
    if status != 0 and any(text in printed for text in step.get("already", ())):
        return f"{_told(command)}: done before"
    if status != 0:
        raise FaultError(f"{_told(command)}: exit status {status}; it printed {printed[-500:]!r}")
    return f"{_told(command)}: exit status 0"


def run(command: Sequence[str], folder: str = "/") -> tuple[int, str]:
    """Return exit status and output of a program. Raises FaultError where it is not done in time."""
    # A file, not a pipe: a command that leaves a service behind leaves it our pipe too, and its end would never come.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder if Path(folder).is_dir() else "/",
            start_new_session=True,  # Ctrl-C in the terminal ends the runner, never what mends
        )
        try:
            status = process.wait(_RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise FaultError(f"{_told(command)}: not done after {_RUN_TIMEOUT_S:g} s") from error
        output.seek(0)
        return status, output.read(_LONGEST_ANSWER_BYTES).decode(errors="replace").strip()


def ask(control: str, request: Mapping[str, Any], timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
    """Return the reply to one order over a control socket. Raises FaultError when it is refused or not answered."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout_s)
            line.connect(control)
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as replies:
                reply = json.loads(replies.readline(_LONGEST_ANSWER_BYTES) or b"{}")
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise GoneError(f"control socket {control}: nobody listens ({error})") from error
    except (OSError, ValueError) as error:
        raise FaultError(f"control socket {control}: {error}") from error
    if not isinstance(reply, dict) or not reply.get("ok"):
        reason = reply.get("error", "refused") if isinstance(reply, dict) else "no JSON object"
        raise FaultError(f"control socket {control}: {json.dumps(request)}: {reason}")
    return reply


def _order(step: Mapping[str, Any]) -> str:
    ask(str(step["socket"]), step["request"])
    return f"{' '.join(str(value) for value in step['request'].values())}: done"


def _http(step: Mapping[str, Any]) -> str:
    status, answer = send(str(step["method"]), str(step["url"]), step.get("body"))
    if status not in step["expected"]:
        raise FaultError(f"{step['method']} {step['url']}: {status} {answer[:200].decode(errors='replace')!r}")
    return f"{step['method']} {step['url']}: {status}"


def send(method: str, url: str, body: Any = None, timeout_s: float = 10.0) -> tuple[int, bytes]:
    """Return status and body of one HTTP request. Follows no redirect and uses no proxy of the environment."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"got {url!r}, expected an http or https URL")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 -- the scheme was checked
    opener = urllib.request.build_opener(_RecipeRedirects, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read(_LONGEST_ANSWER_BYTES)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(_LONGEST_ANSWER_BYTES)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            raise GoneError(f"{url}: nobody listens") from error
        raise


class _RecipeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the address it would lead to was never named by the user."""

    def redirect_request(self, *_: object) -> None:
        """Return nothing, so that the redirect itself becomes the answer."""


def _told(command: Sequence[str]) -> str:
    return json.dumps(command, ensure_ascii=False)
