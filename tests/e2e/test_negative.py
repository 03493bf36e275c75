"""What must not happen, on the real reference system: the honest one is never accused, each defect by its own case."""

from pathlib import Path

import pytest

from proofload.demo.reference_system import ReferenceSystem
from tests.e2e.cli import decided, proofload

NEGATIVE = tuple(f"TC-NEG-{number:03}" for number in range(1, 11))
FURTHER = ("TC-RL-003", "TC-RL-004", "TC-CB-004", "TC-CB-005", "TC-CB-006", "TC-CB-007")
# Nothing in these hangs on how fast the machine is just now.
UNHURRIED = {"TC-NEG-004", "TC-NEG-005", "TC-NEG-007", "TC-NEG-008", "TC-CB-004"}
BROKEN = {
    "rl.trusts_forwarded_for": "TC-NEG-003",
    "cb.counts_client_errors": "TC-NEG-004",
    "lock.global": "TC-NEG-007",
    "audit.password_logged": "TC-NEG-008",
    "rl.health_limited": "TC-NEG-009",
}


def test_the_honest_system_is_never_accused(tmp_path: Path) -> None:
    command = ("demo", *NEGATIVE, *FURTHER, "--window", "3s", "--json")
    ran = decided(*command, cwd=tmp_path, of=UNHURRIED, timeout_s=180)
    told = ran.outcomes()
    assert set(told) == {*NEGATIVE, *FURTHER}
    assert "FAIL" not in told.values(), ran.out
    assert "ERROR" not in told.values(), ran.out
    assert {case for case in UNHURRIED if told[case] != "PASS"} == set(), ran.out
    assert sum(outcome == "PASS" for outcome in told.values()) >= len(told) - 4, told


def test_each_defect_fails_its_own_case(tmp_path: Path) -> None:
    defects = [word for defect in BROKEN for word in ("--defect", defect)]
    cases = ("TC-NEG-001", *BROKEN.values())
    command = ("demo", *cases, *defects, "--window", "3s", "--json")
    ran = decided(*command, cwd=tmp_path, of=BROKEN.values(), timeout_s=180)
    told = ran.outcomes()
    assert {case for case, outcome in told.items() if outcome == "FAIL"} == set(BROKEN.values()), ran.out
    assert ran.status == 10
    assert ran.rules("TC-NEG-003") >= {"rl.evasion"}
    assert ran.rules("TC-NEG-004") == {"cb.opens_early"}
    assert ran.rules("TC-NEG-007") == {"lock.users_contend"}
    assert ran.rules("TC-NEG-008") == {"audit.secret"}
    assert ran.rules("TC-NEG-009") == {"rl.exempt_limited"}


LIMITS = """\
version: 1
address: {gateway}
users: {{register: register, login: login}}
operations:
  register:
    method: POST
    path: /api/v1/auth/register
    json: &who {{username: "${{user.name}}", password: "${{user.password}}"}}
    service: auth
  login: {{method: POST, path: /api/v1/auth/login, json: *who, service: auth}}
  profile: {{path: /api/v1/auth/profile, auth: bearer, service: auth}}
  balance: {{path: /api/v1/balance, auth: bearer, service: user}}
  orders: {{path: /api/v1/orders, auth: bearer, service: order}}
services: {{auth: {{}}, user: {{}}, order: {{}}}}
policies:
  rate_limit:
    - {{limit: 300, window: 5s, probe: orders}}
    - {{name: user, service: user, limit: {user}, window: 5s, probe: balance, applies_to: ["/api/v1/balance"]}}
    - {{name: auth, service: auth, limit: 100, window: 5s, probe: profile, applies_to: ["/api/v1/auth/*"]}}
"""
SETTINGS = {
    "GATEWAY_RATE_LIMIT": "300",
    "GATEWAY_RATE_LIMIT_USER": "50",
    "GATEWAY_RATE_LIMIT_AUTH": "100",
    "GATEWAY_RATE_WINDOW": "5",
}


@pytest.mark.parametrize("system", [SETTINGS], indirect=True)
def test_limits_of_single_services_on_ones_own_target(tmp_path: Path, system: ReferenceSystem) -> None:
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text(LIMITS.format(gateway=system.ready.gateway, user=50))
    wrong.write_text(LIMITS.format(gateway=system.ready.gateway, user=80))
    ran = proofload("run", "TC-RL-003", "--target", right, "--json", cwd=tmp_path)
    assert ran.outcomes()["TC-RL-003"] in ("PASS", "INCONCLUSIVE"), ran.out
    ran = decided("run", "TC-RL-003", "--target", wrong, "--json", cwd=tmp_path)
    assert ran.outcomes() == {"TC-RL-003": "FAIL"}
    assert "rl.wrongful_rejection" in ran.rules("TC-RL-003")
