"""Reads a target file: safe YAML, every problem at once, each with its line."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from proofload.core.errors import PlanError, Problem
from proofload.plan.target import Target

_MAX_BYTES = 1 << 20
_MAX_NODES = 100_000
_MAX_DEPTH = 64
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_REMEDY = "see docs/target.md"
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
)

KeyPath = tuple[str | int, ...]


def read_target(path: Path, environ: Mapping[str, str] | None = None) -> Target:
    """Return the target that the file declares; `${env:NAME}` in a text is taken from `environ`.

    Raises PlanError with every problem of the file, each as `file:line key.path`.
    """
    return parse_target(_text(path), str(path), os.environ if environ is None else environ)


def parse_target(text: str, name: str, environ: Mapping[str, str]) -> Target:
    """Return the target that a YAML text declares; `name` stands for the file in what is said of problems."""
    document = _Document(name, environ)
    content = document.read(text)
    problems = document.problems
    if not isinstance(content, dict):
        if not problems:
            got = "nothing" if content is None else f"a {_kind(content)}"
            problems.append(Problem(name, got, "a mapping with `version: 1`, `address` and `operations`", _REMEDY))
        raise PlanError(problems)
    target = None
    try:
        target = Target.model_validate(content)
    except ValidationError as error:
        problems += [_problem(document, one) for one in error.errors(include_url=False)]
    except RecursionError:
        problems.append(Problem(name, "a document nested without end", f"at most {_MAX_DEPTH} levels", _REMEDY))
    if target is not None:
        for one in target.problems():
            problems.append(Problem(document.where(_path_of(one.where)), one.got, one.expected, one.remedy))
    if problems or target is None:
        raise PlanError(problems)
    return target


def resolved(target: Target) -> dict[str, Any]:
    """Return the target as JSON-able content with every default filled in and every secret masked."""
    content: dict[str, Any] = target.model_dump(mode="json", by_alias=True)
    return content


def from_resolved(content: Mapping[str, Any]) -> Target:
    """Return the target that `resolved` told of; secrets stay masked. Raises PlanError for anything else."""
    try:
        return Target.model_validate(content)
    except ValidationError as error:
        document = _Document("plan.json", {})
        raise PlanError([_problem(document, one) for one in error.errors(include_url=False)]) from error


def _text(path: Path) -> str:
    remedy = "name one with --target, or write one: docs/target.md"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise PlanError([Problem(str(path), f"{path.stat().st_size} bytes", f"at most {_MAX_BYTES}", _REMEDY)])
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PlanError([Problem(str(path), f"bytes that are no UTF-8 (at {error.start})", "a YAML text")]) from error
    except OSError as error:
        got = (error.strerror or type(error).__name__).lower()
        raise PlanError([Problem(str(path), got, "a target file", remedy)]) from error


class _Document:
    """A YAML text as plain values, with the line of every key path."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._environ = environ
        self._lines: dict[KeyPath, int] = {}
        self._nodes = 0

    def read(self, text: str) -> Any:
        """Return the plain values of the text, or None with the problems noted."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            got = f"broken YAML ({error.problem or 'unreadable'})"
            self.problems.append(Problem(f"{self.name}:{line}", got, "a YAML document", _REMEDY))
            return None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.problems.append(Problem(self.name, told, "YAML", _REMEDY))
            return None
        return None if node is None else self._value(node, ())

    def where(self, path: KeyPath) -> str:
        """Return `file:line key.path` for the deepest part of the path that the file has."""
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        line = self._lines.get(known)
        place = f"{self.name}:{line}" if line else self.name
        return f"{place} {_told(path)}" if path else place

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        # Aliases let a short text stand for an endless one: what is expanded is counted.
        if self._nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            if self._nodes < 2 * _MAX_NODES:
                self._nodes = 2 * _MAX_NODES
                self._problem(path, "a document that grows without end", f"at most {_MAX_NODES} values")
            return None
        if node.tag not in _PLAIN_TAGS:
            self._problem(path, f"the tag {node.tag}", "plain values: mappings, lists, texts and numbers", node)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag == "tag:yaml.org,2002:merge":
                self._problem(path, "a key that is no plain text", "a name", key_node)
                continue
            inner = (*path, key)
            self._lines[inner] = key_node.start_mark.line + 1
            if key in found:
                self._problem(inner, "the key twice", "each key once", key_node)
            found[key] = self._value(value_node, inner)
        return found

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        try:
            value = yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            self._problem(path, f"'{node.value}'"[:80], f"a plain value ({str(error).splitlines()[0]})", node)
            return None
        return self._filled(value, path) if isinstance(value, str) else value

    def _filled(self, text: str, path: KeyPath) -> str:
        for name in set(_VARIABLE.findall(text)) - set(self._environ):
            self._problem(
                path, f"${{env:{name}}}, which is not set", "an environment variable", remedy=f"export {name}=…"
            )
        return _VARIABLE.sub(lambda found: self._environ.get(found[1], ""), text)

    def _problem(
        self, path: KeyPath, got: str, expected: str, node: yaml.Node | None = None, remedy: str = _REMEDY
    ) -> None:
        line = node.start_mark.line + 1 if node else self._lines.get(path)
        place = f"{self.name}:{line}" if line else self.name
        self.problems.append(Problem(f"{place} {_told(path)}".rstrip(), got, expected, remedy))


def _problem(document: _Document, error: Any) -> Problem:
    path: KeyPath = tuple(part for part in error["loc"] if not _is_tag(part))
    where, kind, got = document.where(path), error["type"], error.get("input")
    if kind == "extra_forbidden":
        known = sorted(_fields_at(Target, path[:-1]))
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
        remedy = f"did you mean {near[0]}?" if near else _REMEDY
        return Problem(where, f"the unknown key '{path[-1]}'", f"one of {', '.join(known)}", remedy)
    if kind == "missing":
        return Problem(where, "nothing", "this key, which is required", _REMEDY)
    expected = str(error.get("ctx", {}).get("error", "")) or _sentence(error["msg"])
    return Problem(where, _shown(got), expected, _REMEDY)


def _sentence(message: str) -> str:
    text = re.sub(r"^(Input should be|Value error,|String should|Value should)\s*", "", message)
    return text[:1].lower() + text[1:]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, dict | list | tuple):
        return f"a {_kind(value)}"
    else:
        text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "...'"


def _kind(value: Any) -> str:
    names = {
        dict: "mapping",
        list: "list",
        tuple: "list",
        str: "text",
        bool: "truth value",
        int: "number",
        float: "number",
    }
    return names.get(type(value), type(value).__name__)


def _is_tag(part: str | int) -> bool:
    return part in ("command", "supervised")


def _told(path: KeyPath) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _path_of(told: str) -> KeyPath:
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", told))


def _fields_at(model: Any, path: KeyPath) -> set[str]:
    """Return the keys that a mapping at this path may have."""
    models = list(_models(model))
    for part in path:
        inner: list[Any] = []
        for one in models:
            for name, field in one.model_fields.items():
                if part in (name, field.alias) or (isinstance(part, int) or part not in _keys(one)):
                    inner += _models(field.annotation) if part in (name, field.alias) else []
        # The key of a dictionary or the place in a list: the annotation was already unwrapped.
        models = inner or models
    return {key for one in models for key in _keys(one)}


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models(argument)
