"""What a response head says: framing, reuse, and the headers to keep."""

import pytest

from proofload.drive.http.parser import LIBRARY, UNTIL_CLOSE, BadResponseError, Heads, ResponseReader
from proofload.record.exchange import Fault


def head(lines: str, start: str = "HTTP/1.1 200 OK") -> bytes:
    return f"{start}\r\n{lines}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("raw", "length", "keep_alive"),
    [
        (head("Content-Length: 5"), 5, True),
        (head("content-length:5 \t"), 5, True),
        (head("X-Content-Length: 7\r\nContent-Length: 5"), 5, True),
        (head("Content-Length: 5\r\nConnection: close"), 5, False),
        (head("Content-Length: 5\r\nConnection: Foo, CLOSE"), 5, False),
        (head("Content-Length: 5\r\nConnection: closet"), 5, True),
        (head("Content-Length: 5", "HTTP/1.0 200 OK"), 5, False),
        (head("Content-Length: 5\r\nConnection: keep-alive", "HTTP/1.0 200 OK"), 5, True),
        (head("Transfer-Encoding: chunked"), LIBRARY, True),
        (head("Content-Length: 5\r\nContent-Length: 5"), LIBRARY, True),
        (head("Content-Length: +5"), LIBRARY, True),
        (head("Server: x"), UNTIL_CLOSE, True),
        (head("Content-Length: 5", "HTTP/1.1 204 No Content"), 0, True),
        (head("Content-Length: 5", "HTTP/1.1 304"), 0, True),
    ],
)
def test_framing_and_reuse(raw: bytes, length: int, keep_alive: bool) -> None:
    learnt = Heads().learn(raw)
    assert (learnt.length, learnt.keep_alive) == (length, keep_alive)


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-x\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2OO OK\r\n\r\n", b"HTTP/1.1200 OK\r\n\r\n"]
)
def test_what_is_no_head_is_refused(raw: bytes) -> None:
    with pytest.raises(BadResponseError):
        Heads().learn(raw)


def test_kept_headers_are_found_by_whole_name_in_any_case_and_joined() -> None:
    raw = head("X-RateLimit-Remaining-Day: 9\r\nx-ratelimit-REMAINING:  4 \r\nVia: a\r\nVia: b\r\nContent-Length: 0")
    learnt = Heads(["X-RateLimit-Remaining", "Via", "Absent"]).learn(raw)
    assert learnt.kept == ((0, "4"), (1, "a, b"))
    assert learnt.headers["via"] == "a, b"
    assert learnt.headers["x-ratelimit-remaining-day"] == "9"


def test_limits_are_faults_of_their_own() -> None:
    def fault(reader: ResponseReader, *pieces: bytes) -> Fault:
        with pytest.raises(BadResponseError) as caught:
            list(map(reader.feed, pieces))
        return caught.value.fault

    endless = b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 0123456789\r\n" * 100
    assert fault(ResponseReader(Heads(), max_head=1_000), endless) is Fault.TOO_LARGE
    assert fault(ResponseReader(Heads(), max_body=10), head("Content-Length: 50") + b"x" * 50) is Fault.TOO_LARGE
    chunked = head("Transfer-Encoding: chunked")
    assert fault(ResponseReader(Heads(), max_head=500), chunked, b"1;" + b"e" * 5_000) is Fault.TOO_LARGE
    assert fault(ResponseReader(Heads()), b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n") is Fault.BAD_RESPONSE
    assert fault(ResponseReader(Heads()), b"garb") is Fault.BAD_RESPONSE


def test_a_body_that_nobody_wants_is_counted_and_not_held() -> None:
    reader = ResponseReader(Heads(), keep_body=False, max_body=10)
    assert not reader.feed(head("Content-Length: 100000") + b"x" * 40_000)
    assert reader.feed(b"x" * 60_000)
    assert reader.body == b""
    assert reader.size == 100_000 + len(head("Content-Length: 100000"))


def test_head_requests_have_no_body_whatever_the_length_says() -> None:
    reader = ResponseReader(Heads(), no_body=True)
    assert reader.feed(head("Content-Length: 100"))
    reader = ResponseReader(Heads(), no_body=True)
    assert reader.feed(head("Transfer-Encoding: chunked"))
    assert not reader.excess
