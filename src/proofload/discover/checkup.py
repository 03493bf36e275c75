"""Looks at the surroundings of a run: this machine, the target, and whatever the target file names beside it."""

from __future__ import annotations

import enum
import http.client
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from proofload.core.clock import SystemClock
from proofload.core.errors import ProofloadError
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.drive.ownership_challenge import prove_ownership
from proofload.faults.journal import Journal
from proofload.plan.faults import CommandFault, DockerFault, KubernetesFault, SupervisedFault
from proofload.plan.target import Target

_ENOUGH_FILES = 8_192
_ENOUGH_PORTS = 20_000
_STEP_NS = 50_000_000
_TIMEOUT_S = 3.0
_CLOCK_OFF_S = 2.0
_FRESH_SOURCE = "127.64.0.1"


class CheckState(enum.StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what to do where it is not as it should be."""

    name: str
    state: CheckState
    says: str
    remedy: str = ""


def machine(out: Path) -> Iterator[Check]:
    """Look at what every run needs of this machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = f"{soft} may be open at once"
    few = soft < _ENOUGH_FILES
    remedy = f"ulimit -n {min(hard, 65_536)}" if few else ""
    yield Check("file descriptors", CheckState.WARN if few else CheckState.OK, most, remedy)
    yield from _ports()
    yield _clock()
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    says = f"{cores} cores, load {load:.1f}"
    busy = load > cores
    remedy = "times are noisy: wait until the machine is quieter" if busy else ""
    yield Check("processor", CheckState.WARN if busy else CheckState.OK, says, remedy)
    yield _source()
    yield _writable("bundles", out, "--out")
    journal = Journal()
    left = journal.entries()
    says = f"{len(left)} of earlier runs are not mended" if left else "none of an earlier run is left"
    yield Check("faults", CheckState.WARN if left else CheckState.OK, says, "proofload recover" if left else "")


def of_target(target: Target) -> Iterator[Check]:
    """Look at a target and at whatever its file names."""
    try:
        prove_ownership(target)
    except ProofloadError as error:
        yield Check("permission", CheckState.BAD, str(error), "docs/safety.md")
        return
    yield Check("permission", CheckState.OK, "the target may be loaded")
    yield from _reach(target)
    for name, service in target.services.items():
        for what, url in (("health", service.health), ("metrics", service.metrics)):
            if url:
                look = _port if url.startswith("tcp:") else _page
                yield look(f"{name} {what}", url, f"services.{name}.{what}")
    metrics, audit = target.policies.metrics, target.policies.audit
    if metrics is not None:
        if metrics.url:
            yield _page("metrics", metrics.url, "policies.metrics.url")
        if metrics.prometheus:
            yield _page("Prometheus", f"{metrics.prometheus.rstrip('/')}/-/ready", "policies.metrics.prometheus")
    if audit is not None:
        if audit.loki:
            yield _page("Loki", f"{audit.loki.rstrip('/')}/ready", "policies.audit.loki")
        yield from _audit_files(audit.files)
    yield from _drivers(target)


def redis(url: str) -> Check:
    """Look whether a Redis answers."""
    parts = urlsplit(url if "://" in url else f"redis://{url}")
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as one:
            one.sendall(b"PING\r\n")
            answer = one.recv(64)
    except OSError as error:
        return Check(
            "Redis", CheckState.BAD, f"{host}:{port}: {error.strerror or error}", "is it started? redis-server"
        )
    told = answer.decode("ascii", "replace").strip()
    if told.startswith(("+PONG", "-NOAUTH")):
        return Check("Redis", CheckState.OK, f"{host}:{port} answers")
    return Check("Redis", CheckState.BAD, f"{host}:{port} answers {told!r}", "is that a Redis?")


def _ports() -> Iterator[Check]:
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return
    waiting = next(
        (line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")), ""
    ).split()
    closing = int(waiting[waiting.index("tw") + 1]) if "tw" in waiting else 0
    free = high - low + 1 - closing
    says = f"{high - low + 1} to connect from, {closing} waiting to be free again"
    remedy = (
        'sysctl -w net.ipv4.ip_local_port_range="1024 65535"; fewer new connections' if free < _ENOUGH_PORTS else ""
    )
    yield Check("ports", CheckState.WARN if remedy else CheckState.OK, says, remedy)


def _clock() -> Check:
    clock = SystemClock()
    monotonic_ns, wall_ns = clock.now_ns(), clock.wall_ns()
    time.sleep(_STEP_NS / NS_PER_SECOND)
    drift_ns = abs((clock.wall_ns() - wall_ns) - (clock.now_ns() - monotonic_ns))
    steady = drift_ns < 5_000_000
    says = f"the wall clock keeps step with the monotonic one to {format_duration(drift_ns)}"
    remedy = "" if steady else "let NTP slew the clock, and not step it, during a run"
    return Check("clock", CheckState.OK if steady else CheckState.WARN, says, remedy)


def _source() -> Check:
    try:
        with socket.socket() as one:
            one.bind((_FRESH_SOURCE, 0))
    except OSError as error:
        remedy = "declare `sources` in the target file; without them one client address has to do"
        return Check(
            "client addresses", CheckState.WARN, f"{_FRESH_SOURCE} can't be sent from ({error.strerror})", remedy
        )
    return Check("client addresses", CheckState.OK, "loopback has millions, for targets on loopback")


def _writable(name: str, folder: Path, option: str) -> Check:
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free >> 20
    if not os.access(place, os.W_OK) or not place.is_dir():
        return Check(name, CheckState.BAD, f"{place} can't be written to", f"name another folder with {option}")
    state = CheckState.OK if free > 500 else CheckState.WARN
    return Check(name, state, f"{folder} can be written, {free} MiB free", "" if free > 500 else "make room")


def _reach(target: Target) -> Iterator[Check]:
    began = SystemClock().wall_ns() / NS_PER_SECOND
    try:
        status, headers, took_ns = _get(target.address + "/")
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield Check("target", CheckState.BAD, f"{target.address}: {why}", "is it started, is `address` right?")
        return
    yield Check("target", CheckState.OK, f"{target.address} answers {status} in {format_duration(took_ns)}")
    date = headers.get("date")
    if date:
        try:
            off = parsedate_to_datetime(date).timestamp() - began
        except ValueError:
            return
        fine = abs(off) < _CLOCK_OFF_S
        remedy = "" if fine else "synchronise both clocks; Reset headers and audit times are compared with ours"
        yield Check(
            "target's clock", CheckState.OK if fine else CheckState.WARN, f"{off:+.1f}s to ours, by its Date", remedy
        )


def _port(name: str, url: str, place: str) -> Check:
    """Look whether a connection is taken, which is all that is asked of a store."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), _TIMEOUT_S).close()
    except OSError as error:
        return Check(name, CheckState.BAD, f"{url}: {error.strerror or error}", f"start it, or put {place} right")
    return Check(name, CheckState.OK, f"{url} takes connections")


def _page(name: str, url: str, place: str) -> Check:
    try:
        status, _, took_ns = _get(url)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Check(name, CheckState.BAD, f"{url}: {why}", f"start it, or put {place} right")
    if status == http.client.OK:
        return Check(name, CheckState.OK, f"{url} answers in {format_duration(took_ns)}")
    return Check(name, CheckState.BAD, f"{url} answers {status}", f"put {place} right")


def _audit_files(globs: tuple[str, ...]) -> Iterator[Check]:
    for pattern in globs:
        whole = Path(pattern).absolute()
        found = list(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor))))
        closed = [one for one in found if not os.access(one, os.R_OK)]
        if closed:
            yield Check("audit log", CheckState.BAD, f"{closed[0]} can't be read", "give this user leave to read it")
        elif not found:
            remedy = "right from the first event on; if there were some, put policies.audit.files right"
            yield Check("audit log", CheckState.WARN, f"{pattern} matches no file", remedy)
        else:
            yield Check("audit log", CheckState.OK, f"{pattern}: {len(found)} files can be read")


def _drivers(target: Target) -> Iterator[Check]:
    for name, fault in target.faults.items():
        if isinstance(fault, SupervisedFault):
            there, what = Path(fault.control).exists(), fault.control
        elif isinstance(fault, (CommandFault, DockerFault, KubernetesFault)):
            what = (fault.stop if isinstance(fault, CommandFault) else fault.client)[0]
            there = shutil.which(what) is not None
        else:
            continue
        remedy = "" if there else f"install or start it, or put faults.{name} right"
        says = f"{fault.driver}: {what} is {'there' if there else 'not there'}"
        yield Check(f"fault {name}", CheckState.OK if there else CheckState.BAD, says, remedy)


def _get(url: str) -> tuple[int, dict[str, str], int]:
    """Return status, headers and time of one GET. Follows nothing, and reads no more than a page."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    clock = SystemClock()
    began_ns = clock.now_ns()
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/", headers={"User-Agent": "proofload"})
        answer = connection.getresponse()
        answer.read(1 << 16)
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, clock.now_ns() - began_ns
    finally:
        connection.close()
