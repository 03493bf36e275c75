"""A backend that answers as a test says: a real server on loopback, no mock."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted:
    """Answers every request with `status` (and the error code in `code`), after `delay`, and counts them."""

    def __init__(self) -> None:
        self.status = 200
        self.code = ""
        self.hold = threading.Event()
        self.hold.set()
        self.hits = 0
        self.headers_seen: list[dict[str, str]] = []
        self.extra_headers: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.hits += 1
                outer.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
                status, code = outer.status, outer.code
                outer.hold.wait(10)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "2")
                if code:
                    self.send_header("x-error-code", code)
                for name, value in outer.extra_headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the server looks for these names

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_arguments: object) -> None:
                pass  # a gateway that gives up on us breaks the connection

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
