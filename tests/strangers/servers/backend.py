"""A service that can be stopped: `python backend.py start|stop|serve PORT` keeps its process id beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORD, PORT = sys.argv[1], int(sys.argv[2])
KEPT = Path(f"backend-{PORT}.pid")


class Thing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"it": "is"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def is_there() -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=0.5).close()
    except OSError:
        return False
    return True


if WORD == "serve":
    Server(("127.0.0.1", PORT), Thing).serve_forever()
elif WORD == "start":
    process = subprocess.Popen([sys.executable, __file__, "serve", str(PORT)], start_new_session=True)
    KEPT.write_text(str(process.pid))
    until = time.monotonic() + 10
    while not is_there() and time.monotonic() < until:
        time.sleep(0.02)
elif KEPT.exists():
    os.kill(int(KEPT.read_text()), signal.SIGKILL)
    KEPT.unlink()
    until = time.monotonic() + 10
    while is_there() and time.monotonic() < until:
        time.sleep(0.02)
