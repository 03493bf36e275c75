"""What a target declares, as JavaScript: every value becomes a literal, fields of a user come from `__ENV`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from proofload.core.units import NS_PER_MS
from proofload.plan.operation import FIELD
from proofload.plan.target import Target

_PLACE = re.compile(r"\bPL_[A-Z_]+\b")
_OWN = """// A value of the user: a text for all, or a JSON list with one for each of k6's users in turn.
function own(name) {
  const given = __ENV[name] || '';
  const all = given.startsWith('[') ? JSON.parse(given) : [given];
  return all[(__VU + all.length - 1) % all.length];
}"""


def filled(name: str, values: Mapping[str, str]) -> str:
    """Return the script `name` of this package, each `PL_PLACE` in it taken by the JavaScript of that name.

    What is filled in is not looked at again, so no value can reach another place. Raises KeyError for a place that
    nothing was given for.
    """
    text = (resources.files(__package__) / f"{name}.js").read_text(encoding="utf-8")
    given = {"own": _OWN, **values}
    return _PLACE.sub(lambda found: given[found[0].removeprefix("PL_").lower()], text)


def literal(value: Any) -> str:
    """Return the value as a JavaScript literal on one line.

    >>> literal({"limit": None, "codes": [429]})
    '{"limit": null, "codes": [429]}'
    """
    return json.dumps(value)


def request(target: Target, name: str) -> str:
    """Return the JavaScript array that `http.request` and `http.batch` take for an operation."""
    operation = target.operations[name]
    headers = dict(operation.headers)
    body = "null"
    if operation.json_body is not None:
        body = text(json.dumps(operation.json_body))
        headers.setdefault("Content-Type", "application/json")
    elif operation.body is not None:
        body = text(operation.body)
    told = [f"{json.dumps(key)}: {text(value)}" for key, value in headers.items()]
    if operation.auth == "bearer":
        told.append("'Authorization': 'Bearer ' + own('TOKEN')")
    params = f"{{ headers: {{ {', '.join(told)} }}, timeout: '{operation.timeout // NS_PER_MS}ms', redirects: 0 }}"
    address = text(target.address + operation.path, inside_url=True)
    return f"[{json.dumps(operation.method)}, {address}, {body}, {params}]"


def text(told: str, *, inside_url: bool = False) -> str:
    """Return a JavaScript expression for a text in which `${fields}` come from the environment.

    >>> text("/u/${user.name}", inside_url=True)
    '"/u/" + encodeURIComponent(own("USER_NAME"))'
    """
    pieces: list[str] = []
    for place, piece in enumerate(FIELD.split(told)):
        if place % 2:
            value = f"own({json.dumps(piece.replace('.', '_').upper())})"
            pieces.append(f"encodeURIComponent({value})" if inside_url else value)
        elif piece:
            pieces.append(json.dumps(piece))
    return " + ".join(pieces) or '""'


def successes(target: Target, name: str) -> str:
    """Return the statuses that are a success of an operation, as a literal: the usual ones where none is declared."""
    operation = target.operations[name]
    return literal(sorted(operation.statuses if operation.accept else (200, 201, 202, 204)))
