"""nginx with one worker on a core of its own: 37 bytes of JSON, plain and over TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BODY = '{"id":1,"name":"load","balance":10.5}'
_CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
worker_rlimit_nofile 32768;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.1:{tls_port} ssl backlog=4096;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    tls_url: str
    ca: Path


@contextmanager
def nginx(folder: Path, core: int) -> Iterator[Server]:
    """Run nginx pinned to `core` until the block ends."""
    for program in ("nginx", "openssl", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing: on Debian, apt-get install nginx-light openssl util-linux")
    port, tls_port = _free_port(), _free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, tls_port=tls_port, body=_BODY))
    command = ["taskset", "-c", str(core), "nginx", "-p", folder, "-c", config, "-e", folder / "error.log"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield Server(f"http://127.0.0.1:{port}/account", f"https://localhost:{tls_port}/account", folder / "cert.pem")
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("nginx did not start")
