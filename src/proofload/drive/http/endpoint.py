"""Where requests go: host, port, transport and the name that certificates and Host headers carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from proofload.core.errors import PlanError, Problem
from proofload.plan.target import Tls

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server address. `server_name` is what its certificate must be for; `host_header` what requests name."""

    host: str
    port: int
    tls: bool = False
    server_name: str = ""
    host_header: str = ""
    unix_socket: Path | None = None

    @classmethod
    def of(cls, url: str, unix_socket: Path | None = None) -> Endpoint:
        """Return the endpoint that a URL such as `https://gateway.test:8443` names; its path plays no part.

        Raises PlanError for anything that is no http or https URL.

        >>> Endpoint.of("http://127.0.0.1:8080").host_header
        '127.0.0.1:8080'
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
            raise PlanError([Problem("address", repr(url), "a URL such as http://127.0.0.1:8080 without a user name")])
        host = parts.hostname
        shown = f"[{host}]" if ":" in host else host
        default = _PORTS[parts.scheme]
        return cls(
            host,
            port or default,
            parts.scheme == "https",
            host,
            shown if port in (None, default) else f"{shown}:{port}",
            unix_socket,
        )


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How certificates are checked and shown. Verification is on unless it is switched off by name."""

    verify: bool = True
    ca_file: Path | None = None
    """Certificates to trust in place of the system's."""
    certificate: Path | None = None
    """Our own certificate (and chain), where the server asks for one."""
    key: Path | None = None

    @classmethod
    def of(cls, declared: Tls | None) -> TlsSettings:
        """Return what a target file declares of certificates; where it declares nothing, the system's are trusted."""
        if declared is None:
            return cls()
        files = (Path(one) if one else None for one in (declared.ca, declared.certificate, declared.key))
        return cls(declared.verify, *files)
