"""Reads OpenAPI documents (3.x, and Swagger 2 as far as paths go): what is offered, and how one logs in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from proofload.core.errors import PlanError, Problem

_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
_LOGIN = re.compile(r"(log|sign)[-_]?in|authenticate|/token\b|/sessions?$", re.IGNORECASE)
_REGISTER = re.compile(r"register|registration|sign[-_]?up|/users$|/accounts$", re.IGNORECASE)
_TOKENS = ("access_token", "accesstoken", "id_token", "idtoken", "token", "jwt")
_NAMES = ("username", "user_name", "user", "login", "name", "account")
_MOST_BYTES = 4 << 20
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Offer:
    """One operation of a document."""

    name: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    """What a JSON body has to hold, filled in as far as can be; None where none is needed."""
    needs: tuple[str, ...] = ()
    """Fields and parameters that nobody can guess."""
    answers: tuple[str, ...] = ()
    """Names of the fields of a successful answer, inner ones joined by dots."""
    fields: tuple[str, ...] = ()
    in_query: tuple[str, ...] = ()
    in_headers: tuple[str, ...] = ()
    """Those of `needs` that go into the query, and into headers."""


@dataclass(frozen=True, slots=True)
class Api:
    """What the documents offer."""

    offers: tuple[Offer, ...] = ()
    login: Offer | None = None
    token: str = "access_token"  # noqa: S105 -- the name of a field
    register: Offer | None = None
    server: str = ""
    """What the document names as its first server, as it stands there."""

    @property
    def readable(self) -> Sequence[Offer]:
        """Return what can be read without knowing anything."""
        return [one for one in self.offers if one.method == "GET" and not one.needs]


@dataclass(slots=True)
class _Document:
    content: Mapping[str, Any]
    used: set[str] = field(default_factory=set)

    def of(self, value: Any, depth: int = _DEPTH) -> Mapping[str, Any]:
        """Return a mapping with its reference followed, as far as it stays inside the document."""
        while isinstance(value, Mapping) and isinstance(value.get("$ref"), str) and depth:
            depth -= 1
            found: Any = self.content
            for key in value["$ref"].removeprefix("#/").split("/"):
                key = key.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 -- JSON pointer escapes
                found = found.get(key) if isinstance(found, Mapping) else None
            value = found
        return value if isinstance(value, Mapping) else {}


def read_openapi(text: str, where: str) -> Api:
    """Return what one document offers. Raises PlanError where it is none."""
    try:
        content = yaml.safe_load(text) if len(text) <= _MOST_BYTES else None
    except yaml.YAMLError:
        content = None
    if not isinstance(content, Mapping) or not isinstance(content.get("paths"), Mapping):
        raise PlanError([Problem(where, "no OpenAPI document", "JSON or YAML with `paths`", "see --openapi")])
    document = _Document(content)
    servers = content.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else None
    server = str(first.get("url", "")) if isinstance(first, dict) else ""
    return replace(_with_login([*_offers(document)]), server=server)


def merged(apis: Sequence[Api]) -> Api:
    """Return all documents as one; of two operations with one name the later gets a longer one."""
    offers: dict[str, Offer] = {}
    for one in (offer for api in apis for offer in api.offers):
        name = one.name if one.name not in offers else operation_name(one.path, one.method, whole=True)
        offers.setdefault(name, replace(one, name=name))
    return _with_login(list(offers.values()))


def _with_login(offers: list[Offer]) -> Api:
    posts = [one for one in offers if one.method == "POST" and "password" in one.fields and not one.needs]
    login = next((one for one in posts if _LOGIN.search(one.path) and _token(one)), None)
    login = login or next((one for one in posts if _LOGIN.search(one.path)), None)
    register = next((one for one in posts if one is not login and _REGISTER.search(one.path)), None)
    return Api(tuple(offers), login, (_token(login) if login else "") or "access_token", register)


def _token(offer: Offer) -> str:
    told = [name for name in offer.answers if name.rpartition(".")[2].lower() in _TOKENS]
    return min(told, key=lambda name: _TOKENS.index(name.rpartition(".")[2].lower()), default="")


def _offers(document: _Document) -> Iterator[Offer]:
    base = str(document.content.get("basePath") or "").rstrip("/")
    for path, item in document.content["paths"].items():
        methods = document.of(item)
        for method in _METHODS:
            operation = document.of(methods.get(method))
            if (
                isinstance(methods.get(method), Mapping)
                and str(path).startswith("/")
                and not any(letter.isspace() for letter in str(path))
            ):
                yield _offer(document, base + str(path), method.upper(), operation, methods)


def _offer(document: _Document, path: str, method: str, operation: Mapping[str, Any], item: Mapping[str, Any]) -> Offer:
    parameters = [document.of(one) for one in [*item.get("parameters", ()), *operation.get("parameters", ())]]
    needs = [str(one.get("name")) for one in parameters if one.get("in") == "path" or one.get("required")]
    placed = {
        place: tuple(str(one.get("name")) for one in parameters if one.get("required") and one.get("in") == place)
        for place in ("query", "header")
    }
    if "{" in path and not needs:
        needs = re.findall(r"{([^}]*)}", path)
    schema = _json_schema(document, operation.get("requestBody"))
    fields = document.of(schema.get("properties"))
    required = [str(one) for one in schema.get("required", fields)]
    body: dict[str, Any] = {}
    for name in required:
        value = _guess(name, document.of(fields.get(name)))
        if value is None:
            needs.append(name)
        else:
            body[name] = value
    answers: list[str] = []
    for status, answer in document.of(operation.get("responses")).items():
        if str(status).startswith("2"):
            answers += _names(document, _json_schema(document, answer))
    name = operation_name(path, method)
    return Offer(
        name,
        method,
        path,
        body or None,
        tuple(needs),
        tuple(answers),
        tuple(map(str, fields)),
        in_query=placed["query"],
        in_headers=placed["header"],
    )


def _json_schema(document: _Document, holder: Any) -> Mapping[str, Any]:
    content = document.of(document.of(holder).get("content"))
    for kind, inner in content.items():
        if "json" in str(kind):
            return document.of(document.of(inner).get("schema"))
    return {}


def _names(document: _Document, schema: Mapping[str, Any], prefix: str = "", depth: int = 3) -> Iterator[str]:
    for name, inner in document.of(schema.get("properties")).items():
        yield f"{prefix}{name}"
        if depth:
            yield from _names(document, document.of(inner), f"{prefix}{name}.", depth - 1)


def _guess(name: str, schema: Mapping[str, Any]) -> Any:
    """Return what a test user would send in a field, or None where nobody can know."""
    low = name.lower()
    if "password" in low:
        return "${user.password}"
    if "email" in low or schema.get("format") == "email":
        return "${user.name}@proofload.test"
    if low in _NAMES:
        return "${user.name}"
    for told in ("default", "example", "const"):
        if schema.get(told) is not None:
            return schema[told]
    choices = schema.get("enum")
    return choices[0] if isinstance(choices, list) and choices else None


def operation_name(path: str, method: str, *, whole: bool = False) -> str:
    """Return a name for an operation, from its path.

    >>> operation_name("/api/v1/balance/deposit", "POST"), operation_name("/api/v1/orders/{id}", "GET")
    ('post_deposit', 'orders_by_id')
    >>> operation_name("/", "GET")
    'root'
    """
    parts = [part for part in path.split("/") if part]
    fixed = [re.sub(r"\W+", "_", part) for part in parts if not part.startswith("{")]
    chosen = fixed if whole else fixed[-1:]
    name = "_".join(chosen) or "root"
    if parts and parts[-1].startswith("{"):
        name += "_by_" + re.sub(r"\W+", "_", parts[-1].strip("{}"))
    return name if method == "GET" else f"{method.lower()}_{name}"
