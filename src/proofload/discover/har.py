"""Reads HTTP archives (HAR 1.2): each request that was recorded becomes an operation, without its secrets."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from proofload.core.errors import PlanError, Problem
from proofload.discover.imported_operations import Imported, holds_field
from proofload.discover.openapi import operation_name
from proofload.discover.recorded_secrets import (
    UnreadableBodyError,
    encoded,
    is_form,
    is_multipart,
    is_plain_json,
    parse_container,
    redacted_form,
    redacted_json,
    redacted_text,
    redacted_value,
)
from proofload.plan.masking import looks_secret, masked_text

_KEPT_HEADERS = ("accept", "content-type")
"""What a request says of itself. All else is the browser's, or a secret, or made anew for each request."""
_STATIC = re.compile(r"\.(css|js|mjs|map|png|jpe?g|gif|svg|ico|webp|avif|woff2?|ttf|mp4|webm)$", re.IGNORECASE)
_VARIES = re.compile(r"\d+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", re.IGNORECASE)
_SAFE_IN_PATH = "/?&=%:@!$'()*+,;~[]-._"
_REMEDY = "save it anew from the browser's network panel"


def read_har(text: str, where: str, *, origin: str = "", statics: bool = False) -> Imported:
    """Return the operations that an archive holds of one origin (scheme, host, port): the commonest, if none is named.

    Of requests that differ only in numbers and ids of their path, the first stands for all. Raises PlanError with all
    problems at once where the text is no archive, or holds nothing of that origin.
    """
    requests = [*_requests(text, where)]
    origins = Counter(_origin(str(one["url"])) for one in requests)
    chosen = origin.rstrip("/") or max(origins, key=lambda one: origins[one], default="")
    if not chosen or not origins[chosen]:
        known = ", ".join(sorted(origins)) or "none"
        raise PlanError([Problem(where, f"no request to {chosen or 'any server'}", f"one of: {known}", "see --origin")])
    found, seen = Imported(chosen), set[tuple[str, str]]()
    if others := origins.total() - origins[chosen]:
        found.left_out.append(f"{others} requests to other servers than {chosen}")
    skipped = 0
    for one in requests:
        if _origin(str(one["url"])) != chosen:
            continue
        method, path = str(one["method"]).upper(), urlsplit(str(one["url"])).path or "/"
        shape = _shape(path)
        if (method, shape) in seen:
            continue
        seen.add((method, shape))
        if not statics and _STATIC.search(path):
            skipped += 1
            continue
        _take(found, one, method, path, shape)
    if any("authorization" in _names(one.get("headers")) for one in requests):
        found.left_out.append("the header Authorization: declare users.login, and `auth: bearer` where it is needed")
    if skipped:
        found.left_out.append(f"{skipped} images, styles and scripts (--all takes them, too)")
    if not found.operations:
        why = found.left_out[-1] if found.left_out else "none was recorded"
        raise PlanError([Problem(where, f"no request that can be taken over: {why}", "a request of an API", "--all")])
    return found


def _requests(text: str, where: str) -> Iterator[Mapping[str, Any]]:
    try:
        content = json.loads(text)
        entries = content["log"]["entries"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PlanError([Problem(where, f"no archive: {error}", "JSON with log.entries", _REMEDY)]) from error
    problems: list[Problem] = []
    if not isinstance(entries, list):
        problems, entries = [Problem(f"{where} log.entries", type(entries).__name__, "a list", _REMEDY)], []
    good: list[Mapping[str, Any]] = []
    for i, entry in enumerate(entries):
        request = entry.get("request") if isinstance(entry, Mapping) else None
        if not isinstance(request, Mapping) or not {"method", "url"} <= request.keys():
            place = f"{where} log.entries[{i}].request"
            problems.append(Problem(place, repr(request)[:60], "an object with method and url", _REMEDY))
        else:
            good.append(request)
    if problems:
        raise PlanError(problems)
    yield from good


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL; empty where it is not one of HTTP.

    >>> _origin("https://me:pw@Shop.test/x?y"), _origin("ws://shop.test/"), _origin("http://[::1]:8080/")
    ('https://shop.test', '', 'http://[::1]:8080')
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def _shape(path: str) -> str:
    """Return the path with a name in the place of numbers and ids.

    >>> _shape("/api/orders/17/items"), _shape("/")
    ('/api/orders/{id}/items', '/')
    """
    return "/".join("{id}" if _VARIES.fullmatch(part) else part for part in path.split("/"))


def _fields(params: object) -> str | None:
    """Return a form's text from its fields, which some browsers keep in place of it; of files there is no text."""
    if not isinstance(params, list) or any("fileName" in one for one in params if isinstance(one, Mapping)):
        return None
    pairs = [(str(one.get("name", "")), str(one.get("value", ""))) for one in params if isinstance(one, Mapping)]
    return urlencode(pairs) if pairs else None


def _take(found: Imported, request: Mapping[str, Any], method: str, path: str, shape: str) -> None:
    what = f"{method} {shape}"
    query = urlsplit(str(request["url"])).query
    headers = _headers(request.get("headers"))
    posted = request.get("postData")
    body = (posted.get("text") or _fields(posted.get("params"))) if isinstance(posted, Mapping) else None
    if isinstance(posted, Mapping) and posted.get("mimeType") and "content-type" not in headers:
        headers["content-type"] = str(posted["mimeType"])
    texts = [path, query, *headers.values(), *([body] if isinstance(body, str) else [])]
    if holds_field(texts):
        found.left_out.append(f"{what}: it holds text that would be read as a field, ${{…}}, or that can't be written")
        return
    if not body and isinstance(posted, Mapping) and posted.get("params"):
        found.left_out.append(f"{what}: a body of files ({headers.get('content-type', '')})")
        return
    told: dict[str, Any] = {"method": method, "path": quote(path, safe=_SAFE_IN_PATH) + _query(found, query)}
    kind = headers.get("content-type", "").lower()
    if isinstance(body, str) and body:
        if "multipart" in kind or is_multipart(body) or (isinstance(posted, Mapping) and posted.get("encoding")):
            found.left_out.append(f"{what}: a body of files ({kind})")
            return
        try:
            told |= _body(found, body, kind)
        except UnreadableBodyError as why:
            found.left_out.append(f"{what}: {why}")
            return
        if "json" in told:
            headers.pop("content-type", None)
    if headers.get("accept") == "*/*":
        del headers["accept"]
    if headers:
        told["headers"] = {name.title(): masked_text(value) for name, value in headers.items()}
    if shape != path:
        told["route"] = shape
    if method not in ("GET", "HEAD", "OPTIONS"):
        told["effect"] = "lasting"
    found.add(operation_name(shape, method), told, what)


def _names(listed: Any) -> dict[str, str]:
    pairs = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    return {str(one.get("name", "")).lower(): str(one.get("value", "")) for one in pairs}


def _headers(listed: Any) -> dict[str, str]:
    named = _names(listed)
    return {name: named[name] for name in _KEPT_HEADERS if named.get(name, "").isprintable() and named.get(name)}


def _query(found: Imported, query: str) -> str:
    if not query:
        return ""
    pairs = parse_qsl(query, keep_blank_values=True)
    return "?" + "&".join(
        f"{quote(name, safe='')}="
        + (found.variable(name) if looks_secret(name) else encoded(redacted_value(value, found.variable), plus=False))
        for name, value in pairs
    )


def _body(found: Imported, text: str, kind: str) -> dict[str, Any]:
    """Return the body as it is declared, without secrets. What it is shows in the text: a declared type may be wrong.

    Raises UnreadableBodyError where secrets can't be told from the rest.
    """
    content = parse_container(text)
    if content is None and ("json" in kind or not kind):
        with suppress(ValueError):
            content = json.loads(text)
    if content is not None:
        content = redacted_json(content, found.variable)
        # Under another type it has to go out under that type, as text; so must what JSON itself can't carry.
        as_json = ("json" in kind or not kind) and is_plain_json(content)
        return {"json": content} if as_json else {"body": json.dumps(content)}
    if "form-urlencoded" in kind and is_form(text):
        return {"body": redacted_form(text, found.variable)}
    return {"body": redacted_text(text, found.variable)}
