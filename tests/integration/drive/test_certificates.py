"""A target's own authority is trusted where the file says so, and by nobody else."""

import asyncio
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from proofload.core.errors import SafetyError, TargetError
from proofload.drive.connectivity import reach
from proofload.drive.ownership_challenge import fetch_challenge, prove_ownership
from proofload.plan.reader import parse_target
from proofload.plan.target import Target

TOKEN = "the-owner-says-yes"


class Owned(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = TOKEN.encode() if self.path == "/.well-known/proofload.txt" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Serve https for `localhost` with a certificate of an own authority; yield the port and the authority's file."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Owned) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], tmp_path / "ca.pem"
        server.shutdown()
        thread.join()


def target(port: int, more: str = "") -> Target:
    text = f"version: 1\naddress: https://localhost:{port}\noperations: {{a: {{path: /}}}}\n{more}\n"
    return parse_target(text, "t.yaml", {"TOKEN": TOKEN})


def reached(one: Target) -> str:
    # As for a name that stands for the IPv4 loopback alone.
    vet = prove_ownership(one, resolve=lambda host, port: ["127.0.0.1"])
    return asyncio.run(reach(one, vet))


def test_the_declared_authority_is_trusted(authority: tuple[int, Path]) -> None:
    port, ca = authority
    assert reached(target(port, f"tls: {{ca: {ca}}}")).startswith("answers with 200")
    assert reached(target(port, "tls: {verify: false}")).startswith("answers with 200")
    with pytest.raises(TargetError, match="no answer"):
        reached(target(port))


def test_the_challenge_is_fetched_with_the_declared_authority(authority: tuple[int, Path]) -> None:
    port, ca = authority
    listed = f'allow: [192.0.2.1]\nownership: {{token: "${{env:TOKEN}}"}}\ntls: {{ca: {ca}}}'

    def here(ip: str, port: int, host: str, tls: ssl.SSLContext | None) -> str:
        assert ip == "192.0.2.1"
        return fetch_challenge("127.0.0.1", port, host, tls)

    vet = prove_ownership(target(port, listed), resolve=lambda host, port: ["192.0.2.1"], fetch=here)
    vet("192.0.2.1")
    untrusted = listed.replace(f"tls: {{ca: {ca}}}", "")
    with pytest.raises(SafetyError, match=r"did not answer .*CERTIFICATE_VERIFY_FAILED"):
        prove_ownership(target(port, untrusted), resolve=lambda host, port: ["192.0.2.1"], fetch=here)
