"""One connection of one user, and the request that is under way on it: from the socket into the row."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

from proofload.drive.http.parser import BadResponseError, Head, ResponseReader
from proofload.drive.rows import SENT, SENT_AT
from proofload.record.exchange import NEVER_NS, Fault

if TYPE_CHECKING:
    from proofload.drive.http.wire import Wire
    from proofload.drive.user import Prepared, User

_IP_BIND_ADDRESS_NO_PORT = 24  # Linux: choose the port at connect, so that one source can hold many connections
_LONGEST_WAIT_S = 3_600.0
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_NO_LOCAL_ADDRESS = (errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.EAGAIN)
_RACE_NS = 250_000_000
"""A connection that breaks this soon after a request was on its way before the request; later, the peer had it."""
_REPEATABLE = (b"GET ", b"HEAD ", b"OPTIONS ", b"PUT ", b"DELETE ", b"TRACE ")
"""RFC 9110 section 9.2.2: sent twice, these have the effect of once."""


class Connection(asyncio.Protocol):
    """Belongs to one user for life. Whatever happens, a request that was begun on it is ended exactly once."""

    __slots__ = (
        "armed_ns", "at", "busy", "chunk", "deadline_ns", "first_byte_ns", "intended_ns", "lost", "now_ns", "number",
        "prepared", "reader", "reused", "row", "sent_ns", "sock", "sock_send", "source", "task", "timer", "transport",
        "user", "wire",
    )  # fmt: skip

    def __init__(self, wire: Wire, user: User, number: int) -> None:
        self.wire = wire
        self.user = user
        self.number = number
        self.now_ns = wire.now_ns
        self.source = 0
        self.transport: Any = None
        self.sock: socket.socket | None = None
        self.sock_send: Any = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.armed_ns = 0
        self.deadline_ns = 0
        self.busy = False
        self.lost = False
        self.reused = False
        """Stood open before the request that is under way was sent."""
        self.reader: ResponseReader | None = None
        self.prepared: Prepared
        self.chunk: Any = None
        self.at = 0
        self.row = 0
        self.intended_ns = 0
        self.sent_ns = NEVER_NS
        self.first_byte_ns = NEVER_NS

    # -- opening -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, from the user's source address. Raises OSError or ssl.SSLError."""
        wire = self.wire
        family, address = wire.address
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.user.source:
                    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                    sock.bind((self.user.source, 0))
            await wire.loop.sock_connect(sock, address)
            self.source = wire.rows.sources.number(sock.getsockname()[0] if family != socket.AF_UNIX else "unix")
            tls: dict[str, Any] = {}
            if wire.ssl_context is not None:
                tls = {"ssl": wire.ssl_context, "server_hostname": wire.server_name}
            await wire.loop.create_connection(lambda: self, sock=sock, **tls)
        except BaseException:
            sock.close()
            raise
        self.sock = sock
        if wire.ssl_context is None:
            # Straight to the kernel: the time stamp before it is then that of the first byte, not of some queue.
            self.sock_send = sock.send
        # Idle from now on.
        self.first_byte_ns = self.now_ns()

    async def open_for_request(self, payload: bytes) -> None:
        """Open, then send what the user asked for meanwhile; what goes wrong ends the request."""
        fault = Fault.NONE
        try:
            async with asyncio.timeout((self.deadline_ns - self.now_ns()) / 1e9):
                await self.open()
        except TimeoutError:
            fault = Fault.CONNECT_TIMEOUT
        except ConnectionRefusedError:
            fault = Fault.CONNECT_REFUSED
        except ssl.SSLError:
            fault = Fault.TLS_FAILED
        except OSError as error:
            fault = self._why_not(error)
        self.task = None
        if fault is not Fault.NONE:
            self.drop(fault)
        elif self.busy and not self.lost:
            if self.sent_ns == NEVER_NS:
                self.sent_ns = self.now_ns()
            self.first_byte_ns = NEVER_NS
            SENT.pack_into(self.chunk, self.at + SENT_AT, self.sent_ns, self.user.number, self.number)
            self.write_source()
            self.push(payload)

    def _why_not(self, error: OSError) -> Fault:
        """Return what a failed connection is due to: this machine, the target, or its TLS."""
        if error.errno in _NO_DESCRIPTOR:
            return Fault.NO_DESCRIPTOR
        # At a Unix socket EAGAIN says that the server's backlog is full.
        if error.errno in _NO_LOCAL_ADDRESS and not (
            error.errno == errno.EAGAIN and self.wire.address[0] == socket.AF_UNIX
        ):
            return Fault.NO_LOCAL_ADDRESS
        return Fault.TLS_FAILED if self.source and self.wire.ssl_context is not None else Fault.CONNECT_FAILED

    def write_source(self) -> None:
        """Write the source address into the row: with none chosen, it is known only now."""
        self.chunk[self.at + 32 : self.at + 34] = self.source.to_bytes(2, "little")

    # -- sending -----------------------------------------------------------------------------------------------------

    def peer_has_closed(self) -> bool:
        """Return whether an idle connection is of no more use: its end, or what nobody asked for, has come in."""
        assert self.sock is not None
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def take_over(self, gone: Connection) -> bytes:
        """Make the request of a connection that is gone one's own, with its instants, and return its bytes."""
        self.prepared, self.chunk, self.at, self.row = gone.prepared, gone.chunk, gone.at, gone.row
        self.intended_ns, self.sent_ns, self.deadline_ns = gone.intended_ns, gone.sent_ns, gone.deadline_ns
        self.busy = True
        if self.prepared.no_body:
            self.expect_no_body()
        return self.prepared.template % (self.row if self.prepared.own_id is None else ())

    def push(self, payload: bytes) -> None:
        """Hand the request to the kernel, and see to its time limit."""
        if self.sock_send is None:
            self.transport.write(payload)
        else:
            try:
                gone = self.sock_send(payload)
            except BlockingIOError:
                gone = 0
            except OSError:
                # Not a byte of this request left us, so it had no effect.
                self.sent_ns = NEVER_NS
                self.drop(Fault.RESET)
                return
            if gone != len(payload):
                self.transport.write(payload[gone:])
        if not self.armed_ns or self.deadline_ns < self.armed_ns:
            self.arm()

    def arm(self) -> None:
        """Set the timer for the time limit: one timer serves all requests that end in time."""
        if self.timer is not None:
            self.timer.cancel()
        self.armed_ns = self.deadline_ns
        wait_s = min(max(0, self.deadline_ns - self.now_ns()) / 1e9, _LONGEST_WAIT_S)
        self.timer = self.wire.loop.call_later(wait_s, self._limit_reached)

    def _limit_reached(self) -> None:
        self.timer = None
        self.armed_ns = 0
        if not self.busy:
            return
        if self.deadline_ns > self.now_ns():
            self.arm()
        else:
            self.drop(Fault.TIMEOUT)

    def expect_no_body(self) -> None:
        """Read the next response as one to HEAD: its length tells of a body that does not come."""
        self.reader = self._new_reader()

    def write_not_sent(self) -> None:
        """Take the sent instant out of the row again."""
        SENT.pack_into(self.chunk, self.at + SENT_AT, NEVER_NS, self.user.number, self.number)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Take the transport over."""
        self.transport = transport
        self.wire.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """End the request if this is its whole response, as it mostly is; else read it piece by piece."""
        done_ns = self.now_ns()
        if self.reader is None and self.busy:
            end = data.find(b"\r\n\r\n") + 4
            raw = data[:end]
            head = self.wire.known_heads.get(raw)
            if head is None and 4 < end <= self.wire.max_head_bytes:
                try:
                    head = self.wire.heads.learn(raw)
                except BadResponseError as error:
                    self.first_byte_ns = done_ns
                    self.drop(error.fault)
                    return
            if head is not None and head.size == len(data):
                self.first_byte_ns = done_ns
                self.wire.answered(self, head, data[end:] if self.user.wants_body else b"", head.size, done_ns)
                return
        self._piece_received(data, done_ns)

    def _piece_received(self, data: bytes, done_ns: int) -> None:
        if not self.busy:
            # Nobody asked: whatever this is, the next answer could not be told from it.
            self.retire()
            return
        reader = self.reader
        if reader is None:
            reader = self.reader = self._new_reader()
        if self.first_byte_ns < self.sent_ns:
            # What stands there is of the request before.
            self.first_byte_ns = done_ns
        try:
            whole = reader.feed(data)
        except BadResponseError as error:
            self.drop(error.fault)
            return
        if whole:
            self._whole(reader, done_ns, reusable=not reader.excess)

    def _new_reader(self) -> ResponseReader:
        wire = self.wire
        keep = self.user.wants_body or self.prepared.keep_body
        return ResponseReader(
            wire.heads,
            no_body=self.prepared.no_body,
            keep_body=keep,
            max_head=wire.max_head_bytes,
            max_body=wire.max_body_bytes,
        )

    def _whole(self, reader: ResponseReader, done_ns: int, *, reusable: bool) -> None:
        head = reader.head
        assert head is not None
        if not reusable:
            head = _not_reusable(head)
        self.reader = None
        self.wire.answered(self, head, reader.body, reader.size, done_ns)

    def eof_received(self) -> bool:
        """Take the peer's close as the end of a body that has no other, and an idle connection's as its end."""
        reader = self.reader
        if not self.busy:
            # The loop tells of the loss only later, and the next request might come first.
            self.retire()
        elif reader is not None and reader.eof():
            self._whole(reader, self.now_ns(), reusable=False)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """End what was under way: the peer closed or reset."""
        self.lost = True
        self.wire.connections.discard(self)
        self.drop(Fault.CLOSED if error is None else Fault.RESET)
        self.wire.connection_gone()

    # -- ending ------------------------------------------------------------------------------------------------------

    def drop(self, fault: Fault) -> None:
        """End the request that is under way, if any, without an answer, and the connection with it."""
        busy, self.busy = self.busy, False
        self.reader = None
        self.retire(abort=True)
        if not busy:
            return
        if self.reused and fault in (Fault.CLOSED, Fault.RESET) and self._crossed():
            if self.sent_ns == NEVER_NS or self.prepared.template.startswith(_REPEATABLE):
                self.wire.send_again(self)
                return
            fault = Fault.REUSED_CONNECTION_CLOSED
        self.wire.unanswered(self, fault)

    def _crossed(self) -> bool:
        """Return whether the peer's close and our request crossed: no byte of an answer, and no time to make one."""
        if self.sent_ns == NEVER_NS:
            return True
        return self.first_byte_ns < self.sent_ns and self.now_ns() - self.sent_ns < _RACE_NS

    def retire(self, *, abort: bool = False) -> None:
        """Part from the user and close; the user's next request opens another connection."""
        if self.user.connection is self:
            self.user.connection = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.task is not None:
            self.task.cancel()
        if self.transport is not None and not self.lost:
            # A TLS close waits for the peer's consent, which a broken peer never gives.
            if abort or self.sock_send is None:
                self.transport.abort()
            else:
                self.transport.close()


def _not_reusable(head: Head) -> Head:
    return Head(head.raw, head.status, head.length, keep_alive=False, kept=head.kept)
