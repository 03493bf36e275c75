"""The engine against nginx and HAProxy: keep-alive limits, chunks, TLS, IPv6, Unix sockets, redirects, resets."""

from pathlib import Path
from typing import Any

import pytest
import uvloop

from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint, TlsSettings
from proofload.drive.user import Answer, User
from proofload.plan.operation import Operation
from proofload.plan.workload import ConstantRate, Sequence, SharedIterations
from proofload.record.delivery import Delivery
from proofload.record.exchange import Ending, Fault
from proofload.record.history import History

from .conftest import Nginx

pytestmark = pytest.mark.xdist_group("real-servers")

MS = 1_000_000


def ask(endpoint: Endpoint, *paths: str, **options: Any) -> tuple[list[Answer], History]:
    """Send a GET for each path over one user's connection."""

    async def main() -> tuple[list[Answer], History]:
        answers: list[Answer] = []

        async def script(user: User) -> None:
            answers.extend([await user.get(path, timeout_s=2.0) for path in paths])

        engine = Engine(endpoint, **options)
        await engine.run(Sequence(name="w", run=script, n=1))
        return answers, engine.history()

    return uvloop.run(main())


def local(port: int, scheme: str = "http", host: str = "127.0.0.1") -> Endpoint:
    return Endpoint.of(f"{scheme}://{host}:{port}")


def test_keep_alive_is_used_up_to_the_servers_limit(nginx: Nginx) -> None:
    answers, history = ask(local(nginx.port), *["/plain"] * 12)
    assert [answer.body for answer in answers] == [b"plain"] * 12
    assert history.frame["connection"].to_list() == [0] * 5 + [1] * 5 + [2] * 2


def test_what_nginx_sends_is_read_right(nginx: Nginx) -> None:
    answers, _ = ask(local(nginx.port), "/chunked", "/empty", "/big", "/missing")
    assert answers[0].headers["transfer-encoding"] == "chunked"
    assert answers[0].body == b"begin " + b"GET" * 3 + b" end"
    assert (answers[1].status, answers[1].body) == (204, b"")
    assert answers[2].body == b"0123456789" * 300_000
    assert (answers[3].status, answers[3].ok, answers[3].ending) == (404, False, Ending.ANSWERED)


def test_a_closed_connection_without_an_answer_is_unknown(nginx: Nginx) -> None:
    answers, _ = ask(local(nginx.port), "/reset", "/plain")
    assert (answers[0].ending, answers[0].fault) == (Ending.UNKNOWN, Fault.CLOSED)
    assert answers[1].ok


def test_redirects_are_followed_when_asked_and_never_elsewhere(nginx: Nginx) -> None:
    seen: list[Answer] = []

    async def main() -> Delivery:
        async def script(user: User) -> None:
            moved = await user.get("/moved")
            seen.append(moved)
            seen.append(await user.follow(moved))
            await user.follow(await user.get("/nowhere"))

        engine = Engine(local(nginx.port))
        await engine.run(Sequence(name="w", run=script, n=1))
        return engine.delivery()

    delivery = uvloop.run(main())
    assert [answer.status for answer in seen] == [302, 200]
    assert seen[1].body == b"plain"
    assert "192.0.2.1" in delivery.user_errors[0].text


def test_ipv6_and_unix_sockets(nginx: Nginx) -> None:
    answers, history = ask(local(nginx.ipv6_port, host="[::1]"), "/")
    assert answers[0].body == b"six"
    assert history.frame["source"].to_list() == ["::1"]
    answers, history = ask(Endpoint.of("http://gateway.test", nginx.socket), "/plain", "/plain")
    assert [answer.body for answer in answers] == [b"plain"] * 2
    assert history.frame["source"].to_list() == ["unix"] * 2


def test_tls_is_verified_against_our_own_ca_and_names_the_server(nginx: Nginx) -> None:
    trusted = TlsSettings(ca_file=nginx.ca)
    answers, history = ask(local(nginx.tls_port, "https", "localhost"), *["/sni"] * 7, tls=trusted)
    assert [answer.body for answer in answers] == [b"tls"] * 7
    assert history.frame["connection"].n_unique() == 2
    assert "localhost /sni" in nginx.log.read_text()
    for settings, host in ((TlsSettings(), "localhost"), (trusted, "127.0.0.2")):
        endpoint = Endpoint(
            "127.0.0.1", nginx.tls_port, tls=True, server_name=host if host == "localhost" else "other.test"
        )
        answers, history = ask(endpoint, "/", tls=settings)
        assert (answers[0].ending, answers[0].fault) == (Ending.NOT_SENT, Fault.TLS_FAILED)
    answers, _ = ask(local(nginx.tls_port, "https"), "/", tls=TlsSettings(verify=False))
    assert answers[0].ok


def test_client_certificates(nginx: Nginx) -> None:
    endpoint = local(nginx.mutual_port, "https", "localhost")
    with_one = TlsSettings(ca_file=nginx.ca, certificate=nginx.client)
    answers, _ = ask(endpoint, "/", tls=with_one)
    assert answers[0].body == b"SUCCESS"
    answers, _ = ask(endpoint, "/", tls=TlsSettings(ca_file=nginx.ca))
    assert answers[0].status == 400


def test_haproxy_closing_rejecting_and_falling_silent(haproxy_port: int) -> None:
    answers, history = ask(
        local(haproxy_port), "/keep", "/keep", "/close", "/keep", "/reject", "/keep", "/silent", "/other"
    )
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 0, 200, 0, 503]
    assert answers[4].ending is Ending.UNKNOWN
    assert answers[4].fault in (Fault.CLOSED, Fault.RESET)
    assert (answers[6].ending, answers[6].fault) == (Ending.UNKNOWN, Fault.TIMEOUT)
    # /reject is asked again over a connection of its own, since the kept-alive one might have closed as it was sent.
    assert history.frame["connection"].to_list() == [0, 0, 0, 1, 2, 3, 3, 4]


def test_many_users_over_tls_and_short_connections(nginx: Nginx, haproxy_port: int) -> None:
    async def main(endpoint: Endpoint, path: str, tls: TlsSettings) -> History:
        engine = Engine(endpoint, {"read": Operation(path=path)}, tls=tls)
        await engine.run(SharedIterations(name="w", run="read", users=20, iterations=200))
        return engine.history()

    for endpoint, path in ((local(nginx.tls_port, "https", "localhost"), "/"), (local(haproxy_port), "/close")):
        history = uvloop.run(main(endpoint, path, TlsSettings(ca_file=nginx.ca)))
        counts = history.counts()
        assert counts[Ending.ANSWERED] == len(history) == 200, history.frame.group_by("fault").len()


def test_headers_and_bodies_lie_in_files_too_and_come_back(nginx: Nginx, tmp_path: Path) -> None:
    async def main(spill: Path | None) -> tuple[History, int]:
        operation = Operation(path="/plain", keep_body=True)
        engine = Engine(
            local(nginx.port), {"read": operation}, keep_headers=["Server"], spill=spill, memory_rows=0, id_prefix="x-"
        )
        await engine.run(Sequence(name="w", run="read", n=30))
        held = len(engine.rows.kept) + len(engine.rows.bodies)
        history = engine.history()
        engine.close()
        return history, held

    in_memory, held = uvloop.run(main(None))
    assert held == 60
    in_files, held = uvloop.run(main(tmp_path))
    assert held == 0
    for history in (in_memory, in_files):
        assert history.frame["body"].to_list() == [b"plain"] * 30
        assert all("nginx" in str(value) for value in history.header("server"))
        assert history.frame["request_id"][29] == "x-000000001d"


def test_rows_past_the_memory_limit_lie_in_files(nginx: Nginx, tmp_path: Path) -> None:
    async def main() -> tuple[History, list[bool]]:
        endpoint = Endpoint.of("http://gateway.test", nginx.socket)
        engine = Engine(endpoint, {"read": Operation(path="/plain")}, spill=tmp_path, memory_rows=0)
        # Arrivals that find nobody free are rows at once: many rows, in little time.
        await engine.run(
            ConstantRate(name="w", run="read", rate=1_000_000, for_ns=150 * MS, max_users=1, graceful_ns=MS)
        )
        history = engine.history()
        held = [chunk is not None for chunk in engine.rows._chunks]
        engine.close()
        return history, held

    history, held = uvloop.run(main())
    assert len(history) == 150_000
    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == [64 << 16] * 3
    # What has ended is in the files only; the memory is flat.
    assert held == [False, False, True]
    assert history.frame["request_id"].n_unique() == 150_000
    assert (history.numbers("intended_ns")[1:] >= history.numbers("intended_ns")[:-1]).all()
