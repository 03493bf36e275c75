"""Cases of one's own: found in a file, driven, judged, judged again from the bundle; each mistake is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from proofload.demo.reference_system import ReferenceSystem
from tests.e2e.cli import decided, proofload
from tests.e2e.conftest import TARGET

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_case.py"
BALANCE = "policies:"
WITH_BALANCE = "  balance: {{path: /api/v1/balance, auth: bearer, keep_body: true}}\npolicies:"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ReferenceSystem.start(tmp_path_factory.mktemp("own"), settings={"GATEWAY_RATE_WINDOW": "3"}) as system:
        yield system.ready.gateway


def target(folder: Path, gateway: str, text: str = TARGET.replace(BALANCE, WITH_BALANCE)) -> None:
    (folder / "proofload.yaml").write_text(text.format(gateway=gateway, limit=100, more=""))


def test_the_example_passes_and_is_judged_again(tmp_path: Path, gateway: str) -> None:
    target(tmp_path, gateway)
    ran = decided("run", "--cases", EXAMPLE, "--json", cwd=tmp_path)
    assert ran.outcomes() == {"SHOP-001": "PASS"}, ran.out
    bundle = ran.json["bundle"]
    again = proofload("judge", bundle, "--cases", EXAMPLE, "--json", cwd=tmp_path)
    assert again.json["verdicts"][0]["findings"] == ran.json["verdicts"][0]["findings"]
    without = proofload("judge", bundle, cwd=tmp_path)
    assert without.status == 12
    assert "got the case SHOP-001" in without.err
    assert "--cases" in without.err


def test_what_is_not_declared_is_skipped(tmp_path: Path, gateway: str) -> None:
    target(tmp_path, gateway, TARGET)
    ran = proofload("run", "--cases", EXAMPLE, "--json", cwd=tmp_path)
    (verdict,) = ran.json["verdicts"]
    assert verdict["outcome"] == "SKIPPED"
    assert verdict["reason"] == "the target declares no balance (operations.balance)"


def test_the_case_is_listed_and_explained(tmp_path: Path) -> None:
    assert "SHOP-001" in proofload("cases", "--cases", EXAMPLE, cwd=tmp_path).out
    told = proofload("cases", "SHOP-001", "--cases", EXAMPLE, cwd=tmp_path).out
    assert "Ten sessions of one user read the balance" in told
    assert "SHOP-001" not in proofload("cases", cwd=tmp_path).out


HEAD = "from proofload.api import case\n"
CASE = "@case({id!r}, 'x')\nasync def mine(run, target): ...\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "mine.py: got no case, expected a function under @case(...)"),
        ("x = 1 / 0\n", "mine.py:1: got ZeroDivisionError: division by zero, expected a file that can be run"),
        (HEAD + CASE.format(id="X-1"), "X-1: got no judge, expected a function under @NAME.judge"),
        (HEAD + CASE.format(id="x"), "case: got 'x', expected an id such as SHOP-001"),
        (
            HEAD + CASE.format(id="TC-RL-001") + "@mine.judge\ndef judge(evidence, target): ...\n",
            "TC-RL-001: got an id that another case has",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_said(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    ran = proofload("cases", "--cases", "mine.py", cwd=tmp_path)
    assert ran.status == 12
    assert told in ran.err
