"""Fuzz the HTTP response reader: `make fuzz`. The first byte says how to cut what follows; no input may surprise it."""

import sys

import atheris

with atheris.instrument_imports(include=["proofload.drive.http.parser"]):
    from proofload.drive.http.parser import BadResponseError, Heads, ResponseReader

_SEEDS = (
    b"\x00HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"\x03HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"\x07HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\n\r\nbye",
)


def outcome(data: bytes, piece: int, *, no_body: bool) -> tuple[object, ...]:
    """Return how reading `data` in pieces went; the same data must go the same way in pieces of any size."""
    reader = ResponseReader(Heads(("x-a",)), no_body=no_body, max_head=4_096, max_body=65_536)
    try:
        for at in range(0, len(data), piece):
            if reader.feed(data[at : at + piece]):
                assert reader.head is not None
                return "whole", reader.head.status, reader.body
    except BadResponseError as error:
        return ("bad", error.fault)
    return "open", reader.eof(), reader.body if reader.head is not None else b""


def one_input(data: bytes) -> None:
    """Read the input whole and in pieces, and compare."""
    if not data:
        return
    no_body, raw = bool(data[0] & 1), data[1:]
    whole = outcome(raw, len(raw) or 1, no_body=no_body)
    pieces = outcome(raw, 1 + (data[0] >> 1), no_body=no_body)
    # Which limit is hit first may depend on the pieces; that it ends badly may not.
    if whole[0] != pieces[0] or (whole[0] != "bad" and whole != pieces):
        raise AssertionError(f"{whole} whole, {pieces} in pieces of {1 + (data[0] >> 1)}")


if __name__ == "__main__":
    atheris.Setup([*sys.argv], one_input)
    for seed in _SEEDS:
        one_input(seed)
    atheris.Fuzz()
