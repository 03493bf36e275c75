"""The command line: `python -m proofload.demo.ordersystem COMMAND`.

Commands are up, status, stop, start, pause, resume, kill, restart, mute, unmute, logs, down and defects.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from proofload.demo.ordersystem.common.environment import SettingError
from proofload.demo.ordersystem.supervisor.control import ControlError, order
from proofload.demo.ordersystem.supervisor.process import die_with
from proofload.demo.ordersystem.supervisor.redis_server import NoRedisError
from proofload.demo.ordersystem.supervisor.supervisor import StartError, write_atomically

PROGRAM = "python -m proofload.demo.ordersystem"
ORDERS = ("start", "stop", "pause", "resume", "kill", "restart")


def default_folder() -> Path:
    """Return the folder of a system that was not given one."""
    return Path(tempfile.gettempdir()) / f"ordersystem-{os.getuid()}"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="The reference system.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything in the foreground, on free ports of loopback")
    up.add_argument("--defect", action="append", default=[], metavar="ID", help="put a defect in place; repeatable")
    up.add_argument("--gateway-port", type=int, default=0, metavar="N")
    up.add_argument("--ready-file", type=Path, metavar="PATH", help="written, whole, once everything is healthy")
    up.add_argument("--die-with-parent", action="store_true", help="end when the process that started this one ends")
    status = commands.add_parser("status", help="what runs")
    status.add_argument("--json", action="store_true")
    down = commands.add_parser("down", help="end a running system")
    logs = commands.add_parser("logs", help="print the log of a service")
    logs.add_argument("service")
    for name in ORDERS:
        one = commands.add_parser(name, help=f"{name} one service")
        one.add_argument("service")
        one.add_argument("--dir", type=Path, default=default_folder(), metavar="DIR")
    for name, help_text in (("mute", "switch metrics or audit off for a while"), ("unmute", "and on again")):
        one = commands.add_parser(name, help=help_text)
        one.add_argument("service", metavar="metrics|audit")
        one.add_argument("--dir", type=Path, default=default_folder(), metavar="DIR")
    for command in (up, status, down, logs):
        command.add_argument("--dir", type=Path, default=default_folder(), metavar="DIR", help="the system's folder")
    defects = commands.add_parser("defects", help="list the defects that `up --defect` knows")
    defects.add_argument("--json", action="store_true")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 refused or failed, 2 mistyped."""
    given = _arguments().parse_args(arguments)
    try:
        if given.command == "up":
            return _up(given)
        if given.command == "defects":
            return _defects(given.json)
        return _order(given)
    except (StartError, SettingError, NoRedisError, ControlError) as error:
        print(f"ordersystem: {error}", file=sys.stderr)
        return 1


def _up(given: argparse.Namespace) -> int:
    if given.die_with_parent:
        die_with(os.getppid(), signal.SIGTERM)
    # prometheus_client decides when it is first imported whether values live in files; workers name their own folder.
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.gettempdir())
    # Only this command pays for the frameworks.
    from proofload.demo.ordersystem.defects.registry import DefectsCollideError, UnknownDefectError, parts_with
    from proofload.demo.ordersystem.supervisor.up import System

    try:
        parts = parts_with(given.defect)
    except (UnknownDefectError, DefectsCollideError) as error:
        raise StartError(str(error)) from error
    system = System(given.dir.resolve(), parts, dict(os.environ), given.gateway_port)
    ready = system.layout.folder / "ready.json"
    ready.unlink(missing_ok=True)

    def on_ready() -> None:
        description = {**system.description(), "defects": given.defect}
        write_atomically(ready, description)
        if given.ready_file:
            write_atomically(given.ready_file, description)
        print(f"gateway {system.urls['gateway']}  folder {system.layout.folder}", flush=True)

    try:
        system.supervisor.run(on_ready)
    finally:
        ready.unlink(missing_ok=True)
    return 0


def _order(given: argparse.Namespace) -> int:
    ready = given.dir.resolve() / "ready.json"
    try:
        description: dict[str, Any] = json.loads(ready.read_text())
    except (OSError, ValueError):
        raise ControlError(f"no system runs in {given.dir}; start one with: {PROGRAM} up") from None
    if given.command == "logs":
        print((Path(description["logs"]) / f"{given.service}.log").read_text(errors="replace"), end="")
        return 0
    reply = order(Path(description["control"]), do=given.command, service=getattr(given, "service", None))
    if getattr(given, "json", False):
        print(json.dumps(reply["services"], indent=2))
    else:
        for name, service in reply.get("services", {}).items():
            pids = " ".join(map(str, service["pids"]))
            print(f"{name:8} {service['state']:8} {service['address']:28} restarts {service['restarts']}  pids {pids}")
    return 0


def _defects(as_json: bool) -> int:
    from proofload.demo.ordersystem.defects.registry import ALL

    listed = sorted(ALL.values(), key=lambda defect: (defect.control, defect.id))
    if as_json:
        fields = ("id", "control", "sentence", "seen_in_public", "client_observes", "failing_case")
        print(json.dumps([{name: getattr(defect, name) for name in fields} for defect in listed], indent=2))
    else:
        for defect in listed:
            print(f"{defect.id:34} {defect.failing_case:16} {defect.sentence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
