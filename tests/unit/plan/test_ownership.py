"""Nothing but loopback is loaded unless it is listed and has shown the owner's token."""

import pytest

from proofload.core.errors import PlanError, SafetyError
from proofload.plan.ownership import parse_allow, prove_ownership
from proofload.plan.reader import parse_target
from proofload.plan.target import Target

TOKEN = "the-owner-says-yes"


def target(address: str, allow: str = "[]", ownership: str = "") -> Target:
    text = f"version: 1\naddress: {address}\nallow: {allow}\n{ownership}\noperations: {{a: {{path: /}}}}\n"
    return parse_target(text, "t.yaml", {})


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
    listed = target("http://gateway.test:81", "[192.0.2.0/24]", f"ownership: {{token: {TOKEN}}}")
    asked: list[tuple[str, int, str, bool]] = []

    def answers(text: str):  # type: ignore[no-untyped-def]
        return lambda *where: asked.append(where) or text

    vet = prove_ownership(listed, resolve=names("192.0.2.1"), fetch=answers(TOKEN + "\n"))
    assert asked == [("192.0.2.1", 81, "gateway.test", False)]
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

    listed = target("http://g.test", "[192.0.2.1]", f"ownership: {{token: {TOKEN}}}")
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
