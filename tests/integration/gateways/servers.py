"""Real gateways on free loopback ports, each before a small nginx that serves as the upstream."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

_START_DEADLINE_S = 20.0

_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  keepalive_requests 100000;
  {http}
  server {{ listen 127.0.0.1:{port} backlog=1024; {server} }}
}}
"""
_UPSTREAM = """
  default_type application/json;
  location /api/ { return 200 '{"answer": 42}'; }
  location = /health { return 200 '{"status": "ok"}'; }
  location / { return 404 '{"error": "NOT_FOUND"}'; }
"""


@contextmanager
def nginx(folder: Path, *, rate: str = "10r/s", burst: int = 20) -> Iterator[str]:
    """Run nginx with `limit_req` as the preset describes it; yield its address."""
    with upstream(folder / "upstream") as behind:
        http = f"limit_req_zone $binary_remote_addr zone=api:10m rate={rate}; limit_req_status 429;"
        server = f"""
          location /api/ {{ limit_req zone=api burst={burst} nodelay; proxy_pass {behind}; }}
          location / {{ proxy_pass {behind}; }}
        """
        with _nginx(folder / "nginx", http, server) as address:
            yield address


@contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """Run the service behind a gateway; yield its address."""
    with _nginx(folder, "", _UPSTREAM) as address:
        yield address


@contextmanager
def haproxy(folder: Path, *, limit: int = 20, period: str = "5s") -> Iterator[str]:
    """Run HAProxy with a stick table as the preset describes it; yield its address."""
    with upstream(folder / "upstream") as behind:
        port = free_port()
        text = f"""
global
  nbthread 1
defaults
  mode http
  timeout client 30s
  timeout connect 1s
  timeout server 5s
frontend main
  bind 127.0.0.1:{port}
  stick-table type ip size 100k expire {period} store gpc0,gpc0_rate({period})
  http-request track-sc0 src if {{ path_beg /api/ }}
  http-request deny deny_status 429 if {{ path_beg /api/ }} {{ sc_gpc0_rate(0) ge {limit} }}
  http-request sc-inc-gpc0(0) if {{ path_beg /api/ }}
  default_backend app
backend app
  server app {behind.removeprefix("http://")}
"""
        (folder / "haproxy.cfg").write_text(text)
        with _running([_program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], port, folder / "haproxy.log"):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def traefik(folder: Path, *, average: int = 10, burst: int = 20) -> Iterator[str]:
    """Run Traefik with `rateLimit` as the preset describes it; yield its address."""
    with upstream(folder / "upstream") as behind:
        port = free_port()
        (folder / "dynamic.yaml").write_text(f"""
http:
  middlewares: {{api-limit: {{rateLimit: {{average: {average}, period: 1s, burst: {burst}}}}}}}
  routers:
    api: {{rule: "PathPrefix(`/api/`)", service: app, middlewares: [api-limit]}}
    rest: {{rule: "PathPrefix(`/`)", service: app}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "{behind}"}}]}}}}}}
""")
        command = [
            str(Path(sys.executable).parent / "traefik"),
            f"--entryPoints.web.address=127.0.0.1:{port}",
            f"--providers.file.filename={folder}/dynamic.yaml",
            "--providers.file.watch=false",
            "--global.checkNewVersion=false",
            "--global.sendAnonymousUsage=false",
            "--log.level=ERROR",
        ]
        with _running(command, port, folder / "traefik.log"):
            yield f"http://127.0.0.1:{port}"


_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          use_remote_address: true
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: api
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /api/}}
                route: {{cluster: app}}
                typed_per_filter_config:
                  envoy.filters.http.local_ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                    stat_prefix: api
                    token_bucket: {{max_tokens: 100000, tokens_per_fill: 100000, fill_interval: 1s}}
                    filter_enabled: {{default_value: {{numerator: 100}}}}
                    filter_enforced: {{default_value: {{numerator: 100}}}}
                    max_dynamic_descriptors: 10000
                    rate_limits: [{{actions: [{{remote_address: {{}}}}]}}]
                    descriptors:
                    - entries: [{{key: remote_address}}]
                      token_bucket: {{max_tokens: 20, tokens_per_fill: 10, fill_interval: 1s}}
              - {{match: {{prefix: /}}, route: {{cluster: app}}}}
  clusters:
  - name: app
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {behind}}}}}}}
"""


@contextmanager
def envoy(folder: Path) -> Iterator[str]:
    """Run Envoy with a local rate limit for each client address as the preset describes it; yield its address."""
    with upstream(folder / "upstream") as behind:
        port = free_port()
        (folder / "envoy.yaml").write_text(_ENVOY.format(port=port, behind=behind.rpartition(":")[2]))
        program = next(iter(find_spec("envoy").submodule_search_locations or ()))  # type: ignore[union-attr]
        command = [f"{program}/_bin/envoy", "-c", str(folder / "envoy.yaml"), "--concurrency", "1"]
        command += ["--log-level", "error", "--disable-hot-restart"]
        with _running(command, port, folder / "envoy.log"):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def _nginx(folder: Path, http: str, server: str) -> Iterator[str]:
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, http=http, server=server))
    # Started by root nginx drops to another user, and that one must get in.
    for each in (folder, *folder.parents):
        if each == Path(tempfile.gettempdir()) or each.stat().st_uid != os.getuid():
            break
        each.chmod(0o755)
    log = folder / "error.log"
    with _running([_program("nginx"), "-p", str(folder), "-c", str(config), "-e", str(log)], port, folder / "out.log"):
        yield f"http://127.0.0.1:{port}"


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert found, f"{name} is missing: see scripts/debian-packages.sh"
    return found


@contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with ExitStack() as stack:
        out = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        stack.callback(_end, process)
        deadline = time.monotonic() + _START_DEADLINE_S
        while not _answers(port):
            told = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}: {told}"
            assert time.monotonic() < deadline, f"{command[0]} did not start: {told}"
            time.sleep(0.02)
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


GATEWAYS = {"nginx": nginx, "haproxy": haproxy, "traefik": traefik, "envoy": envoy}
DIFFERS = {"haproxy": {"limit: 100": "limit: 20", "window: 10s": "window: 5s"}}
"""Where a gateway here is not as its preset has it, so that a test takes seconds: what to write in its place."""
