"""A probe says what it saw, and nothing where it saw something else: slowness is no crash, an error is no silence."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proofload.faults.probes import Probe, answers, down, fails, held_by, refuses, silent

Look = Callable[[str], Probe]
LOOKS: dict[str, Look] = {
    "answers": lambda url: answers(url, wait_s=0.5),
    "fails": lambda url: fails(url, wait_s=0.5),
    "refuses": refuses,
    "down": down,
    "silent": lambda url: silent(url, wait_s=0.2),
}

# What a server does, and which probes shall see it.
SEEN: dict[str, set[str]] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n": {"answers"},
    "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n": {"fails"},
    "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n": set(),
    "SSH-2.0-OpenSSH\r\n": {"down"},
    "close": {"down"},
    "wait": {"silent"},
    "nobody": {"refuses", "down"},
}


@pytest.mark.parametrize("does", SEEN)
def test_each_probe_sees_what_it_is_for_and_nothing_else(does: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if does == "wait":
            await reader.read()
        elif does != "close":
            writer.write(does.encode())
        writer.close()

    async def work() -> dict[str, str | None]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/health"
        if does == "nobody":
            server.close()
            await server.wait_closed()
        seen = {name: await look(url)() for name, look in LOOKS.items()}
        server.close()
        await server.wait_closed()
        return seen

    seen = asyncio.run(work())
    assert {name for name, evidence in seen.items() if evidence is not None} == SEEN[does]
    assert all("127.0.0.1" in evidence for evidence in seen.values() if evidence is not None)


@pytest.mark.parametrize("kind", ["restart", "fail_n"])
def test_what_is_over_by_itself_has_no_probe(kind: str) -> None:
    with pytest.raises(KeyError):
        held_by(kind, "http://127.0.0.1:1")


def test_every_other_kind_has_one() -> None:
    kinds: list[Any] = ["stop", "kill", "disconnect", "reset", "pause", "black_hole", "delay", "status"]
    assert all(held_by(kind, "http://127.0.0.1:1") for kind in kinds)
