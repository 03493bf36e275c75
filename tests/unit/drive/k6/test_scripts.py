"""Scripts for k6: nothing of the target becomes code, and every kind of workload has its executor or its reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.core.errors import UnfitEngineError
from proofload.core.units import NS_PER_SECOND as S
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.k6.scripts import to_script, why_not
from proofload.plan import workload as plan
from proofload.plan.operation import Operation

OPERATIONS = {"op": Operation(name="op", path="/x/${user.name}", headers={"X-Y": "${user.name}"}, body="${user.name}")}


def facts(workload: plan.AnyWorkload, **more: Any) -> dict[str, Any]:
    endpoint = Endpoint.of("http://shop.test:8080")
    script = to_script(workload, OPERATIONS, endpoint, address="127.0.0.1", id_prefix="p-", **more)
    first, rest = script.split("\n", 1)
    told: dict[str, Any] = json.loads(first.removeprefix("const FACTS = ").removesuffix(";"))
    assert rest.startswith("import http from 'k6/http';")
    return told


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_what_a_user_is_called_stands_in_one_json_document_on_one_line(name: str) -> None:
    told = facts(plan.Sequence(name="w", run="op", n=1, identities=[{"name": name}]))
    (request,) = told["requests"]
    assert request["body"] == name
    assert request["headers"]["X-Y"] == name


@pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript engine here")
def test_a_hostile_name_is_data_to_a_real_javascript_engine(tmp_path: Path) -> None:
    name = '"+process.exit(7)+"`${process.exit(7)}`</script>\u2028process.exit(7)//\\'
    endpoint = Endpoint.of("http://shop.test:8080")
    load = plan.Sequence(name="w", run="op", n=1, identities=[{"name": name}])
    first = to_script(load, OPERATIONS, endpoint, address="127.0.0.1", id_prefix="p-").split("\n", 1)[0]
    (tmp_path / "facts.js").write_text(f"{first}\nconsole.log(JSON.stringify(FACTS.requests[0].body))\n")
    done = subprocess.run(["node", str(tmp_path / "facts.js")], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == name


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (plan.ConstantUsers(name="w", run="op", users=3, for_ns=2 * S), {"executor": "constant-vus", "vus": 3}),
        (
            plan.RampingUsers(name="w", run="op", stages=(plan.Stage(S, 5),), start=2),
            {"executor": "ramping-vus", "startVUs": 2, "stages": [{"duration": "1000ms", "target": 5}]},
        ),
        (plan.SharedIterations(name="w", run="op", users=2, iterations=9), {"executor": "shared-iterations"}),
        (plan.PerUserIterations(name="w", run="op", users=2, iterations=9), {"iterations": 9, "vus": 2}),
        (plan.Sequence(name="w", run="op", n=4), {"executor": "per-vu-iterations", "vus": 1, "iterations": 4}),
    ],
)
def test_every_closed_kind_has_its_executor(load: plan.AnyWorkload, told: dict[str, Any]) -> None:
    made = facts(replace(load, identities=[{"name": "load_test_x"}], start_after_ns=S), rate_per_second=7)
    scenario = made["options"]["scenarios"]["load"]
    assert told.items() <= scenario.items()
    assert scenario["startTime"] == "1000ms"
    # k6 says nothing of what its end cuts off, so it waits longer than any request may take.
    assert scenario["gracefulStop"] == "11000ms"
    assert made["options"]["hosts"] == {"shop.test": "127.0.0.1"}
    assert made["options"]["rps"] == 7


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (plan.Burst(name="w", run="op", n=2), "burst"),
        (plan.ConstantRate(name="w", run="op", rate=1, for_ns=S), "due"),
        (plan.PoissonArrivals.at(1, S, name="w", run="op"), "due"),
        (plan.Sequence(name="w", run="/plain", n=1), "declared"),
        (plan.Sequence(name="w", run="op", n=1, data=[{"a": 1}]), "feed"),
        (plan.ConstantUsers(name="w", run="op", users=9_999, for_ns=S), "memory"),
    ],
)
def test_what_k6_cannot_do_has_its_reason(load: plan.AnyWorkload, why: str) -> None:
    assert why in why_not(load, OPERATIONS)
    with pytest.raises(UnfitEngineError, match="own engine"):
        facts(load)
