"""k6's JSON lines, read: instants, endings, names, and what is refused."""

import gzip
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.core.errors import PlanError
from proofload.drive.k6 import read_results
from proofload.drive.k6.results import DROPPED
from proofload.plan.reader import parse_target
from proofload.record.exchange import NEVER_NS, Ending, Fault

_TARGET = parse_target(
    """version: 1
address: http://127.0.0.1:8080
operations:
  one: {path: "/orders/${user.order}"}
  all: {path: /orders/all}
  make: {path: /orders, method: POST}
""",
    "test",
    {},
)
_PARTS = ("http_req_duration", "http_req_blocked", "http_req_connecting", "http_req_tls_handshaking")


def point(metric: str, at: str, value: float, tags: Mapping[str, str]) -> str:
    return json.dumps({"metric": metric, "type": "Point", "data": {"time": at, "value": value, "tags": dict(tags)}})


def request(at: str, parts_ms: Iterable[float], **tags: str) -> list[str]:
    told = {"url": "http://127.0.0.1:8080/orders/all", "method": "GET", "name": "x", "status": "200", **tags}
    durations = [point(part, at, value, told) for part, value in zip(_PARTS, parts_ms, strict=True)]
    return [point("http_reqs", at, 1, told), *durations, point("http_req_failed", at, 0, told)]


def read(folder: Path, *lines: str, end: str = "\n") -> Any:
    path = folder / "results.json"
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return read_results(path, _TARGET)


def test_a_request_lies_between_all_its_parts_before_the_stamp_and_the_stamp(tmp_path: Path) -> None:
    results = read(
        tmp_path,
        *request("2026-11-23T12:00:01.000000250+02:00", (10, 2, 1, 0.5)),
        *request("2026-11-23T10:00:01.5Z", (4, 0, 0, 0)),
    )
    first, second = results.history.exchanges([0, 1])
    assert (first.sent_ns, first.intended_ns, first.done_ns) == (0, 0, 13_500_000)
    assert second.done_ns - first.done_ns == 500_000_000 - 250
    assert second.done_ns - second.sent_ns == 4_000_000
    assert (first.ending, first.status, first.source) == (Ending.ANSWERED, 200, "")
    assert results.anchor.to_wall_ns(first.done_ns) % 10**10 == 1_000_000_250
    assert list(results.history.clock_uncertainty_ns()) == [1_000, 1_000]


def test_stamps_of_whole_milliseconds_make_the_intervals_wider(tmp_path: Path) -> None:
    results = read(tmp_path, *request("2026-11-23T10:00:01.123Z", (4, 0, 0, 0)))
    assert list(results.history.clock_uncertainty_ns()) == [1_000_000]


def test_two_requests_with_one_stamp_are_two_rows(tmp_path: Path) -> None:
    one = request("2026-11-23T10:00:01.123456Z", (4, 0, 0, 0))
    assert len(read(tmp_path, *one, *one).history) == 2


@pytest.mark.parametrize(
    ("code", "ending", "fault"),
    [
        ("1212", Ending.NOT_SENT, Fault.CONNECT_REFUSED),
        ("1101", Ending.NOT_SENT, Fault.CONNECT_FAILED),
        ("1050", Ending.UNKNOWN, Fault.TIMEOUT),
        ("1220", Ending.UNKNOWN, Fault.CLOSED),
        ("", Ending.UNKNOWN, Fault.CLOSED),
    ],
)
def test_what_got_no_answer_may_have_been_sent_unless_it_surely_was_not(
    code: str, ending: Ending, fault: Fault, tmp_path: Path
) -> None:
    lost = request("2026-11-23T10:00:09.0Z", (0, 0, 0, 0), status="0", error_code=code)
    results = read(tmp_path, *request("2026-11-23T10:00:01.0Z", (4, 0, 0, 0)), *lost)
    row = results.history.exchanges([1])[0]
    assert (row.ending, row.fault, row.status) == (ending, fault, 0)
    assert row.sent_ns == (0 if ending is Ending.UNKNOWN else NEVER_NS)


def test_operations_are_known_by_name_then_by_method_and_path(tmp_path: Path) -> None:
    at, parts, base = "2026-11-23T10:00:01.1Z", (1, 0, 0, 0), "http://127.0.0.1:8080"
    told = [
        {"name": "make", "url": f"{base}/anything"},
        {"url": f"{base}/orders/all"},
        {"url": f"{base}/orders/7?full=1"},
        {"url": f"{base}/orders", "method": "POST"},
        {"url": f"{base}/orders"},
    ]
    results = read(tmp_path, *(line for tags in told for line in request(at, parts, **tags)))
    named = [one.operation for one in results.history]
    assert named == ["make", "all", "one", "make", "GET /orders"]
    assert results.paths[2] == "/orders/7?full=1"


def test_dropped_iterations_are_rows_and_other_hosts_are_not(tmp_path: Path) -> None:
    at = "2026-11-23T10:00:01.1Z"
    results = read(
        tmp_path,
        *request(at, (1, 0, 0, 0)),
        *request(at, (1, 0, 0, 0), url="http://127.0.0.1:9/other"),
        point("dropped_iterations", at, 3, {}),
    )
    assert results.elsewhere == 1
    assert [one.operation for one in results.history] == ["all", DROPPED, DROPPED, DROPPED]
    assert results.history.counts()[Ending.DROPPED] == 3


def test_a_last_line_that_is_cut_off_is_a_doubt_and_any_other_is_refused(tmp_path: Path) -> None:
    whole = request("2026-11-23T10:00:01.1Z", (1, 0, 0, 0))
    assert not read(tmp_path, *whole).doubts
    assert "middle of a line" in read(tmp_path, *whole, '{"metric":"http_', end="").doubts[0]
    with pytest.raises(PlanError, match=r"results.json:7"):
        read(tmp_path, *whole, '{"metric":"http_', *whole)


def test_a_packed_file_reads_alike(tmp_path: Path) -> None:
    path = tmp_path / "results.json.gz"
    path.write_bytes(gzip.compress("\n".join(request("2026-11-23T10:00:01.1Z", (1, 0, 0, 0))).encode()))
    assert len(read_results(path, _TARGET).history) == 1


@pytest.mark.parametrize("text", ["", "{}\n", "[1]\n", '{"metric":"http_reqs","type":"Point","data":{"value":1}}\n'])
def test_what_is_no_run_of_k6_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlanError, match="k6 run --out json"):
        read_results(path, _TARGET)


_HEAD = (
    "metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,name,proto,scenario,"
    "service,status,subproto,tls_version,url,extra_tags,metadata"
)


def row(metric: str, at: str, value: float, *, name: str = "x", url: str = "http://127.0.0.1:8080/orders/all") -> str:
    return f'{metric},{at},{value:.6f},,"a, b",,true,,GET,{name},HTTP/1.1,default,,200,,,{url},,'


def as_csv(at: str, **told: str) -> list[str]:
    return [_HEAD, row("http_reqs", at, 1, **told), *(row(part, at, 4, **told) for part in _PARTS)]


@pytest.mark.parametrize(
    ("at", "doubt_ns"), [("1795734023", 10**9), ("1795734023897", 10**6), ("1795734023897819684", 1_000)]
)
def test_csv_is_doubted_as_far_as_its_instants_are_coarse(tmp_path: Path, at: str, doubt_ns: int) -> None:
    results = read(tmp_path, *as_csv(at))
    (one,) = results.history.exchanges([0])
    assert (one.operation, one.status, one.done_ns - one.sent_ns) == ("all", 200, 16_000_000)
    assert list(results.history.clock_uncertainty_ns()) == [doubt_ns]


def test_a_named_request_whose_name_hides_its_url_is_known_by_the_operation(tmp_path: Path) -> None:
    results = read(tmp_path, *as_csv("1795734023897", name="all", url="all"))
    assert (results.elsewhere, results.paths) == (0, ("/orders/all",))
    assert read(tmp_path, *as_csv("1795734023897", name="other", url="other")).elsewhere == 1


def test_csv_that_ends_in_a_line_is_doubted_and_torn_inside_is_refused(tmp_path: Path) -> None:
    whole = as_csv("1795734023897")
    assert "middle of a line" in read(tmp_path, *whole, "http_reqs,17957", end="").doubts[0]
    with pytest.raises(PlanError, match="columns"):
        read(tmp_path, *whole, "http_reqs,17957", *whole[1:])
    with pytest.raises(PlanError, match="a point"):
        read(tmp_path, *as_csv("yesterday"))


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=6))
def test_any_csv_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    with suppress(PlanError):
        read(tmp_path_factory.mktemp("any"), *as_csv("1795734023897"), *lines)
