"""Exported scripts, run by the real k6 against a real nginx: green where the limit holds, red where it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from importlib import resources
from pathlib import Path

import pytest
from tests.integration.gateways import servers
from tests.integration.k6.test_judged import Start

from proofload.cases.k6.scripts import k6_script
from proofload.core.errors import PlanError
from proofload.demo.reference_system import ReferenceSystem
from proofload.plan.reader import parse_target
from proofload.plan.target import Target

pytestmark = pytest.mark.xdist_group("k6")
_THRESHOLDS_CROSSED = 99


def declared(address: str, changes: dict[str, str] | None = None, policies: str = "") -> Target:
    text = (resources.files("proofload.plan.presets") / "nginx.yaml").read_text(encoding="utf-8")
    text = text.replace("${env:NGINX_ADDRESS}", address).replace("path: /api/", "path: /api/read") + policies
    for old, new in (changes or {}).items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse_target(text, "test", {})


def status_of(case: str, start: Start, folder: Path, changes: dict[str, str] | None = None, policies: str = "") -> int:
    with start(folder / "server") as address:
        script = folder / "script.js"
        script.write_text(k6_script(case, declared(address, changes, policies)), encoding="utf-8")
        command = [str(Path(sys.executable).parent / "k6"), "run", "--quiet", "--no-usage-report", str(script)]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90)
    return ran.returncode


def test_the_limit_that_holds_is_green(tmp_path: Path) -> None:
    assert status_of("TC-RL-001", servers.nginx, tmp_path) == 0


def test_no_limiter_is_red(tmp_path: Path) -> None:
    assert status_of("TC-RL-001", servers.upstream, tmp_path) == _THRESHOLDS_CROSSED


def test_a_limiter_that_admits_more_than_declared_is_red(tmp_path: Path) -> None:
    assert status_of("TC-RL-001", servers.nginx, tmp_path, {"burst: 21": "burst: 10"}) == _THRESHOLDS_CROSSED


def test_a_limiter_that_admits_less_than_declared_is_red(tmp_path: Path) -> None:
    assert status_of("TC-RL-001", servers.nginx, tmp_path, {"burst: 21": "burst: 35"}) == _THRESHOLDS_CROSSED


def test_the_script_for_latency_is_one_that_k6_reads(tmp_path: Path) -> None:
    promised = "  latency: {operations: [read], p99_within: 200ms}\n"
    script = tmp_path / "script.js"
    script.write_text(k6_script("TC-LATENCY-001", declared("http://127.0.0.1:9", policies=promised)), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "k6"), "inspect", str(script)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    assert told["thresholds"]["http_req_duration{scenario:operation_0}"] == ["p(99)<=200"]
    assert told["thresholds"]["http_reqs{scenario:operation_0}"] == ["count>=400"]
    assert told["scenarios"]["operation_0"]["rate"] == 14


# And the network that its users come from: no script may meet a limit that another has used up.
SCRIPTS = {"TC-RL-002": 1, "TC-LOCK-001": 2, "TC-MON-001": 3, "TC-LATENCY-001": 4}
DEFECTS = ("rl.remaining_one_too_many", "lock.contention_counted_as_done", "mon.double_counted")


@pytest.mark.parametrize("defects", [(), DEFECTS], ids=["honest", "broken"])
def test_on_the_reference_system_scripts_are_green_and_with_a_defect_each_red(
    defects: tuple[str, ...], tmp_path: Path
) -> None:
    settings = {"GATEWAY_RATE_WINDOW": "5", "LOCK_HOLD": "0.1"}
    text = (resources.files("proofload.plan.presets") / "ordersystem.yaml").read_text(encoding="utf-8")
    # The operations that exclude each other would need a user for each of k6's. No system answers within 1 ms here.
    within = "1ms" if defects else "5s"
    measured = "operations: [login, profile, balance, deposit, withdraw, order, orders]"
    assert measured in text
    text = text.replace(measured, f"operations: [profile, orders]\n    p99_within: {within}")
    with ReferenceSystem.start(tmp_path / "system", defects=defects, settings=settings) as system:
        target = parse_target(text, "ordersystem.yaml", system.environ("5"))
        token = token_of(system.ready.gateway)
        environ = {**os.environ, "TOKEN": json.dumps([token, token])}
        statuses, printed = {}, ""
        for case, network in SCRIPTS.items():
            script = tmp_path / f"{case}.js"
            # Half a minute of latency is for people; a few seconds show as much here.
            told = k6_script(case, target).replace('"30s"', '"4s"').replace("count>=400", "count>=50")
            script.write_text(told, encoding="utf-8")
            sources = f"127.30.{network}.1-127.30.{network}.200"
            command = [str(Path(sys.executable).parent / "k6"), "run", "--quiet", "--no-usage-report"]
            command += ["--local-ips", sources, str(script)]
            ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90)
            statuses[case] = ran.returncode
            printed += f"{case}\n{ran.stdout}{ran.stderr}"
    assert statuses == dict.fromkeys(SCRIPTS, _THRESHOLDS_CROSSED if defects else 0), printed


def token_of(gateway: str) -> str:
    """Return the token of a new user."""
    who = json.dumps({"username": "load_test_user_1", "password": "correct-horse-1"}).encode()
    for name in ("register", "login"):
        asked = urllib.request.Request(
            f"{gateway}/api/v1/auth/{name}", data=who, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            told = json.load(answer)
    return str(told["access_token"])


def test_nothing_of_the_target_becomes_code() -> None:
    hostile = {"path: /api/read": 'path: "/api/\\"+evil()+\\"${user.name}`${`"'}
    script = k6_script("TC-RL-001", declared("http://127.0.0.1:9", hostile))
    assert '"http://127.0.0.1:9/api/\\"+evil()+\\"" + encodeURIComponent(own("USER_NAME")) + "`${`"' in script


def test_what_k6_cannot_do_or_is_not_declared_is_refused() -> None:
    target = declared("http://127.0.0.1:9")
    with pytest.raises(PlanError, match="beyond k6"):
        k6_script("TC-CB-001", target)
    with pytest.raises(PlanError, match=r"policies\.locks"):
        k6_script("TC-LOCK-001", target)
    with pytest.raises(PlanError, match=r"policies\.metrics\.url"):
        k6_script("TC-MON-001", target)
    with pytest.raises(PlanError, match=r"policies\.rate_limit\.headers"):
        k6_script("TC-RL-002", target)
    flows = declared(
        "http://127.0.0.1:9", {"      headers: {limit: null, remaining: null, reset: null, retry_after: null}\n": ""}
    )
    with pytest.raises(PlanError, match="flows in all the time"):
        k6_script("TC-RL-002", flows)
    with pytest.raises(PlanError, match="no case"):
        k6_script("NONSENSE", target)
    with pytest.raises(PlanError, match=r"policies\.latency"):
        k6_script("TC-LATENCY-001", target)
