"""Who may be loaded: loopback always; any other address only when it is listed *and* shows the owner's token.

Only the rules are here: which addresses a target lists, which it also asks, and what a vet refuses. The names are
resolved and the token is asked for by `drive/ownership_challenge.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator

from proofload.core.errors import PlanError, Problem, SafetyError
from proofload.core.text import visible
from proofload.plan.addresses import IPAddress, IPNetwork, is_listed, is_loopback, parse_ip, parse_network
from proofload.plan.faults import ProxyFault, ToxiproxyFault
from proofload.plan.target import Target

CHALLENGE_PATH = "/.well-known/proofload.txt"

Vet = Callable[[str], None]
"""Is given every IP address before it is connected to; raises SafetyError for one that isn't proven."""


def parse_allow(entries: Iterable[str]) -> list[IPNetwork]:
    """Return the networks that `allow` lists. Raises PlanError with every entry that is no narrow network."""
    networks: list[IPNetwork] = []
    problems: list[Problem] = []
    for i, entry in enumerate(entries):
        try:
            networks.append(parse_network(entry))
        except ValueError as error:
            problems.append(Problem(f"allow[{i}]", repr(visible(entry, 80)), str(error), "see docs/target.md"))
    if problems:
        raise PlanError(problems)
    return networks


def vet_proven(host: str, allow: Collection[IPNetwork], proven: Collection[IPAddress]) -> Vet:
    """Return a function that vets addresses of `host`: loopback and what was proven pass, all else is refused."""

    def vet(ip: str) -> None:
        address = parse_ip(ip)
        if is_loopback(address) or address in proven:
            return
        refuse_unlisted(host, address, allow)
        raise SafetyError(
            f"{host}: now stands for {address}, which has not answered the challenge; start the run again to prove it"
        )

    return vet


def urls_beside(target: Target) -> Iterator[tuple[str, str]]:
    """Return every URL that is not loaded but asked, with the key where it stands."""
    for name, service in target.services.items():
        yield f"services.{name}.health", service.health or ""
        yield f"services.{name}.metrics", service.metrics or ""
    metrics, audit = target.policies.metrics, target.policies.audit
    if metrics is not None:
        yield "policies.metrics.url", metrics.url or ""
        yield "policies.metrics.prometheus", metrics.prometheus or ""
    if audit is not None:
        yield "policies.audit.loki", audit.loki or ""
    for name, fault in target.faults.items():
        if isinstance(fault, ProxyFault):
            yield f"faults.{name}.control", fault.control
        elif isinstance(fault, ToxiproxyFault):
            yield f"faults.{name}.api", fault.api


def refuse_unlisted_beside(place: str, address: IPAddress, allow: Collection[IPNetwork]) -> None:
    """Raise SafetyError for an address of a URL at the key `place` that is neither loopback nor listed."""
    if not is_loopback(address) and not is_listed(address, allow):
        raise SafetyError(
            f"{place}: got the address {address}, expected loopback (127.0.0.0/8 or ::1) or an address that "
            "`allow` lists: docs/target.md"
        )


def refuse_unlisted(host: str, address: IPAddress, allow: Collection[IPNetwork]) -> None:
    """Raise SafetyError for an address of `host` that `allow` does not list."""
    if not is_listed(address, allow):
        raise SafetyError(
            f"{host}: got the address {address}, expected loopback (127.0.0.0/8 or ::1); "
            f"to load a system of your own, list it under `allow` and let it answer {CHALLENGE_PATH}: docs/target.md"
        )


def owners_token(target: Target, host: str, address: IPAddress) -> str:
    """Return what a listed address has to answer. Raises SafetyError where the target declares no token."""
    if target.ownership is None:
        raise SafetyError(
            f"{host}: {address} is listed under `allow`, but `ownership.token` is not set: docs/target.md"
        )
    return target.ownership.token.get_secret_value()


def check_answer(answer: str, token: str, host: str, address: IPAddress) -> None:
    """Raise SafetyError where the answer to the challenge is not the owner's token."""
    if not token or not secrets.compare_digest(answer.strip().encode(), token.encode()):
        raise SafetyError(f"{host}: {address} answered {CHALLENGE_PATH} with another token; no load was sent")
