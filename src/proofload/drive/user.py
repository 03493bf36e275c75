"""The virtual user as a script sees it, and the answers that it gets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack
from urllib.parse import urljoin, urlsplit

from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND
from proofload.drive.http.parser import Head
from proofload.plan.operation import Method, Operation, render, to_template
from proofload.record.exchange import NEVER_NS, Ending, Fault

if TYPE_CHECKING:
    import asyncio

    from proofload.drive.http.connection import Connection
    from proofload.drive.http.wire import Wire

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """How a request ended. `status` is 0 where no whole response came back."""

    status: int
    ending: Ending
    fault: Fault
    row: int
    """The row of the history that tells of it."""
    intended_ns: int
    sent_ns: int
    first_byte_ns: int
    done_ns: int
    ok: bool
    """Answered, with a status that the operation accepts (or the call's `expect`)."""
    head: Head | None
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """All headers of the response by lower-case name."""
        return self.head.headers if self.head else _NO_HEADERS

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body read as JSON. Raises ValueError where it is none."""
        return json.loads(self.body)


class Prepared:
    """A request ready to go on the wire, but for its row number."""

    __slots__ = ("accepts", "keep_body", "no_body", "operation", "own_id", "template", "timeout_ns")

    def __init__(
        self,
        template: bytes,
        operation: int,
        timeout_ns: int,
        accepts: frozenset[int],
        *,
        own_id: str | None,
        no_body: bool,
        keep_body: bool,
    ) -> None:
        self.template = template
        self.operation = operation
        self.timeout_ns = timeout_ns
        self.accepts = accepts
        self.own_id = own_id
        self.no_body = no_body
        self.keep_body = keep_body


class Call:
    """An awaitable request; awaiting it twice sends it twice."""

    __slots__ = ("_prepared", "_user")

    def __init__(self, user: User, prepared: Prepared) -> None:
        self._user = user
        self._prepared = prepared

    def __await__(self) -> Generator[User, Answer, Answer]:
        user = self._user
        user.next = self._prepared
        return (yield user)


class Pause:
    """Told to the wire by an awaiting user: come back at an instant, precisely or to the timer's tick."""

    __slots__ = ("precise", "until_ns")

    def __init__(self, until_ns: int, *, precise: bool) -> None:
        self.until_ns = until_ns
        self.precise = precise

    def __await__(self) -> Generator[Pause, None, None]:
        yield self


class Options(TypedDict, total=False):
    """What a call may say beside its operation or path."""

    json: Any
    data: bytes | str
    headers: Mapping[str, str]
    name: str
    """The operation's name in the history, for a path; without it the path without its query."""
    expect: int | tuple[int, ...]
    keep_body: bool
    timeout_s: float


class User:
    """A session: one request at a time, over its own connection, from its own source address.

    Only its own script may use it. Scripts may keep what they like in `state`; `token` is sent by operations with
    bearer authentication.
    """

    __slots__ = (
        "_fields", "_tag", "_token", "acted", "calls", "close_script", "connection", "due_ns", "feeder", "identity",
        "index", "is_prepared", "iterations", "leaving", "looping", "next", "number", "over", "runner", "send",
        "source", "state", "tag_number", "timer", "wants_body", "wire", "workload_number",
    )  # fmt: skip

    def __init__(
        self, wire: Wire, runner: Any, index: int, number: int, source: str, identity: Mapping[str, Any]
    ) -> None:
        self.wire = wire
        self.runner = runner
        self.index = index
        """Its place among the users of the workload, from 0."""
        self.number = number
        """As it stands in the history's column `user`: one of its own for every user of a run."""
        self.source = source
        self.identity = identity
        self.state: dict[str, Any] = {}
        self.workload_number = runner.number
        self.feeder = runner.feeder
        self.wants_body = False
        self.connection: Connection | None = None
        self.next: Any = None
        self.send: Callable[[Any], Any] = _nothing
        self.close_script: Callable[[], None] = _nothing_to_close
        self.due_ns = 0
        self.leaving = False
        self.over = False
        self.acted = False
        self.iterations = 0
        self.looping = False
        self.is_prepared = False
        self.timer: asyncio.Handle | None = None
        self.calls: dict[str | tuple[str, str], Call] = {}
        """Requests whose bytes never change: a GET by its target, others by method and target."""
        self._fields = _Fields(self)
        self._token: str | None = identity.get("token")
        self._tag = ""
        self.tag_number = 0
        self.tag = runner.tag

    @property
    def token(self) -> str | None:
        """What `Authorization: Bearer` carries."""
        return self._token

    @token.setter
    def token(self, token: str | None) -> None:
        if token != self._token:
            self.calls.clear()
        self._token = token

    @property
    def tag(self) -> str:
        """Stands in the history's column `tag` of the requests that follow."""
        return self._tag

    @tag.setter
    def tag(self, tag: str) -> None:
        self._tag = tag
        self.tag_number = self.wire.rows.tags.number(tag)

    def request(self, target: str, **options: Unpack[Options]) -> Awaitable[Answer]:
        """Return an awaitable that sends the named operation with its own method, or a GET of a path."""
        return self._call("", target, options)

    def get(self, target: str, **options: Unpack[Options]) -> Awaitable[Answer]:
        """Return an awaitable GET of an operation or a path."""
        # The most frequent call of all, and so without another call in between.
        call = self.calls.get(target)
        if call is not None and not options:
            return call
        return self._call("GET", target, options)

    def head(self, target: str, **options: Unpack[Options]) -> Awaitable[Answer]:
        """Return an awaitable HEAD of an operation or a path."""
        return self._call("HEAD", target, options)

    def post(self, target: str, **options: Unpack[Options]) -> Awaitable[Answer]:
        """Return an awaitable POST to an operation or a path."""
        return self._call("POST", target, options)

    def put(self, target: str, **options: Unpack[Options]) -> Awaitable[Answer]:
        """Return an awaitable PUT to an operation or a path."""
        return self._call("PUT", target, options)

    def patch(self, target: str, **options: Unpack[Options]) -> Awaitable[Answer]:
        """Return an awaitable PATCH of an operation or a path."""
        return self._call("PATCH", target, options)

    def delete(self, target: str, **options: Unpack[Options]) -> Awaitable[Answer]:
        """Return an awaitable DELETE of an operation or a path."""
        return self._call("DELETE", target, options)

    async def follow(self, answer: Answer, most: int = 5) -> Answer:
        """Follow the redirects of `answer`, each a request of its own, and return the first answer that is none.

        Raises PlanError for a redirect to another server: nobody has vetted that one.
        """
        at = "/"
        while answer.status in (301, 302, 303, 307, 308) and "location" in answer.headers and most > 0:
            most -= 1
            where = urljoin(f"{self.wire.origin}{at}", answer.headers["location"])
            parts = urlsplit(where)
            if f"{parts.scheme}://{parts.netloc}" != self.wire.origin:
                raise PlanError([Problem("redirect", where, f"a place on {self.wire.origin}", "follow it by hand")])
            at = parts.path + (f"?{parts.query}" if parts.query else "")
            answer = await self.get(at or "/", name="(redirect)")
        return answer

    def pause(self, seconds: float) -> Awaitable[None]:
        """Return an awaitable that takes this long, to the millisecond or two of the loop's timer."""
        return Pause(self.wire.now_ns() + round(seconds * NS_PER_SECOND), precise=False)

    def pause_until_ns(self, until_ns: int) -> Awaitable[None]:
        """Return an awaitable that ends at this monotonic instant, to a few microseconds; never before."""
        return Pause(until_ns, precise=True)

    def check(self, name: str, ok: bool) -> bool:
        """Record whether something held, and return it."""
        counts = self.wire.checks.setdefault(name, [0, 0])
        counts[0 if ok else 1] += 1
        return ok

    def feed(self) -> Mapping[str, Any]:
        """Return the next record of the workload's data; they begin again when they are used up."""
        try:
            return next(self.feeder)
        except StopIteration:
            raise PlanError([Problem(self.runner.name, "no data", "records in `data=` of the workload")]) from None

    def reconnect(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self.connection is not None:
            self.connection.retire()

    def prepare(self, method: str, target: str, options: Options) -> Prepared:
        """Return the request that a call with these arguments sends. Raises PlanError."""
        wire = self.wire
        operation = wire.operations.get(target)
        if operation is None:
            operation = _ad_hoc(target, method or "GET", options.get("name"), wire)
        elif method and method != operation.method:
            got = f"{method} of an operation that is declared as {operation.method}"
            raise PlanError([Problem(f"operation {target}", got, f"user.{operation.method.lower()} or user.request")])
        changes: dict[str, Any] = {"headers": options.get("headers"), "data": options.get("data")}
        if "json" in options:
            changes["json_body"] = options["json"]
        rendered = render(operation, self._fields, token=self._token, **changes)
        accepts = operation.statuses
        if (expect := options.get("expect")) is not None:
            accepts = frozenset((expect,) if isinstance(expect, int) else expect)
        seconds = options.get("timeout_s")
        return Prepared(
            to_template(rendered, wire.host_header, wire.rows.id_prefix),
            wire.rows.operations.number(options.get("name") or operation.name),
            operation.timeout if seconds is None else round(seconds * NS_PER_SECOND),
            accepts,
            own_id=rendered.request_id,
            no_body=rendered.method == "HEAD",
            keep_body=options.get("keep_body", operation.keep_body),
        )

    def _call(self, method: str, target: str, options: Options) -> Call:
        if not options:
            key = target if method == "GET" else (method, target)
            call = self.calls.get(key)
            if call is None:
                call = Call(self, self.prepare(method, target, options))
                operation = self.wire.operations.get(target)
                # Fields may change between two calls; the bytes of a request without any can't.
                if operation is None or operation.name in self.wire.static_operations:
                    self.calls[key] = call
            return call
        return Call(self, self.prepare(method, target, options))


class _Fields(dict[str, object]):
    """What `${…}` can name: `user.<key of the identity or attribute>`, or a key of the user's state."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self._user = user

    def __missing__(self, name: str) -> object:
        user = self._user
        if name.startswith("user."):
            key = name[len("user.") :]
            if key in user.identity:
                return user.identity[key]
            if key in ("index", "number", "source", "tag", "token"):
                return getattr(user, key)
        return user.state[name]


def failed(ending: Ending, fault: Fault, row: int, intended_ns: int, sent_ns: int, done_ns: int) -> Answer:
    """Return the answer that stands for none."""
    return Answer(0, ending, fault, row, intended_ns, sent_ns, NEVER_NS, done_ns, False, None, b"")


def _ad_hoc(target: str, method: str, name: str | None, wire: Wire) -> Operation:
    if not target.startswith("/"):
        known = ", ".join(sorted(wire.operations)) or "none declared"
        raise PlanError([Problem("request", repr(target), f"the name of an operation ({known}) or a path")])
    kind: Any = method
    checked: Method = kind
    return Operation(name=name or target.partition("?")[0], method=checked, path=target)


def _nothing(_value: Any) -> Any:
    raise StopIteration


def _nothing_to_close() -> None:
    pass
