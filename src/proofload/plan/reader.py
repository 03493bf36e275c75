"""Reads a target file: safe YAML, every problem at once, each with its line."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from proofload.core.errors import PlanError, Problem
from proofload.core.text import visible
from proofload.plan.coherence import clashes
from proofload.plan.document import REMEDY, Document, KeyPath
from proofload.plan.masking import looks_secret, masked, masked_text
from proofload.plan.operation import Operation
from proofload.plan.target import Target

_MAX_BYTES = 1 << 18
_TOKEN_PATH: KeyPath = ("ownership", "token")
_FROM_FILE = re.compile(r"\$\{file:([^}]+)\}")
_FROM_ENVIRONMENT = re.compile(r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}")
_QUOTED = "write it in quotes; see docs/target.md"


def read_target(path: Path, environ: Mapping[str, str] | None = None) -> Target:
    """Return the target that the file declares; `${env:NAME}` in a text is taken from `environ`.

    Raises PlanError with every problem of the file, each as `file:line key.path`.
    """
    return parse_target(_text(path), str(path), os.environ if environ is None else environ)


def parse_target(text: str, name: str, environ: Mapping[str, str]) -> Target:
    """Return the target that a YAML text declares; `name` stands for the file in what is said of problems."""
    document = Document(name, environ)
    content = document.read(text)
    problems = document.problems
    if not isinstance(content, dict):
        if not problems:
            got = "nothing" if content is None else f"a {_kind(content)}"
            problems.append(Problem(name, got, "a mapping with `version: 1`, `address` and `operations`", REMEDY))
        raise PlanError(problems)
    _fill_token(document, content)
    problems += _truth_values(document, content, (), [Target])
    target = None
    try:
        target = Target.model_validate(content)
    except ValidationError as error:
        problems += _problems(document, content, error)
    if target is not None:
        problems += [Problem(document.where(one.path), one.got, one.expected, one.remedy) for one in clashes(target)]
    if problems or target is None:
        raise PlanError(_once(problems))
    target._secrets = frozenset(environ[name] for name in document.variables if looks_secret(name))
    return target


def resolved(target: Target) -> dict[str, Any]:
    """Return the target as JSON-able content with every default filled in and every secret masked."""
    content: dict[str, Any] = target.model_dump(mode="json", by_alias=True)
    for operation in content["operations"].values():
        for key in ("headers", "json", "body"):
            operation[key] = masked(operation[key], target._secrets)
        path = masked_text(operation["path"], target._secrets)
        operation["path"] = path if path.startswith("/") else f"/{path}"
    for section in ("services", "policies", "faults", "monitoring"):
        content[section] = _without_passwords(content[section])
    return content


def from_resolved(content: Mapping[str, Any]) -> Target:
    """Return the target that `resolved` told of; secrets stay masked. Raises PlanError for anything else."""
    try:
        return Target.model_validate(content)
    except ValidationError as error:
        raise PlanError(_problems(Document("plan.json", {}), content, error)) from error


def _text(path: Path) -> str:
    remedy = "name one with --target, or write one: docs/target.md"
    where = visible(str(path))
    try:
        with path.open("rb") as file:
            # A device or a pipe has no size: no more is read than a target file can have.
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        got = str(getattr(error, "strerror", None) or type(error).__name__).lower()
        raise PlanError([Problem(where, got, "a target file", remedy)]) from error
    if len(content) > _MAX_BYTES:
        raise PlanError([Problem(where, f"more than {_MAX_BYTES} bytes", "a target file", REMEDY)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PlanError([Problem(f"{where}:{line}", "bytes that are no UTF-8", "a text in UTF-8", REMEDY)]) from error


def _fill_token(document: Document, content: dict[str, Any]) -> None:
    """Put the owner's token in its place, and refuse one that stands in the file itself."""
    ownership = content.get("ownership")
    if not isinstance(ownership, dict) or not isinstance(ownership.get("token"), str):
        return
    token: str = ownership["token"]
    expected = "`${env:NAME}` or `${file:PATH}`, so that the secret stays out of this file"
    from_file = _FROM_FILE.fullmatch(token)
    if from_file is None:
        if not _FROM_ENVIRONMENT.fullmatch(document.filled.get(_TOKEN_PATH, "")):
            document.problems.append(Problem(document.where(_TOKEN_PATH), "a secret as it stands", expected, REMEDY))
        elif not token.strip() and all("is not set" not in one.got for one in document.problems):
            document.problems.append(Problem(document.where(_TOKEN_PATH), "an empty token", expected, REMEDY))
        return
    try:
        with Path(from_file[1]).open("rb") as file:
            ownership["token"] = file.read(4_096).decode("utf-8").strip()
    except (OSError, ValueError) as error:
        got = f"{token} ({str(getattr(error, 'strerror', None) or type(error).__name__).lower()})"
        document.problems.append(Problem(document.where(_TOKEN_PATH), visible(got, 200), "a file to read", REMEDY))
        return
    if not ownership["token"]:
        document.problems.append(Problem(document.where(_TOKEN_PATH), "an empty file", "a token in it", REMEDY))


def _without_passwords(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_passwords(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_passwords(value) for value in content]
    return masked_text(content) if isinstance(content, str) else content


def _once(problems: list[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _problems(document: Document, content: Any, error: ValidationError) -> list[Problem]:
    # What could not be read, or is a truth value out of place, was spoken of already.
    noted = {one.where for one in document.problems}
    found = [(one, _problem(document, content, one)) for one in error.errors(include_url=False)]
    return [
        problem
        for one, problem in found
        if problem.where not in noted or not (one.get("input") is None or isinstance(one.get("input"), bool))
    ]


def _truth_values(document: Document, content: Any, path: KeyPath, annotations: list[Any]) -> Iterator[Problem]:
    """Return a problem for each truth value that stands where none can: to Python, `limit: yes` is a limit of 1."""
    if isinstance(content, bool):
        if annotations and not any(_takes_truth(one) for one in annotations):
            expected = "no truth value (unquoted, yes, no, on, off, true and false are)"
            yield Problem(document.where(path), f"the truth value {content}", expected, _QUOTED)
        return
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for part, value in inner:
        below = [one for annotation in annotations for one in _step(annotation, part)]
        yield from _truth_values(document, value, (*path, part), below)


def _takes_truth(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_truth(one) for one in get_args(annotation))


def _problem(document: Document, content: Any, error: Any) -> Problem:
    path, kind, got = _path_in(content, error["loc"]), error["type"], error.get("input")
    where = document.where(path)
    if kind == "extra_forbidden":
        known = sorted(_keys_at(path[:-1], content))
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
        remedy = f"did you mean {near[0]}?" if near else REMEDY
        return Problem(where, f"the unknown key '{visible(str(path[-1]), 80)}'", f"one of {', '.join(known)}", remedy)
    if kind in ("missing", "union_tag_not_found"):
        expected = "this key, which is required" if kind == "missing" else "a `driver`"
        return Problem(where, "nothing" if kind == "missing" else _shown(got), expected, REMEDY)
    expected = str(error.get("ctx", {}).get("error", "")) or _sentence(error["msg"])
    raw = document.filled.get(path)
    shown = f"what {visible(raw, 80)} was filled in with" if raw is not None else _shown(got)
    return Problem(where, shown, expected, _QUOTED if kind == "string_type" and _is_scalar(got) else REMEDY)


def _sentence(message: str) -> str:
    text = re.sub(r"^(Input should be|Value error,|String should|Value should|Input)\s*", "", message)
    return text[:1].lower() + text[1:]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(visible(value, 80))
    if isinstance(value, dict | list | tuple):
        return f"a {_kind(value)}"
    return "nothing" if value is None else visible(str(value), 80)


def _kind(value: Any) -> str:
    kinds: tuple[tuple[type, str], ...] = ((dict, "mapping"), (bool, "truth value"), (str, "text"), (list, "list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "number")


def _path_in(content: Any, location: tuple[str | int, ...]) -> KeyPath:
    """Return the error's location as keys of the file; what names a model in between stands in no file."""
    path: list[str | int] = []
    for i, part in enumerate(location):
        last = i == len(location) - 1
        if isinstance(content, Mapping):
            if part not in content and not last:
                continue
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int) and part < len(content):
            content = content[part]
        elif not last or part == "[key]":
            continue
        path.append(part)
    return tuple(path)


def _keys_at(path: KeyPath, content: Any) -> set[str]:
    """Return the keys that the mapping at this path may have."""
    annotations: list[Any] = [Target]
    for part in path:
        annotations = [inner for one in annotations for inner in _step(one, part)]
        content = content.get(part) if isinstance(content, dict) else None
    driver = content.get("driver") if isinstance(content, dict) else None
    models = [model for one in annotations for model in _models(one)]
    chosen = [model for model in models if driver in _drivers_of(model)] or models
    keys = {field.alias or name for model in chosen for name, field in model.model_fields.items()}
    # An operation's name is its key in the file; the field of that name is the program's own.
    return keys - {"name"} if Operation in chosen else keys


def _step(annotation: Any, part: str | int) -> list[Any]:
    """Return what a key of something annotated so may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return [field.annotation for name, field in fields if part == (field.alias or name)]
    arguments = [one for one in get_args(annotation) if one is not Ellipsis]
    if get_origin(annotation) is dict:
        return arguments[1:]
    if get_origin(annotation) in (tuple, list):
        return arguments
    return [inner for one in arguments for inner in _step(one, part)]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models(argument)


def _drivers_of(model: type[BaseModel]) -> tuple[str, ...]:
    tag = model.model_fields.get("driver")
    return get_args(tag.annotation) if tag else ()
