"""Nothing but loopback is loaded unless it is listed and has shown the owner's token."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proofload.core.errors import PlanError, SafetyError, TargetError
from proofload.drive import ownership_challenge
from proofload.drive.ownership_challenge import fetch_challenge, prove_ownership
from proofload.plan.ownership import parse_allow
from proofload.plan.reader import parse_target
from proofload.plan.target import Target

TOKEN = "the-owner-says-yes"
OWNED = 'ownership: {token: "${env:TOKEN}"}'


def target(address: str, allow: str = "[]", ownership: str = "") -> Target:
    text = f"version: 1\naddress: {address}\nallow: {allow}\n{ownership}\noperations: {{a: {{path: /}}}}\n"
    return parse_target(text, "t.yaml", {"TOKEN": TOKEN})


def never(*_: object) -> str:
    raise AssertionError("nothing may be sent")


def names(*addresses: str):  # type: ignore[no-untyped-def]
    return lambda host, port: addresses


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.200.3.4", "::1", "::ffff:127.0.0.1"])
def test_loopback_needs_no_proof(ip: str) -> None:
    vet = prove_ownership(target("http://gateway.test"), resolve=names(ip), fetch=never)
    vet(ip)
    vet("127.0.0.99")


@pytest.mark.parametrize(
    "ip",
    ["192.0.2.1", "10.0.0.1", "169.254.1.1", "0.0.0.0", "::", "::ffff:192.0.2.1", "fe80::1%eth0", "224.0.0.1"],
)
def test_any_other_address_is_refused_before_anything_is_sent(ip: str) -> None:
    with pytest.raises(SafetyError, match="expected loopback"):
        prove_ownership(target("http://gateway.test"), resolve=names(ip), fetch=never)


def test_one_foreign_address_among_several_is_enough_to_refuse() -> None:
    with pytest.raises(SafetyError, match=r"192\.0\.2\.1"):
        prove_ownership(target("http://gateway.test"), resolve=names("127.0.0.1", "192.0.2.1"), fetch=never)


def test_a_listed_address_must_also_show_the_token() -> None:
    listed = target("http://gateway.test:81", "[192.0.2.0/24]", OWNED)
    asked: list[tuple[str, int, str, object]] = []

    def answers(text: str):  # type: ignore[no-untyped-def]
        return lambda *where: asked.append(where) or text

    vet = prove_ownership(listed, resolve=names("192.0.2.1"), fetch=answers(TOKEN + "\n"))
    assert asked == [("192.0.2.1", 81, "gateway.test", None)]
    vet("192.0.2.1")
    with pytest.raises(SafetyError, match="has not answered the challenge"):
        vet("192.0.2.2")
    with pytest.raises(SafetyError, match="expected loopback"):
        vet("198.51.100.1")
    with pytest.raises(SafetyError, match="another token"):
        prove_ownership(listed, resolve=names("192.0.2.1"), fetch=answers("no"))


def test_a_listed_address_without_a_token_or_an_answer_is_refused() -> None:
    with pytest.raises(SafetyError, match=r"`ownership\.token` is not set"):
        prove_ownership(target("http://g.test", "[192.0.2.1]"), resolve=names("192.0.2.1"), fetch=never)

    def silent(*_: object) -> str:
        raise ConnectionRefusedError("refused")

    listed = target("http://g.test", "[192.0.2.1]", OWNED)
    with pytest.raises(SafetyError, match="did not answer"):
        prove_ownership(listed, resolve=names("192.0.2.1"), fetch=silent)


def test_allow_lists_addresses_and_narrow_networks_only() -> None:
    with pytest.raises(PlanError) as caught:
        parse_allow(["0.0.0.0/0", "nonsense", "::/0", "192.0.2.0/24"])
    assert [problem.where for problem in caught.value.problems] == ["allow[0]", "allow[1]", "allow[2]"]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "localhost"])
def test_odd_spellings_are_judged_by_what_they_resolve_to(host: str) -> None:
    vet = prove_ownership(target(f"http://{host}:8080"), fetch=never)
    vet("127.0.0.1")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70])
def test_a_name_that_stands_for_nothing_is_said(host: str) -> None:
    with pytest.raises(TargetError, match="got no address for this name"):
        prove_ownership(target(f"http://{host}"), fetch=never)


def test_what_names_no_single_machine_is_refused_even_when_listed() -> None:
    for ip, allow in (("0.0.0.0", "[0.0.0.0]"), ("224.0.0.1", "[224.0.0.0/24]"), ("::", '["::"]')):
        with pytest.raises(SafetyError, match="expected loopback"):
            prove_ownership(target("http://g.test", allow, OWNED), resolve=names(ip), fetch=never)


def test_a_certificate_that_is_none_is_a_wrong_plan() -> None:
    listed = target("https://g.test", "[192.0.2.1]", f"{OWNED}\ntls: {{ca: /no/such.pem}}")
    with pytest.raises(PlanError, match=r"tls: got /no/such\.pem \(No such file"):
        prove_ownership(listed, resolve=names("192.0.2.1"), fetch=never)


def test_https_hands_the_fetcher_a_context_that_verifies() -> None:
    seen: list[ssl.SSLContext] = []

    def answers(ip: str, port: int, host: str, tls: ssl.SSLContext | None) -> str:
        assert port == 443
        assert tls is not None
        seen.append(tls)
        return TOKEN

    prove_ownership(target("https://g.test", "[192.0.2.1]", OWNED), resolve=names("192.0.2.1"), fetch=answers)
    lax = target("https://g.test", "[192.0.2.1]", f"{OWNED}\ntls: {{verify: false}}")
    prove_ownership(lax, resolve=names("192.0.2.1"), fetch=answers)
    assert [one.verify_mode for one in seen] == [ssl.CERT_REQUIRED, ssl.CERT_NONE]


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ("services: {a: {metrics: 'http://beside.test/metrics'}}", "services.a.metrics"),
        ("services: {a: {health: 'http://beside.test/'}}", "services.a.health"),
        ("policies: {metrics: {url: 'http://beside.test/metrics'}}", "policies.metrics.url"),
        ("policies: {metrics: {prometheus: 'https://beside.test'}}", "policies.metrics.prometheus"),
        ("policies: {audit: {loki: 'http://beside.test:3100'}}", "policies.audit.loki"),
        (
            "services: {a: {}}\nfaults: {a: {driver: proxy, control: 'http://beside.test:1'}}",
            "faults.a.control",
        ),
        (
            "services: {a: {}}\nfaults: {a: {driver: toxiproxy, api: 'http://beside.test:1', proxy: p}}",
            "faults.a.api",
        ),
    ],
)
def test_what_is_asked_beside_the_target_is_checked_too(more: str, place: str) -> None:
    def of(host: str, port: int) -> list[str]:
        return ["192.0.2.9"] if host == "beside.test" else ["127.0.0.1"]

    with pytest.raises(SafetyError, match=f"{place}: got the address 192.0.2.9, expected loopback"):
        prove_ownership(target("http://g.test", ownership=more), resolve=of, fetch=never)
    prove_ownership(target("http://g.test", "[192.0.2.9]", more), resolve=of, fetch=never)


@contextmanager
def answering(*parts: bytes, endless: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """Serve one connection with these bytes, again and again where `endless`; yield the port and what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(4_096))
                try:
                    for part in parts:
                        connection.sendall(part)
                    while endless:
                        connection.sendall(parts[-1])
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], asked
        finally:
            thread.join(10)
            assert not thread.is_alive()


def test_the_challenge_is_fetched_from_the_very_address() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", b"\r\nye", b"s\n") as (port, asked):
        assert fetch_challenge("127.0.0.1", port, "gateway.test", None) == "yes\n"
    assert asked[0].startswith(b"GET /.well-known/proofload.txt HTTP/1.1\r\nHost: gateway.test:")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"SSH-2.0-none\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP answer"),
        (b"", "no HTTP answer"),
    ],
)
def test_an_answer_that_is_none_proves_nothing(answer: bytes, told: str) -> None:
    with answering(answer) as (port, _), pytest.raises(OSError, match=told):
        fetch_challenge("127.0.0.1", port, "gateway.test", None)


def test_an_answer_without_end_is_cut() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100, endless=True) as (port, _),
        pytest.raises(OSError, match="no end"),
    ):
        fetch_challenge("127.0.0.1", port, "gateway.test", None)


def test_who_stays_silent_is_waited_for_no_longer_than_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership_challenge, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(OSError, match="timed out"):
        fetch_challenge("127.0.0.1", server.getsockname()[1], "gateway.test", None)
