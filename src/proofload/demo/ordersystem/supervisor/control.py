"""The control socket: one JSON object a line in, one out. Who may open the socket's file may give orders."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class ControlError(Exception):
    """The order could not be given, or was refused."""


def order(control: Path, timeout_s: float = 60.0, **request: Any) -> dict[str, Any]:
    """Give one order to a running system and return its reply. Raise ControlError when it is refused."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout_s)
            line.connect(str(control))
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as replies:
                reply = json.loads(replies.readline() or b'{"ok": false, "error": "no reply"}')
    except (OSError, ValueError) as error:
        raise ControlError(f"{control}: no running system answers there ({error})") from error
    if not reply.get("ok"):
        raise ControlError(str(reply.get("error", "refused")))
    return dict(reply)


def refuse_if_running(control: Path) -> None:
    """Raise ControlError when a running system has this socket; clear away what a dead one left."""
    if not control.exists():
        return
    try:
        order(control, timeout_s=2.0, do="status")
    except ControlError:
        control.unlink()
    else:
        raise ControlError(
            f"a system is running in {control.parent} already; end it with: python -m proofload.demo.ordersystem down"
        )


def listen(control: Path) -> socket.socket:
    """Return a listening control socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(control))
    control.chmod(0o600)
    listener.listen(16)
    return listener


def read_request(line: socket.socket) -> dict[str, Any]:
    """Return the order that came over a connection; an empty one when it can't be read."""
    line.settimeout(2.0)
    try:
        with line.makefile("rb") as lines:
            request = json.loads(lines.readline(65_536))
    except (OSError, ValueError):
        return {}
    return request if isinstance(request, dict) else {}


def send_reply(line: socket.socket, reply: dict[str, Any]) -> None:
    """Answer an order. Nobody being there to read is no error of ours."""
    try:
        line.sendall(json.dumps(reply).encode() + b"\n")
    except OSError:
        return
