"""doctor, explain, and the examples that --help shows."""

import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import typer.main

from proofload.cli.main import app
from proofload.demo.reference_system import ReferenceSystem
from tests.e2e.cli import proofload


def leaves(group: Any, prefix: str = "") -> dict[str, Any]:
    """Return every command by its words, those of groups among them."""
    found: dict[str, Any] = {}
    for name, command in vars(group)["commands"].items():
        words = f"{prefix}{name}"
        found |= leaves(command, f"{words} ") if "commands" in vars(command) else {words: command}
    return found


COMMANDS = leaves(typer.main.get_command(app))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_examples_that_parse(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = COMMANDS[name]
    examples = re.findall(r"`(proofload [^`]*)`", command.epilog or "")
    assert examples, f"{name} --help shows no example"
    monkeypatch.chdir(tmp_path)
    for example in examples:
        words = shlex.split(example)
        asked = name.split()
        assert words[: len(asked) + 1] == ["proofload", *asked], example
        # Parsed as the command line does it; every option and argument has to be one that there is.
        command.make_context(name, words[len(asked) + 1 :])


def test_the_examples_of_what_needs_no_target_run(tmp_path: Path) -> None:
    for example in ("explain rl.over_admission", "cases TC-RL-001", "recover", "doctor"):
        ran = proofload(*example.split(), cwd=tmp_path)
        assert ran.status == 0, (example, ran.err)


def test_explain_lists_finds_and_suggests(tmp_path: Path) -> None:
    told = proofload("explain", "cb.never_opens", cwd=tmp_path)
    assert "likely causes" in told.out
    assert "what to do" in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    assert "INCONCLUSIVE where" in proofload("explain", "delivery.answered", cwd=tmp_path).out
    assert len(proofload("explain", cwd=tmp_path).out.splitlines()) > 80
    assert {line.split(".")[0] for line in proofload("explain", "lock.", cwd=tmp_path).out.splitlines()} == {"lock"}
    wrong = proofload("explain", "rl.overadmission", cwd=tmp_path)
    assert wrong.status == 12
    assert "did you mean rl.over_admission?" in wrong.err


def test_doctor_looks_at_all_that_a_target_names(tmp_path: Path) -> None:
    preset = (resources.files("proofload.plan.presets") / "ordersystem.yaml").read_text(encoding="utf-8")
    with ReferenceSystem.start(tmp_path / "system") as system:
        for name, value in system.environ("60").items():
            preset = preset.replace(f"${{env:{name}}}", value)
        (tmp_path / "proofload.yaml").write_text(preset)
        well = proofload("doctor", "--redis", system.ready.redis, "--json", cwd=tmp_path)
        assert well.status == 0, well.out
        states = {one["name"]: one["state"] for one in well.json["checks"]}
        names = ("clock", "file descriptors", "Redis", "target", "permission", "order health", "metrics", "fault order")
        assert {states[name] for name in names} <= {"ok", "warn"}, states
    ill = proofload("doctor", "--redis", "127.0.0.1:1", cwd=tmp_path)
    assert ill.status == 13
    assert re.search(r"^bad  Redis +127.0.0.1:1: Connection refused$", ill.out, re.MULTILINE)
    assert re.search(r"^bad  target .*Connection refused$", ill.out, re.MULTILINE)
    assert "do: is it started, is `address` right?" in ill.out
    (tmp_path / "proofload.yaml").write_text(preset.replace(system.ready.gateway, "http://192.0.2.7"))
    refused = proofload("doctor", cwd=tmp_path)
    assert refused.status == 13
    assert re.search(r"^bad  permission +.*expected loopback", refused.out, re.MULTILINE)
