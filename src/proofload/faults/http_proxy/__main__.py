"""The proxy as a process: `--to http://127.0.0.1:8001 --listen 127.0.0.1:9001 --control-port 9002`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

import uvloop

from proofload.faults.http_proxy.server import FaultProxy


async def _run(given: argparse.Namespace) -> None:
    proxy = FaultProxy(given.to)
    host, _, port = given.listen.rpartition(":")
    await proxy.start(host, int(port), given.control_port)
    sys.stdout.write(json.dumps({"url": proxy.url, "control": proxy.control}) + "\n")
    sys.stdout.flush()
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if given.end_with_stdin:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else ended.set())
    await ended.wait()
    await proxy.close()


def main() -> None:
    """Run a proxy until it is told to end; its addresses are printed as one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m proofload.faults.http_proxy", description=__doc__)
    parser.add_argument("--to", metavar="URL", help="the service behind; may be told later over the control address")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where the gateway finds it")
    parser.add_argument("--control-port", type=int, default=0, metavar="N", help="on loopback, for ruling the faults")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input ends")
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
