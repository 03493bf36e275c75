"""The response reader under any fragmentation of valid answers, and under mutations of them."""

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from proofload.drive.http.parser import BadResponseError, Heads, ResponseReader

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: "x-" + name)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30).map(str.strip)
BODIES = st.binary(max_size=300)


CHANGES = st.lists(
    st.tuples(st.integers(0, 2_000), st.sampled_from(["set", "cut", "add"]), st.integers(0, 255)), max_size=4
)


def mutated(valid: bytes, changes: list[tuple[int, str, int]]) -> bytes:
    raw = bytearray(valid)
    for at, kind, value in changes:
        place = at % max(len(raw), 1)
        if kind == "set" and raw:
            raw[place] = value
        elif kind == "cut":
            del raw[place : place + 3]
        else:
            raw.insert(place, value)
    return bytes(raw)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int, bytes, bool]:
    """A valid response: its bytes, status, body, and whether the close ends it."""
    status = draw(st.sampled_from([200, 201, 204, 304, 404, 429, 503]))
    body = b"" if status in (204, 304) else draw(BODIES)
    framing = draw(st.sampled_from(["length", "chunked", "close"])) if status not in (204, 304) else "none"
    head = [f"HTTP/1.1 {status} {draw(st.sampled_from(['OK', 'Too Many Requests', '']))}"]
    head += [
        f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{draw(VALUES)}" for name in draw(st.lists(TOKENS, max_size=4))
    ]
    payload = body
    if framing == "length":
        head.insert(
            draw(st.integers(1, len(head))),
            f"{draw(st.sampled_from(['Content-Length', 'CONTENT-LENGTH']))}: {len(body)}",
        )
    elif framing == "chunked":
        head.append("Transfer-Encoding: chunked")
        payload = b"".join(_chunks(draw, body)) + draw(st.sampled_from([b"0\r\n\r\n", b"000\r\nX-Trailer: 1\r\n\r\n"]))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    raw = interim + "\r\n".join(head).encode() + b"\r\n\r\n" + payload
    return raw, status, body, framing == "close"


def _chunks(draw: st.DrawFn, body: bytes) -> list[bytes]:
    pieces = []
    while body:
        size = draw(st.integers(1, len(body)))
        extension = draw(st.sampled_from([b"", b";a=b"]))
        pieces.append(b"%x%b\r\n%b\r\n" % (size, extension, body[:size]))
        body = body[size:]
    return pieces


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    return [raw[low:high] for low, high in itertools.pairwise(edges)]


def read(pieces: list[bytes]) -> tuple[str, int, bytes]:
    """Feed the pieces, then the close; return how it went, the status and the body."""
    reader = ResponseReader(Heads(("x-a",)))
    try:
        for piece in pieces:
            if piece and reader.feed(piece):
                assert reader.head is not None
                return "whole", reader.head.status, reader.body
    except BadResponseError:
        return "bad", 0, b""
    whole = reader.eof()
    if not whole or reader.head is None:
        return "short", 0, b""
    return "by close", reader.head.status, reader.body


@given(answers(), st.lists(st.integers(0, 2_000), max_size=12))
def test_any_fragmentation_gives_the_same_answer(answer: tuple[bytes, int, bytes, bool], places: list[int]) -> None:
    raw, status, body, by_close = answer
    assert read(cut(raw, places)) == ("by close" if by_close else "whole", status, body)


@given(answers())
def test_byte_by_byte(answer: tuple[bytes, int, bytes, bool]) -> None:
    raw, status, body, by_close = answer
    pieces = [raw[i : i + 1] for i in range(len(raw))]
    assert read(pieces) == ("by close" if by_close else "whole", status, body)


@given(answers(), st.binary(min_size=1, max_size=20))
def test_what_follows_an_answer_is_noticed_and_never_part_of_the_body(
    answer: tuple[bytes, int, bytes, bool], garbage: bytes
) -> None:
    raw, status, body, by_close = answer
    if by_close or b"Transfer-Encoding" in raw:
        return
    reader = ResponseReader(Heads())
    assert reader.feed(raw + garbage)
    assert reader.head is not None
    assert (reader.head.status, reader.body, reader.excess) == (status, body, True)


@given(
    answers(),
    CHANGES,
    st.lists(st.integers(0, 2_000), max_size=6),
)
@example((b"HTTP/1.1 200 \r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 200, b"ab", False), [], [])
@example((b"HTTP/1.1 200 \r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", 200, b"ab", False), [], [])
def test_a_mutated_answer_ends_the_same_way_however_it_is_cut(
    answer: tuple[bytes, int, bytes, bool], changes: list[tuple[int, str, int]], places: list[int]
) -> None:
    raw = mutated(answer[0], changes)
    whole = read([raw])
    assert whole == read(cut(raw, places))
    assert whole == read([bytes([byte]) for byte in raw])


@given(answers(), CHANGES)
def test_the_quick_way_takes_nothing_that_the_reader_would_not(
    answer: tuple[bytes, int, bytes, bool], changes: list[tuple[int, str, int]]
) -> None:
    raw = mutated(answer[0], changes)
    end = raw.find(b"\r\n\r\n") + 4
    try:
        head = Heads().learn(raw[:end]) if end > 4 else None
    except BadResponseError:
        assert read([raw])[0] == "bad"
        return
    if head is not None and head.size == len(raw):
        assert read([raw]) == ("whole", head.status, raw[end:])
