"""What ARCHITECTURE.md and the contributors' guides name exists, and what exists is in them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from tests.unit.sources import modules

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "proofload"
GUIDES = sorted((ROOT / "docs" / "contributing").glob("*.md"))
PAGES = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *GUIDES]
TEXT = PAGES[0].read_text(encoding="utf-8")

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*(/|\.(py|md|yaml|yml|toml|lock|json))(::\w+(\.\w+)*)?")
_OURS = re.compile(r"(?<![\w/.-])(?:src|tests|scripts|benchmarks|examples)/[\w/.-]*[\w/]")
_CLASS = re.compile(r"[A-Z][a-z]+([A-Z][a-z]+)+(\.\w+)*")
_STANDS_FOR_ANY = {"proofload.yaml", "report/findings/FAMILY.yaml"}


def named(text: str) -> list[str]:
    """Return the paths that a page names in code spans, each perhaps with `::Name.attribute` behind it."""
    return [one for one in _CODE.findall(_FENCE.sub("", text)) if _PATH.fullmatch(one) and one not in _STANDS_FOR_ANY]


@cache
def trees() -> list[ast.Module]:
    return list(modules().values())


def why_not_there(name: str) -> str:
    """Return what is wrong with a path, relative to the repository or the package; nothing where all of it exists."""
    path, _, symbol = name.partition("::")
    found = [base / path for base in (ROOT, PACKAGE) if (base / path).exists()]
    if not found:
        return f"{path}: no such file"
    if symbol and not has_symbol(ast.parse(found[0].read_text(encoding="utf-8")), symbol.split(".")):
        return f"{path}: no {symbol}"
    return ""


def has_symbol(tree: ast.AST, names: list[str]) -> bool:
    for node in ast.iter_child_nodes(tree):
        defined = {getattr(node, "name", "")}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined = {one.id for one in targets if isinstance(one, ast.Name)}
        if names[0] in defined:
            return len(names) == 1 or has_symbol(node, names[1:])
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_name_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert named(text), "a page names where things are"
    assert [why for one in named(text) if (why := why_not_there(one))] == []


def test_what_any_page_names_of_the_repository_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    gone = {(page.name, path) for page in pages for path in _OURS.findall(page.read_text(encoding="utf-8"))}
    assert sorted(one for one in gone if one[0] != "CHANGELOG.md" and not (ROOT / one[1]).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_class_is_there(page: Path) -> None:
    words = {one for one in _CODE.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))) if _CLASS.fullmatch(one)}
    assert [word for word in words if not any(has_symbol(tree, word.split(".")) for tree in trees())] == []


def test_every_folder_is_in_the_table() -> None:
    rows = set(re.findall(r"^\| `([\w.]+?)/?` \|", TEXT, re.MULTILINE))
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    assert rows == folders | modules


def test_the_layers_are_those_that_are_checked() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    (layers,) = (one for one in contracts if one["type"] == "layers")
    assert layers["exhaustive"]
    assert "```\n" + "\n".join(layers["layers"]) + "\n```" in TEXT


def test_there_are_ten_questions() -> None:
    assert len(re.findall(r"^\*\*.+\?\*\*", TEXT, re.MULTILINE)) == 10


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_code_of_a_guide_runs(guide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks, "a guide shows how"
    module = ModuleType(f"guide_{guide.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(blocks), str(guide), "exec"), vars(module))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_a_guide_is_short_and_linked(guide: Path) -> None:
    assert 25 <= len(guide.read_text(encoding="utf-8").splitlines()) <= 50
    assert f"docs/contributing/{guide.name}" in PAGES[1].read_text(encoding="utf-8")
    assert f"contributing/{guide.name}" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["core/no_such.py", "core/clock.py::NoSuch", "core/clock.py::SystemClock.no_such", "no_such_folder/"]
)
def test_what_is_not_there_is_told(name: str) -> None:
    assert named(f"see `{name}`") == [name]
    assert why_not_there(name)


def test_what_is_there_is_found() -> None:
    assert [
        *map(
            why_not_there,
            ["core/clock.py::SystemClock.now_ns", "docs/target.md", "cases/", "record/bundle.py::MANIFEST"],
        )
    ] == [""] * 4
