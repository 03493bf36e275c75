"""Turns YAML text into plain values and remembers the line of every key. Builds no objects, follows no bomb."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from proofload.core.errors import Problem
from proofload.core.text import visible

REMEDY = "see docs/target.md"

_MAX_NODES = 100_000
_MAX_DEPTH = 64
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_BROKEN = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_TRUTHS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_TAG = "tag:yaml.org,2002:"

KeyPath = tuple[str | int, ...]


def told(path: KeyPath) -> str:
    """Return a key path as people write it.

    >>> told(("policies", "rate_limit", 0, "window"))
    'policies.rate_limit[0].window'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return visible(text.removeprefix("."), 200)


class Document:
    """A YAML text as plain values, with the line of every key path and the problems found on the way."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.filled: dict[KeyPath, str] = {}
        """Texts that held `${env:…}`, as they stand in the file."""
        self.variables: set[str] = set()
        """Names of the environment variables that were used."""
        self._environ = environ
        self._lines: dict[KeyPath, int] = {}
        self._nodes = 0

    def read(self, text: str) -> Any:
        """Return the plain values of the text, or None with the problems noted."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{self.name}:{mark.line + 1}" if mark else self.name
            got = f"broken YAML ({visible(error.problem or error.context or 'unreadable', 120)})"
            self.problems.append(Problem(place, got, "a YAML document", REMEDY))
            return None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.problems.append(Problem(self.name, visible(said, 120), "YAML", REMEDY))
            return None
        return None if node is None else self._value(node, ())

    def where(self, path: KeyPath) -> str:
        """Return `file:line key.path` for the deepest part of the path that the file has."""
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        line = self._lines.get(known)
        place = f"{self.name}:{line}" if line else self.name
        return f"{place} {told(path)}" if path else place

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        # Aliases let a short text stand for an endless one: what is expanded is counted.
        if self._nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            if self._nodes < 2 * _MAX_NODES:
                self._nodes = 2 * _MAX_NODES
                self._problem(path, "a document that grows without end", f"at most {_MAX_NODES} values")
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(child, (*path, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._problem(path, f"the tag {visible(node.tag, 80)}", "plain values: mappings, lists, texts, numbers", node)
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or not _is_unicode(key) or key_node.tag == f"{_TAG}merge":
                got = "a merge key (<<)" if key == "<<" else "a key that is no plain text"
                self._problem(path, got, "a name", key_node)
                continue
            inner = (*path, key)
            self._lines[inner] = key_node.start_mark.line + 1
            if key in found:
                self._problem(inner, "the key twice", "each key once", key_node, "remove one of the two")
            found[key] = self._value(value_node, inner)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        # A date has no meaning of its own here: it is the text that somebody wrote.
        if kind in ("str", "timestamp"):
            if not _is_unicode(text):
                self._problem(path, "half of a surrogate pair", "Unicode text", node)
            return self._filled(text, path)
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in _TRUTHS:
            return _TRUTHS[text.lower()]
        value = _number(text) if kind in ("int", "float") else None
        if value is None:
            what = f"the tag {visible(node.tag, 80)}" if kind not in ("int", "float") else repr(visible(text, 80))
            expected = "a plain decimal number, or a text in quotes" if kind in ("int", "float") else "plain values"
            self._problem(path, what, expected, node)
        return value

    def _filled(self, text: str, path: KeyPath) -> str:
        names = set(_VARIABLE.findall(text))
        if not names:
            return text
        self.filled[path] = text
        self.variables |= names
        for name in sorted(names - set(self._environ)):
            self._problem(
                path, f"${{env:{name}}}, which is not set", "an environment variable", remedy=f"export {name}=…"
            )
        return _VARIABLE.sub(lambda found: self._environ.get(found[1], ""), text)

    def _problem(
        self, path: KeyPath, got: str, expected: str, node: yaml.Node | None = None, remedy: str = REMEDY
    ) -> None:
        line = node.start_mark.line + 1 if node else self._lines.get(path)
        place = f"{self.name}:{line}" if line else self.name
        self.problems.append(Problem(f"{place} {told(path)}".rstrip(), got, expected, remedy))


def _number(text: str) -> int | float | None:
    """Return the number that a person reads in the text: not YAML 1.1's octal 010, base-60 1:30, or infinity."""
    try:
        if _WHOLE.fullmatch(text):
            return int(text)
        number = float(text) if _BROKEN.fullmatch(text) and not _has_idle_zero(text) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _has_idle_zero(text: str) -> bool:
    digits = text.lstrip("+-")
    return len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)
