"""A small HTTP server for one person: the page, its state as server-sent events, and the bundle once it is sealed."""

from __future__ import annotations

import json
import mimetypes
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from proofload.core.errors import ToolError
from proofload.record.bundle import Bundle
from proofload.report.watch import Watch

_SECONDS_BETWEEN = 1.0
_MOST_LISTENERS = 16
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OWN = {
    "": ("live.html", "text/html; charset=utf-8"),
    "live.js": ("live.js", "text/javascript; charset=utf-8"),
    "live.css": ("live.css", "text/css; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
}


class LivePage:
    """Serves what a run is doing: `with LivePage.start() as page: page.show(watch) ... page.end(bundle, report)`."""

    def __init__(self, server: ThreadingHTTPServer, token: str) -> None:
        self._server = server
        self.token = token
        self.url = f"http://127.0.0.1:{server.server_address[1]}/{token}/"
        self.stays = True
        """Whether who sits at a terminal may read on after the run."""
        self._watch: Watch | None = None
        self._bundle: Bundle | None = None
        self._over = ""
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._listeners = threading.Semaphore(_MOST_LISTENERS)
        self._following: set[int] = set()
        """Who was told that the run is over, and has not come for the report yet."""
        self._thread = threading.Thread(target=self._serve, name="live page", daemon=True)

    @classmethod
    def start(cls, port: int = 0) -> LivePage:
        """Listen on the loopback address, on a free port, and return at once. Raises ToolError where that fails."""
        token = secrets.token_urlsafe(18)

        class Handler(_Handler):
            pass

        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise ToolError(f"--ui: could not listen on 127.0.0.1 ({error.strerror})") from error
        server.daemon_threads = True
        page = cls(server, token)
        Handler.page = page
        page._thread.start()
        return page

    def __enter__(self) -> LivePage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, watch: Watch) -> None:
        """Show this run from now on."""
        with self._changed:
            self._watch, self._bundle, self._over = watch, None, ""
            self._changed.notify_all()

    def end(self, bundle: Path, report: str) -> None:
        """Send those who watch to the report of the sealed bundle."""
        with self._changed:
            self._bundle, self._over = Bundle(bundle), f"bundle/{report}"
            self._changed.notify_all()

    def wait_for_followers(self, timeout_s: float) -> None:
        """Give the pages that are open the time to fetch the report; return at once where there is none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._following, timeout_s)

    def close(self) -> None:
        """Stop serving; whoever still listens is let go."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def state(self) -> dict[str, Any]:
        """Return what an event carries."""
        return self._watch.snapshot(over=self._over) if self._watch is not None else {"cases": [], "over": ""}

    def file(self, name: str) -> bytes | None:
        """Return a file of the sealed bundle that its manifest names, or None."""
        bundle = self._bundle
        if bundle is None or name not in bundle.names():
            return None
        return bundle.read_bytes(name)

    def follow(self, write: _Write) -> None:
        """Write the state as events until the run is over, the page is gone or the server closes."""
        if not self._listeners.acquire(blocking=False):
            return
        me = threading.get_ident()
        try:
            with self._changed:
                self._following.add(me)
            while not self._closing.is_set():
                write(b"retry: 1000\ndata: " + json.dumps(self.state()).encode() + b"\n\n")
                with self._changed:
                    if self._over:
                        return
                    self._changed.wait(_SECONDS_BETWEEN)
        finally:
            self._listeners.release()
            with self._changed:
                if not self._over:
                    self._following.discard(me)

    def fetched(self) -> None:
        """Note that somebody came for the report."""
        with self._changed:
            if self._following:
                self._following.pop()
            self._changed.notify_all()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.1)


class _Write:
    """Writes to one client, at once."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._file = handler.wfile

    def __call__(self, content: bytes) -> None:
        self._file.write(content)
        self._file.flush()


class _Handler(BaseHTTPRequestHandler):
    page: ClassVar[LivePage]
    protocol_version = "HTTP/1.1"
    server_version = "proofload"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer the page's own requests; anything else does not exist."""
        _, token, rest = (*unquote(urlsplit(self.path).path).split("/", 2), "", "")[:3]
        # The Host must be ours: a name that somebody made point to 127.0.0.1 opens nothing.
        known = {f"{name}:{self.server.server_address[1]}" for name in ("127.0.0.1", "localhost")}  # type: ignore[index]
        is_ours = secrets.compare_digest(token.encode(), self.page.token.encode()) and self.headers["Host"] in known
        if not is_ours:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain")
        elif rest == "events":
            self._stream()
        elif rest in _OWN:
            name, kind = _OWN[rest]
            self._answer(HTTPStatus.OK, _own(name), kind)
        elif rest.startswith("bundle/"):
            self._from_bundle(rest.removeprefix("bundle/"))
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain")

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the run."""

    def _from_bundle(self, name: str) -> None:
        content = self.page.file(name)
        if content is None:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain")
            return
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        # The report brings its own policy, which forbids more.
        self._answer(HTTPStatus.OK, content, f"{kind}; charset=utf-8", policy=not name.endswith(".html"))
        self.page.fetched()

    def _stream(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.page.follow(_Write(self))
        except OSError:
            # The page was closed or reloaded; it comes back by itself if it wants to.
            return

    def _answer(self, status: HTTPStatus, content: bytes, kind: str, *, policy: bool = True) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if policy:
            self.send_header("Content-Security-Policy", _POLICY)
        self.end_headers()
        self.wfile.write(content)


def _own(name: str) -> bytes:
    place = "proofload.report.html" if name == "style.css" else "proofload.report.served"
    folder = "templates" if name == "style.css" else "page"
    return (resources.files(place) / folder / name).read_bytes()
