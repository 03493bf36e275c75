"""The client of a Locust user: calls that look as if they waited, over a virtual user that never blocks."""

from __future__ import annotations

import json as jsons
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from http.cookies import CookieError, SimpleCookie
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode, urlsplit

from proofload.core.errors import PlanError, Problem
from proofload.drive.user import Answer, User

_TAKEN = frozenset(
    {"params", "data", "json", "headers", "name", "catch_response", "auth", "timeout", "allow_redirects"}
)
_FIRST_ERROR = 400
_REMEDY = "see docs/howto/locust.md"


class ResponseError(Exception):
    """What `raise_for_status` raises: the answer was no success."""


class NotSupportedError(AttributeError):
    """The file uses what our stand-in for Locust lacks: the tool's fault, never the target's."""


class Response:
    """An answer in the shape that Locust files expect. With `catch_response` it is judged in a `with` block."""

    def __init__(
        self, answer: Answer, name: str, note: Callable[[str, bool], object] | None, request: SimpleNamespace
    ) -> None:
        self.request = request
        self.url = request.url
        self.elapsed = timedelta(microseconds=max(0, answer.done_ns - answer.sent_ns) // 1_000)
        self.reason = _reason(answer)
        self.cookies = _cookies(answer)
        self.encoding = "utf-8"
        self.history: list[Response] = []
        self.status_code = answer.status
        self.headers = answer.headers
        self.content = answer.body
        self.text = answer.text
        self.ok = 0 < answer.status < _FIRST_ERROR
        self._name = name
        self._note = note
        self._told: bool | None = None

    def __getattr__(self, name: str) -> Any:
        """Raise NotSupportedError for what answers of Locust have and ours don't."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotSupportedError(f"the attribute {name} of a response, which proofload does not offer; {_REMEDY}")

    def iter_lines(self, *, decode_unicode: bool = False) -> Iterator[Any]:
        """Yield the lines of the body, as bytes or as text."""
        yield from (self.text if decode_unicode else self.content).splitlines()

    def iter_content(self, chunk_size: int = 1) -> Iterator[bytes]:
        """Yield the body in pieces."""
        for at in range(0, len(self.content), chunk_size):
            yield self.content[at : at + chunk_size]

    def json(self) -> Any:
        """Return the body read as JSON. Raises ValueError where it is none."""
        return jsons.loads(self.content)

    def raise_for_status(self) -> None:
        """Raise ResponseError where there was no answer, or one of an error."""
        if not self.ok:
            raise ResponseError(f"{self._name}: status {self.status_code}")

    def success(self) -> None:
        """Let the check hold, whatever the status. The request stands in the history by its status all the same."""
        self._told = True

    def failure(self, _why: object) -> None:
        """Let the check fail, whatever the status."""
        self._told = False

    def __enter__(self) -> Response:
        """Begin to judge the answer."""
        if self._note is None:
            raise PlanError([Problem(self._name, "a `with` block", "catch_response=True in its call")])
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Record as a check whether the answer was what the file wanted."""
        assert self._note is not None
        if isinstance(kind, type) and issubclass(kind, NotSupportedError):
            return
        held = self.ok if self._told is None else self._told
        self._note(self._name, held and kind is None)


class LocustClient:
    """Sends for one user, to one server. Its cookies and `headers` go with every request.

    `base` is the path that the user's host ends with: paths are put behind it, whole URLs stand as they are.
    """

    def __init__(self, user: User, base: str, wait_for: Callable[[Awaitable[Any]], Any]) -> None:
        self._base = base.rstrip("/")
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}
        self._user = user
        self._wait_for = wait_for

    def get(self, url: str, **options: Any) -> Response:
        """Send a GET."""
        return self.request("GET", url, **options)

    def post(self, url: str, data: Any = None, json: Any = None, **options: Any) -> Response:
        """Send a POST."""
        return self.request("POST", url, data=data, json=json, **options)

    def put(self, url: str, data: Any = None, **options: Any) -> Response:
        """Send a PUT."""
        return self.request("PUT", url, data=data, **options)

    def patch(self, url: str, data: Any = None, **options: Any) -> Response:
        """Send a PATCH."""
        return self.request("PATCH", url, data=data, **options)

    def delete(self, url: str, **options: Any) -> Response:
        """Send a DELETE."""
        return self.request("DELETE", url, **options)

    def head(self, url: str, **options: Any) -> Response:
        """Send a HEAD."""
        return self.request("HEAD", url, **{"allow_redirects": False, **options})

    def request(self, method: str, url: str, **options: Any) -> Response:
        """Send a request and return its answer; redirects on the same server are followed.

        Raises PlanError for an argument that is not supported, and for a URL of another server: nobody vetted that one.
        """
        if unknown := sorted(options.keys() - _TAKEN):
            taken = ", ".join(sorted(_TAKEN))
            raise PlanError([Problem(f"{method} {url}", f"the argument {unknown[0]}", taken, "docs/howto/locust.md")])
        path = self._path(url, options.get("params"))
        name = str(options.get("name") or f"{method} {path.partition('?')[0]}")
        told: dict[str, Any] = {"name": name, "headers": self._headers(options)}
        if options.get("json") is not None:
            told["json"] = options["json"]
        elif (data := options.get("data")) is not None:
            told["data"] = urlencode(data, doseq=True) if isinstance(data, Mapping | list) else data
            if isinstance(data, Mapping | list):
                told["headers"].setdefault("Content-Type", "application/x-www-form-urlencoded")
        if options.get("timeout") is not None:
            told["timeout_s"] = float(options["timeout"])
        answer = self._wait_for(getattr(self._user, method.lower())(path, **told))
        self._keep_cookies(answer)
        if options.get("allow_redirects", True):
            answer = self._wait_for(self._user.follow(answer))
        request = SimpleNamespace(
            method=method, url=self._user.wire.origin + path, headers=told["headers"], body=told.get("data")
        )
        return Response(answer, name, self._user.check if options.get("catch_response") else None, request)

    def _path(self, url: str, params: Any) -> str:
        parts = urlsplit(url)
        if parts.netloc and f"{parts.scheme}://{parts.netloc}" != self._user.wire.origin:
            raise PlanError([Problem("request", url, f"a place on {self._user.wire.origin}")])
        query = "&".join(part for part in (parts.query, urlencode(params, doseq=True) if params else "") if part)
        path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
        if not parts.netloc:
            path = self._base + path
        return path + (f"?{query}" if query else "")

    def _headers(self, options: Mapping[str, Any]) -> dict[str, str]:
        headers = {**self.headers, **(options.get("headers") or {})}
        if self.cookies:
            headers.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if options.get("auth"):
            headers["Authorization"] = "Basic " + b64encode(":".join(options["auth"]).encode()).decode()
        return headers

    def _keep_cookies(self, answer: Answer) -> None:
        self.cookies |= _cookies(answer)


def _cookies(answer: Answer) -> dict[str, str]:
    try:
        found = SimpleCookie(answer.headers.get("set-cookie", ""))
    except CookieError:
        return {}
    return {name: one.coded_value for name, one in found.items()}


def _reason(answer: Answer) -> str:
    """Return the words of the status line."""
    line = answer.head.raw.partition(b"\r\n")[0] if answer.head else b""
    return line.partition(b" ")[2].partition(b" ")[2].decode("latin-1")
