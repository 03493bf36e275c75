"""Write what follows from the code into the files that show it: the JSON Schemas and the tables of docs/target.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proofload.plan.schema import target_schema
from proofload.report.schema import result_schema

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- keys: begin, written by scripts/generate.py -->", "<!-- keys: end -->"
DOCS = ROOT / "docs" / "target.md"
SCHEMAS = {"target": target_schema, "result": result_schema}
_DRIVER = " (driver)"
_SAYS_KIND = "Says which kind it is."
_FOLDER = ROOT / "src" / "proofload" / "schemas"


def files() -> Iterator[tuple[Path, str]]:
    """Return every file that follows from the code, with what must be in it."""
    for name, make in SCHEMAS.items():
        text = json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
        yield _FOLDER / f"{name}.schema.json", text
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    yield DOCS, f"{before}{BEGIN}\n{tables(target_schema())}{END}{rest.partition(END)[2]}"


def tables(schema: Mapping[str, Any]) -> str:
    """Return a Markdown table for each mapping that a target file may hold, the outermost first."""
    return "\n".join(_table(heading, part, schema) for heading, part in _parts(schema)) + "\n"


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return each mapping once, at the first place where it stands, breadth first."""
    queue: list[tuple[str, Mapping[str, Any]]] = [("", schema)]
    seen: set[str] = set()
    while queue:
        place, part = queue.pop(0)
        yield place or "The file", part
        for key, inner in part.get("properties", {}).items():
            for suffix, name in _models(inner):
                if name not in seen:
                    seen.add(name)
                    below = schema["$defs"][name]
                    shown = suffix.replace(_DRIVER, f" (driver: {_driver(below)})")
                    queue.append((f"{place}.{key}{shown}".lstrip("."), below))


def _models(schema: Mapping[str, Any], suffix: str = "") -> Iterator[tuple[str, str]]:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name and name != "Variable":
        yield suffix, name
    for inner in schema.get("anyOf", ()):
        yield from _models(inner, suffix)
    for inner in schema.get("oneOf", ()):
        yield from _models(inner, f"{suffix}{_DRIVER}")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _models(schema["additionalProperties"], ".NAME")
    if "items" in schema:
        yield from _models(schema["items"], "[]")


def _driver(part: Mapping[str, Any]) -> str:
    return str(part["properties"].get("driver", {}).get("const", ""))


def _table(heading: str, part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    title = heading if heading == "The file" else f"`{heading}`"
    lines = [f"### {title}", "", part.get("description", ""), ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, inner in part.get("properties", {}).items():
        default = "required" if key in part.get("required", ()) else _default(inner)
        lines.append(f"| `{key}` | {_type(inner)} | {default} | {inner.get('description', _SAYS_KIND)} |")
    return "\n".join([*lines, ""])


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return "empty"
    value = schema["default"]
    if isinstance(value, Mapping):
        return "see below"
    return "empty" if value in ([], "") else f"`{json.dumps(value, ensure_ascii=False)}`".replace('"', "")


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        kinds = [_type(one) for one in schema["anyOf"] if "Variable" not in one.get("$ref", "")]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in schema or "oneOf" in schema:
        return "mapping"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        return f"mapping of {_type(schema['additionalProperties'])}"
    return _scalar(schema)


def _scalar(schema: Mapping[str, Any]) -> str:
    if "examples" in schema:
        return "duration"
    if "pattern" in schema and "http" in schema["pattern"]:
        return "URL"
    named = {"string": "text", "integer": "number", "number": "number", "boolean": "true or false", "null": "null"}
    name = named.get(schema.get("type", ""), "any")
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{name}, {low:,} to {high:,}"
    return name if low is None else f"{name}, at least {low:,}"


def main() -> int:
    """Write every file that is not up to date."""
    for path, text in files():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
