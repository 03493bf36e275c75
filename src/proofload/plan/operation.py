"""Named requests that a target offers, and their pure rendering to the bytes of an HTTP/1.1 request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from pydantic import ConfigDict, Field

from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND
from proofload.plan.values import Declared, DurationNs

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

ROW_MARK = b"%010x"
"""Stands in a rendered request where the row number goes; every other percent sign is doubled."""

FIELD = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_.]*)\}")
"""A field of a user, such as `${user.name}`, with its name as the group."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSET: Any = object()
_TWO_HUNDREDS = frozenset(range(200, 300))


class Operation(Declared):
    """One request that the target offers, such as `login`. Texts may hold `${fields}` of the user that sends it."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = ""
    """The key in the target file."""
    method: Method = "GET"
    """The request's method."""
    path: str = Field(pattern=r"^/[^\s]*$")
    """Path and query, such as `/api/users/${user.name}`; what fields hold is percent-encoded."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers beside those that every request has."""
    json_body: Any = Field(default=None, alias="json")
    """A JSON body. A text that is one field and nothing else takes that field's own type."""
    body: str | None = None
    """A body as it stands, where there is no `json`."""
    auth: Literal["none", "bearer"] = "none"
    """`bearer` sends the user's token."""
    effect: Literal["none", "lasting"] = "none"
    """`lasting` changes data of the target: it is sent for test users only."""
    service: str | None = None
    """The service behind the gateway that answers."""
    route: str | None = None
    """How the target's metrics call it, where that is not its path, such as `/orders/{id}`."""
    accept: tuple[int, ...] = ()
    """Statuses that mean success; none named means any 2xx."""
    keep_body: bool = False
    """Keep the answers' bodies in the history."""
    timeout: DurationNs = Field(default=10 * NS_PER_SECOND, gt=0)
    """How long to wait for the whole answer."""

    def accepts(self, status: int) -> bool:
        """Return whether an answer with `status` is a success of this operation."""
        return status in self.statuses

    @property
    def statuses(self) -> frozenset[int]:
        """The statuses that are a success of this operation."""
        return frozenset(self.accept) or _TWO_HUNDREDS

    @property
    def counted_as(self) -> str:
        """How the target's metrics call it: its route where one is declared, else its path without the query."""
        return self.route or self.path.split("?")[0]

    @property
    def is_static(self) -> bool:
        """True where no field of a user is in it, so that its bytes can be made once for all."""
        texts = [self.path, self.body or "", *self.headers.values(), json.dumps(self.json_body)]
        return not any(FIELD.search(text) for text in texts)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request with all fields filled in."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None

    @property
    def request_id(self) -> str | None:
        """The request id that the headers name themselves, or None where the engine gives one."""
        return next((value for name, value in self.headers if name.lower() == "x-request-id"), None)


def render(
    operation: Operation,
    fields: Mapping[str, object],
    *,
    json_body: Any = _UNSET,
    data: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
) -> Rendered:
    """Return the request of `operation` for a user with these fields.

    `json_body`, `data` and `headers` go before what the operation declares. Raises PlanError for a field without value.

    >>> render(Operation(name="read", path="/u/${user.name}"), {"user.name": "a b"}).target
    '/u/a%20b'
    """
    merged = {"accept": ("Accept", "*/*"), "user-agent": ("User-Agent", "proofload")}
    if operation.auth == "bearer":
        if token is None:
            raise _missing(operation, "the user's token", "log in first and set user.token")
        merged["authorization"] = ("Authorization", f"Bearer {token}")
    body: bytes | None
    if data is not None:
        body = data.encode() if isinstance(data, str) else data
    elif json_body is not _UNSET or operation.json_body is not None:
        value = _fill(operation, operation.json_body, fields) if json_body is _UNSET else json_body
        body = json.dumps(value, separators=(",", ":")).encode()
        merged["content-type"] = ("Content-Type", "application/json")
    elif operation.body is not None:
        body = _fill_text(operation, operation.body, fields).encode()
    else:
        body = None
    for source in (operation.headers, headers or {}):
        for name, text in source.items():
            merged[name.lower()] = (name, _fill_text(operation, text, fields) if source is operation.headers else text)
    path = FIELD.sub(lambda found: quote(str(_look_up(operation, found[1], fields)), safe=""), operation.path)
    return Rendered(operation.method, quote(path, safe="/?&=%:@!$'()*+,;~#[]-._"), tuple(merged.values()), body)


def to_template(rendered: Rendered, host: str, id_prefix: str) -> bytes:
    r"""Return the request's bytes with ROW_MARK in the place of the row number: `template % row` goes on the wire.

    A request that names its own X-Request-ID has no ROW_MARK; its bytes are `template % ()`.
    Raises PlanError for a header that could not stand in one line, so that no value can forge another header.

    >>> to_template(Rendered("GET", "/", (), None), "h:80", "run-") % 255
    b'GET / HTTP/1.1\r\nHost: h:80\r\nX-Request-ID: run-00000000ff\r\n\r\n'
    """
    lines = [f"{rendered.method} {rendered.target} HTTP/1.1"]
    given = {name.lower() for name, _ in rendered.headers}
    if "host" not in given:
        lines.append(f"Host: {host}")
    for name, value in rendered.headers:
        if not _TOKEN.fullmatch(name) or any(sign in value for sign in "\r\n\0"):
            raise PlanError([Problem(f"header {name!r}", repr(value), "a name and a value that stand in one line")])
        lines.append(f"{name}: {value}")
    body = rendered.body
    if "content-length" not in given and "transfer-encoding" not in given:
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        elif rendered.method in ("POST", "PUT", "PATCH"):
            lines.append("Content-Length: 0")
    own_id = rendered.request_id is not None
    head = "\r\n".join(lines).encode("utf-8").replace(b"%", b"%%")
    mark = b"" if own_id else b"\r\nX-Request-ID: " + id_prefix.encode().replace(b"%", b"%%") + ROW_MARK
    return head + mark + b"\r\n\r\n" + (body or b"").replace(b"%", b"%%")


def _fill(operation: Operation, value: Any, fields: Mapping[str, object]) -> Any:
    if isinstance(value, str):
        whole = FIELD.fullmatch(value)
        return _look_up(operation, whole[1], fields) if whole else _fill_text(operation, value, fields)
    if isinstance(value, Mapping):
        return {key: _fill(operation, inner, fields) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_fill(operation, inner, fields) for inner in value]
    return value


def _fill_text(operation: Operation, text: str, fields: Mapping[str, object]) -> str:
    return FIELD.sub(lambda found: str(_look_up(operation, found[1], fields)), text)


def _look_up(operation: Operation, name: str, fields: Mapping[str, object]) -> object:
    try:
        return fields[name]
    except KeyError:
        raise _missing(operation, f"${{{name}}}", "set it in user.state, or in the users' identities") from None


def _missing(operation: Operation, what: str, remedy: str) -> PlanError:
    where = f"operations.{operation.name or operation.path}"
    return PlanError([Problem(where, f"no value for {what}", "a value before the request is sent", remedy)])
