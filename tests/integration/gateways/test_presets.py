"""The presets, put to real gateways: right declarations PASS, and one that promises twice the limit FAILs."""

import pytest
from tests.integration.gateways.conftest import Prove

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gateways")]


@pytest.mark.parametrize("name", ["haproxy", "traefik", "envoy"])
def test_a_preset_passes_on_its_gateway(name: str, prove: Prove) -> None:
    ran = prove(name, "TC-RL-001", "TC-RL-002")
    # Traefik alone tells its clients something: Retry-After.
    headers = "PASS" if name == "traefik" else "SKIPPED"
    assert ran.outcomes() == {"TC-RL-001": "PASS", "TC-RL-002": headers}, ran.out
    assert ran.status == 0


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nginx", {"limit: 10\n": "limit: 20\n", "burst: 21": "burst: 42"}),
        ("haproxy", {"limit: 20": "limit: 40"}),
        ("traefik", {"limit: 10\n": "limit: 20\n", "      burst: 20": "      burst: 40"}),
        ("envoy", {"limit: 10\n": "limit: 20\n", "burst: 20": "burst: 40"}),
    ],
    ids=["nginx", "haproxy", "traefik", "envoy"],
)
def test_a_limit_declared_twice_as_high_fails(name: str, changes: dict[str, str], prove: Prove) -> None:
    ran = prove(name, "TC-RL-001", changes=changes)
    assert ran.status == 10, ran.out
    assert "rl.wrongful_rejection" in ran.rules("TC-RL-001")


def test_a_refill_declared_twice_as_quick_or_slow_fails(prove: Prove) -> None:
    quick = prove("nginx", "TC-RL-001", changes={"limit: 10\n": "limit: 20\n"})
    assert quick.rules("TC-RL-001") == {"rl.wrongful_rejection"}
    slow = prove("nginx", "TC-RL-001", changes={"limit: 10\n": "limit: 5\n"})
    assert "rl.over_admission" in slow.rules("TC-RL-001")


def test_controls_that_are_not_declared_are_skipped_with_the_reason(prove: Prove) -> None:
    ran = prove("nginx")
    outcomes = ran.outcomes()
    assert outcomes["TC-RL-001"] == "PASS", ran.out
    for case in ("TC-CB-001", "TC-MON-001", "TC-AUDIT-001", "TC-LOCK-001"):
        assert outcomes[case] == "SKIPPED"
    skipped = [one for one in ran.json["verdicts"] if one["outcome"] == "SKIPPED"]
    assert all("declares no" in one["reason"] or "prerequisite" in one["reason"] for one in skipped), skipped
    assert not {"FAIL", "ERROR"} & set(outcomes.values()), ran.out
