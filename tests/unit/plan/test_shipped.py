"""What is shipped beside the code says what the code says: schemas, presets, the reference of keys."""

import json
import re
from importlib import resources
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from scripts.generate import DOCS, files, tables

from proofload.plan.reader import from_resolved, parse_target, read_target, resolved
from proofload.plan.schema import target_schema

PRESETS = sorted(
    (one for one in resources.files("proofload.plan.presets").iterdir() if one.name.endswith(".yaml")),
    key=lambda one: one.name,
)
DURATIONS = re.compile(r"(?:window|open_for|\w+_within|\w+_after|holds_at_least): \$\{env:(\w+)\}")


def environ_for(text: str) -> dict[str, str]:
    """Return a value for every variable that a preset asks for: most are addresses, some are durations."""
    environ = dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", text), "http://127.0.0.1:8080")
    return environ | dict.fromkeys(DURATIONS.findall(text), "60s")


@pytest.mark.parametrize(("path", "text"), list(files()), ids=lambda one: one.name if isinstance(one, Path) else "")
def test_what_follows_from_the_code_is_up_to_date(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run: python scripts/generate.py"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda one: one.name)
def test_every_preset_is_read_and_fits_the_schema(preset: Path) -> None:
    text = preset.read_text(encoding="utf-8")
    target = parse_target(text, preset.name, environ_for(text))
    assert target.policies.rate_limit
    assert resolved(from_resolved(resolved(target))) == resolved(target)
    jsonschema_rs.validate(target_schema(), yaml.safe_load(text))


def test_the_presets_are_known() -> None:
    assert [one.stem for one in map(Path, (one.name for one in PRESETS))] == [
        "envoy",
        "haproxy",
        "nginx",
        "ordersystem",
        "traefik",
    ]


def test_the_schema_is_one_and_marks_mistakes() -> None:
    schema = target_schema()
    jsonschema_rs.meta.validate(schema)
    good = {"version": 1, "address": "http://127.0.0.1", "operations": {"a": {"path": "/", "timeout": "1s"}}}
    assert jsonschema_rs.is_valid(schema, good)
    for wrong in (
        {**good, "adress": "x"},
        {**good, "version": 2},
        {**good, "operations": {}},
        {**good, "operations": {"a": {"path": "/", "timeout": 1}}},
        {**good, "operations": {"a": {"path": "/", "timeout": "1 fortnight"}}},
        {**good, "operations": {"a": {"path": "/", "name": "a"}}},
        {**good, "faults": {"a": {"driver": "magic"}}},
        {**good, "policies": {"rate_limit": [{"limit": 0, "window": "1s", "probe": "a"}]}},
    ):
        assert not jsonschema_rs.is_valid(schema, wrong), wrong


def test_every_key_is_documented() -> None:
    rows = [line for line in tables(target_schema()).splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    undocumented = [row for row in rows if row.endswith(("|  |", "| Says which kind it is. |"))]
    assert [row for row in undocumented if not row.startswith("| `driver` |")] == []


def test_the_example_in_the_documentation_is_read(tmp_path: Path) -> None:
    example = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "proofload.yaml").write_text(example, encoding="utf-8")
    assert read_target(tmp_path / "proofload.yaml", {}).policies.rate_limit[0].limit == 100


def test_schemas_are_inside_the_package() -> None:
    for name in ("target", "result"):
        shipped = resources.files("proofload") / "schemas" / f"{name}.schema.json"
        assert json.loads(shipped.read_text(encoding="utf-8"))["$id"].startswith(f"urn:proofload:schema:{name}:")
