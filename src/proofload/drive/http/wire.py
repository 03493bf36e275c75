"""The hot path: users' requests onto connections, answers into rows and back to the users. Knows no workload."""

from __future__ import annotations

import asyncio
import ssl
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from proofload.core.errors import ToolError
from proofload.drive.http.connection import Connection
from proofload.drive.http.parser import Head, Heads
from proofload.drive.rows import CHUNK_ROWS, END, END_AT, PLAN, PLANNED, ROW_BYTES, Rows
from proofload.drive.user import Answer, Pause, Prepared, User, failed
from proofload.plan.operation import Operation
from proofload.record.exchange import NEVER_NS, Ending, Fault

IDLE = object()
"""Yielded by the engine's own users between two iterations."""

# Members by name of their own: looking one up in its enumeration costs as much as a system call's tenth.
_ENDING_ANSWERED = Ending.ANSWERED
_NO_FAULT = Fault.NONE
_ANSWERED = int(Ending.ANSWERED) + 1
_MASK = CHUNK_ROWS - 1
# Often enough that one fold is a fraction of a millisecond, which is what others wait for it.
_FOLD_EVERY = 2_048
_TIMER_TICK_NS = 1_500_000
_MOST_ERRORS = 200
_IDLE_NS = 50_000_000
"""A connection that was idle for longer is looked at before it is used: its end may wait in the kernel, unread."""
_OWN_FILES = str(Path(__file__).parents[1])


class Wire:
    """Everything that a request needs on its way. One for each engine; all of it runs in one event loop."""

    def __init__(
        self,
        *,
        now_ns: Callable[[], int],
        rows: Rows,
        operations: Mapping[str, Operation],
        keep_headers: Collection[str],
        origin: str,
        host_header: str,
        server_name: str,
        ssl_context: ssl.SSLContext | None,
        max_head_bytes: int,
        max_body_bytes: int,
        kept_body_bytes: int,
        first_connection: int,
        connection_step: int,
    ) -> None:
        self.now_ns = now_ns
        self.rows = rows
        self.operations = operations
        self.static_operations = frozenset(name for name, one in operations.items() if one.is_static)
        self.heads = Heads(keep_headers)
        self.known_heads: dict[bytes, Head] = self.heads.known
        self.origin = origin
        self.host_header = host_header
        self.server_name = server_name
        self.ssl_context = ssl_context
        self.max_head_bytes = max_head_bytes
        self.max_body_bytes = max_body_bytes
        self.kept_body_bytes = kept_body_bytes
        self.loop: asyncio.AbstractEventLoop
        self.address: tuple[int, Any]
        self.connections: set[Connection] = set()
        self.opening: set[asyncio.Task[None]] = set()
        self.checks: dict[str, list[int]] = {}
        self.errors: dict[tuple[str, str, str], int] = {}
        self.lags_ns: list[int] = []
        """Sent − intended of arrivals whose connection stood open, since the statistics last looked."""
        self.budget = 2**63
        """Requests from this row number on must wait for the ceiling on the rate."""
        self.dropped = 0
        """Rows that never were requests, and so don't count against a ceiling."""
        self.parked: list[tuple[User, Prepared]] = []
        self.fold: Callable[[], None] = lambda: None
        self.fail: Callable[[ToolError], None] = lambda _error: None
        self.on_quiet: Callable[[], None] = lambda: None
        self._next_connection = first_connection
        self._connection_step = connection_step

    def new_connection(self, user: User) -> Connection:
        """Return a connection for the user, not yet open, with a number of its own."""
        connection = Connection(self, user, self._next_connection)
        self._next_connection += self._connection_step
        user.connection = connection
        return connection

    def dispatch(self, user: User, prepared: Prepared) -> None:
        """Make the request's row and send it, over a new connection where the user has none."""
        rows = self.rows
        row = rows.made
        if row >= self.budget:
            self.parked.append((user, prepared))
            return
        index = row & _MASK
        if not index and not self.has_room():
            return
        rows.made = row + 1
        chunk = rows.chunk
        at = index * ROW_BYTES
        if prepared.own_id is None:
            payload = prepared.template % row
        else:
            payload = prepared.template % ()
            rows.own_ids[row] = prepared.own_id
        connection = user.connection
        sent_ns = now_ns = self.now_ns()
        due_ns = user.due_ns
        if connection is not None and now_ns - connection.first_byte_ns > _IDLE_NS and connection.peer_has_closed():
            connection.retire()
            connection = None
        is_open = connection is not None
        if connection is None:
            connection = self.new_connection(user)
            sent_ns = NEVER_NS
        if due_ns:
            user.due_ns = 0
            if is_open:
                self.lags_ns.append(now_ns - due_ns)
        else:
            due_ns = now_ns
        PLAN.pack_into(
            chunk, at, due_ns, sent_ns, user.number, connection.number, len(payload), user.workload_number,
            prepared.operation, connection.source, user.tag_number, PLANNED,
        )  # fmt: skip
        user.acted = True
        connection.chunk = chunk
        connection.at = at
        connection.row = row
        connection.intended_ns = due_ns
        connection.sent_ns = sent_ns
        connection.deadline_ns = now_ns + prepared.timeout_ns
        connection.prepared = prepared
        connection.busy = True
        connection.reused = is_open
        if prepared.no_body:
            connection.expect_no_body()
        if is_open:
            connection.push(payload)
        else:
            self._open(connection, payload)

    def has_room(self) -> bool:
        """Make room for the next rows; return False, with the run at its end, where there is none."""
        try:
            self.rows.new_chunk()
        except ToolError as error:
            self.fail(error)
            return False
        return True

    def answered(self, connection: Connection, head: Head, body: bytes, size: int, done_ns: int) -> None:
        """Write the end of an answered request into its row, and let the user go on."""
        connection.busy = False
        user = connection.user
        row = connection.row
        prepared = connection.prepared
        status = head.status
        rows = self.rows
        END.pack_into(
            connection.chunk, connection.at + END_AT, _ANSWERED, 0, status, size, connection.first_byte_ns, done_ns
        )
        rows.finished.append(row)
        if head.kept:
            rows.kept.append((row, head.kept))
        if prepared.keep_body:
            rows.bodies[row] = body[: self.kept_body_bytes]
        if not head.keep_alive:
            connection.retire()
        if len(rows.finished) >= _FOLD_EVERY:
            self.fold()
        if user.wants_body:
            self.step(
                user,
                tuple.__new__(
                    Answer,
                    (
                        status, _ENDING_ANSWERED, _NO_FAULT, row, connection.intended_ns, connection.sent_ns,
                        connection.first_byte_ns, done_ns, status in prepared.accepts, head, body,
                    ),
                ),
            )  # fmt: skip
        else:
            self.step(user, None)

    def send_again(self, gone: Connection) -> None:
        """Send a request over a fresh connection; the kept-alive one was closed as it was sent.

        It stays one row: `sent_ns` is that of the first attempt, `connection` the number of the second.
        """
        user = gone.user
        if user.over:
            self.unanswered(gone, Fault.REUSED_CONNECTION_CLOSED)
            return
        connection = self.new_connection(user)
        self._open(connection, connection.take_over(gone))

    def unanswered(self, connection: Connection, fault: Fault) -> None:
        """Write the end of a request that got no answer into its row, and let the user go on."""
        done_ns = self.now_ns()
        ending = Ending.NOT_SENT if connection.sent_ns == NEVER_NS else Ending.UNKNOWN
        first_ns = connection.first_byte_ns
        if ending is Ending.NOT_SENT or first_ns < connection.sent_ns:
            first_ns = NEVER_NS
        END.pack_into(connection.chunk, connection.at + END_AT, ending + 1, fault, 0, 0, first_ns, done_ns)
        if ending is Ending.NOT_SENT:
            connection.write_not_sent()
        self.rows.finished.append(connection.row)
        if len(self.rows.finished) >= _FOLD_EVERY:
            self.fold()
        answer = failed(ending, fault, connection.row, connection.intended_ns, connection.sent_ns, done_ns)
        # Through the loop: a user that fails at once, again and again, must not keep everybody else waiting.
        self.loop.call_soon(self.step, connection.user, answer)

    def step(self, user: User, value: Any) -> None:
        """Let the user's script run until it waits for something again."""
        while not user.over:
            try:
                command = user.send(value)
            except StopIteration:
                user.looping = False
                if not user.runner.ended(user):
                    return
                value = None
                continue
            except Exception as error:  # noqa: BLE001 -- a script may raise anything; it ends that iteration only
                user.looping = False
                self._note(user, error)
                if not user.runner.ended(user):
                    return
                value = None
                continue
            if command is user:
                self.dispatch(user, user.next)
            elif command is IDLE:
                if user.runner.ended(user):
                    value = None
                    continue
            else:
                self._wait(user, command)
            return

    def advance(self, user: User) -> bool:
        """Run the user's script up to its next request and hold that back; return whether it came to one."""
        try:
            command = user.send(None)
        except StopIteration:
            user.looping = False
        except Exception as error:  # noqa: BLE001 -- as in step
            user.looping = False
            self._note(user, error)
        else:
            if command is user:
                return True
            self._wait(user, command)
            return False
        if user.runner.ended(user):
            self.loop.call_soon(self.step, user, None)
        return False

    def resume(self, user: User) -> None:
        """Step a user whose pause is over."""
        user.timer = None
        self.step(user, None)

    def _wait(self, user: User, command: Any) -> None:
        user.acted = True
        if isinstance(command, Pause):
            if command.precise:
                self._creep(user, command.until_ns)
            else:
                left_s = max(0, command.until_ns - self.now_ns()) / 1e9
                user.timer = self.loop.call_later(left_s, self.resume, user)
        elif getattr(command, "_asyncio_future_blocking", None):
            command._asyncio_future_blocking = False
            command.add_done_callback(lambda _done: self.step(user, None))
        else:
            # `asyncio.sleep(0)` yields None: come back in the next turn.
            user.timer = self.loop.call_soon(self.resume, user)

    def _creep(self, user: User, until_ns: int) -> None:
        left_ns = until_ns - self.now_ns()
        if left_ns <= 0:
            self.resume(user)
        elif left_ns > _TIMER_TICK_NS:
            user.timer = self.loop.call_later((left_ns - _TIMER_TICK_NS) / 1e9, self._creep, user, until_ns)
        else:
            user.timer = self.loop.call_soon(self._creep, user, until_ns)

    def _open(self, connection: Connection, payload: bytes) -> None:
        task = self.loop.create_task(connection.open_for_request(payload))
        connection.task = task
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    def _note(self, user: User, error: Exception) -> None:
        place = "?"
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.startswith(_OWN_FILES) or place == "?":
                place = f"{frame.filename}:{frame.lineno} in {frame.name}"
        key = (user.runner.name, place, f"{type(error).__name__}: {error}")
        if key in self.errors or len(self.errors) < _MOST_ERRORS:
            self.errors[key] = self.errors.get(key, 0) + 1

    def connection_gone(self) -> None:
        """Tell who waits for it when the last connection is closed."""
        if not self.connections:
            self.on_quiet()
