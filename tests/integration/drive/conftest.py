"""Real servers for the engine: nginx and HAProxy on free loopback ports, with certificates of their own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme


@dataclass(frozen=True, slots=True)
class Nginx:
    port: int
    tls_port: int
    mutual_port: int
    ipv6_port: int
    socket: Path
    ca: Path
    client: Path
    log: Path


_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format sni '$ssl_server_name $request_uri';
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  root {folder}/www;
  keepalive_requests 5;
  ssl_certificate {folder}/server.pem;
  ssl_certificate_key {folder}/server.pem;
  server {{
    listen 127.0.0.1:{port};
    listen unix:{folder}/nginx.sock;
    location /plain {{ return 200 'plain'; }}
    location /moved {{ return 302 /plain; }}
    location /nowhere {{ return 302 http://192.0.2.1/; }}
    location /chunked {{ ssi on; ssi_types *; try_files /page.shtml =404; }}
    location /empty {{ return 204; }}
    location /big {{ try_files /big.bin =404; }}
    location /reset {{ return 444; }}
  }}
  server {{ listen [::1]:{ipv6_port}; location / {{ return 200 'six'; }} }}
  server {{
    listen 127.0.0.1:{tls_port} ssl;
    access_log {folder}/sni.log sni;
    location / {{ return 200 'tls'; }}
  }}
  server {{
    listen 127.0.0.1:{mutual_port} ssl;
    ssl_client_certificate {folder}/ca.pem;
    ssl_verify_client on;
    location / {{ return 200 '$ssl_client_verify'; }}
  }}
}}
"""


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert program, "nginx is missing: see scripts/debian-packages.sh"
    folder = tmp_path_factory.mktemp("nginx")
    # nginx drops to another user when started by root, and that one must get in.
    for each in (folder, *folder.parents[:3]):
        if each.stat().st_uid == os.getuid() and each != Path(tempfile.gettempdir()):
            each.chmod(0o755)
    (folder / "www").mkdir()
    (folder / "www/page.shtml").write_text("begin " + '<!--#echo var="request_method" -->' * 3 + " end")
    (folder / "www/big.bin").write_bytes(b"0123456789" * 300_000)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.issue_cert("client@proofload.test").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    port, tls_port, mutual_port, ipv6_port = (_free_port(family) for family in ("127.0.0.1",) * 3 + ("::1",))
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, port=port, tls_port=tls_port, mutual_port=mutual_port, ipv6_port=ipv6_port)
    )
    with _running([program, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")], port):
        yield Nginx(
            port, tls_port, mutual_port, ipv6_port, folder / "nginx.sock", folder / "ca.pem", folder / "client.pem",
            folder / "sni.log",
        )  # fmt: skip


_HAPROXY = """
defaults
  mode http
  timeout client 5s
  timeout connect 1s
  timeout server 5s
frontend main
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string ok if {{ path /keep }}
  http-request return status 200 content-type text/plain hdr Connection close string ok if {{ path /close }}
  http-request reject if {{ path /reject }}
  http-request silent-drop if {{ path /silent }}
  http-request return status 503 content-type text/plain string busy
"""


@pytest.fixture(scope="session")
def haproxy_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    assert program, "haproxy is missing: see scripts/debian-packages.sh"
    config = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    port = _free_port("127.0.0.1")
    config.write_text(_HAPROXY.format(port=port))
    with _running([program, "-db", "-f", str(config)], port):
        yield port


class _running:  # noqa: N801 -- used like a function
    def __init__(self, command: list[str], port: int) -> None:
        self._command, self._port = command, port

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    assert self._process.stderr is not None
                    raise AssertionError(f"{self._command[0]} did not start") from None
                time.sleep(0.02)
            else:
                return

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


def _free_port(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
