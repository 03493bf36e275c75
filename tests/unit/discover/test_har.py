"""Archives become target files: the right operations, no secret, and every problem told."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from tests.listening import Listener
from typer.testing import CliRunner

from proofload.cli.import_files import imports
from proofload.core.errors import PlanError, SafetyError
from proofload.discover.har import read_har
from proofload.plan.reader import parse_target

HOST = "http://127.0.0.1:8080"


def recorded(method: str, path: str, body: str = "", kind: str = "application/json", **headers: str) -> dict[str, Any]:
    named = [{"name": name.replace("_", "-"), "value": value} for name, value in headers.items()]
    url = path if "://" in path else HOST + path
    told: dict[str, Any] = {"method": method, "url": url, "headers": named}
    if body:
        told["postData"] = {"mimeType": kind, "text": body}
    return {"request": told}


def archive(*entries: dict[str, Any]) -> str:
    return json.dumps({"log": {"version": "1.2", "entries": list(entries)}})


def operations(text: str, **options: Any) -> dict[str, Any]:
    found = read_har(text, "x.har", **options)
    target = parse_target(found.text("x.har"), "x.har", dict.fromkeys(found.variables, "held"))
    assert target.address == found.address
    return found.operations


def test_requests_that_differ_in_ids_are_one_operation_with_a_route() -> None:
    text = archive(*(recorded("GET", f"/api/orders/{i}?page=2") for i in (17, 18, 19)))
    assert operations(text) == {
        "orders_by_id": {"method": "GET", "path": "/api/orders/17?page=2", "route": "/api/orders/{id}"}
    }


def test_secrets_stay_behind_wherever_they_stand() -> None:
    deep = json.dumps({"name": "a", "password": "S3CRET-a", "session": {"id": ["S3CRET-b"], "fresh": True}})
    text = archive(
        recorded("POST", "/login", deep, Cookie="S3CRET-c"),
        recorded("GET", "/me?api_key=S3CRET-d&page=1", Authorization="Bearer S3CRET-e", X_Api_Key="S3CRET-f"),
        recorded("POST", "/form", "a=1&token=S3CRET-g", "application/x-www-form-urlencoded"),
        recorded("POST", "/text", "password=S3CRET-h", "text/plain"),
        recorded("GET", HOST.replace("//", "//me:S3CRET-i@") + "/who"),
    )
    found = read_har(text, "x.har")
    written = found.text("x.har")
    assert "S3CRET" not in written
    assert found.operations["post_login"]["json"] == {
        "name": "a",
        "password": "${env:IMPORTED_PASSWORD}",
        "session": {"id": ["${env:IMPORTED_SESSION}"], "fresh": True},
    }
    assert found.operations["me"]["path"] == "/me?api_key=${env:IMPORTED_API_KEY}&page=1"
    assert found.operations["post_form"]["body"] == "a=1&token=${env:IMPORTED_TOKEN}"
    assert "the header Authorization" in written
    assert len(found.operations) == 5


def test_a_form_told_by_its_fields_alone_is_no_empty_body() -> None:
    form, upload = recorded("POST", "/form"), recorded("POST", "/upload")
    fields = [{"name": "name", "value": "a b"}, {"name": "password", "value": "S3CRET-a"}]
    form["request"]["postData"] = {"mimeType": "application/x-www-form-urlencoded", "params": fields}
    file = {"name": "photo", "fileName": "a.png", "contentType": "image/png"}
    upload["request"]["postData"] = {"mimeType": "multipart/form-data", "params": [file]}
    found = read_har(archive(form, upload), "x.har")
    assert found.operations["post_form"]["body"] == "name=a+b&password=${env:IMPORTED_PASSWORD}"
    assert list(found.operations) == ["post_form"]
    assert "POST /upload: a body of files (multipart/form-data)" in found.left_out


def test_other_servers_and_pictures_are_left_out_and_said() -> None:
    text = archive(
        recorded("GET", "/a"), recorded("GET", "/b"), recorded("GET", "/x.css"), recorded("GET", "http://cdn.test/c")
    )
    found = read_har(text, "x.har")
    assert list(found.operations) == ["a", "b"]
    assert found.left_out == [
        f"1 requests to other servers than {HOST}",
        "1 images, styles and scripts (--all takes them, too)",
    ]
    assert list(operations(text, statics=True)) == ["a", "b", "x_css"]
    assert list(operations(text, origin="http://cdn.test/")) == ["c"]


def test_what_would_be_read_as_a_field_of_ours_is_left_out() -> None:
    found = read_har(archive(recorded("GET", "/a"), recorded("POST", "/b", '{"x": "${env:HOME}"}')), "x.har")
    assert list(found.operations) == ["a"]
    assert "read as a field" in found.left_out[0]


def test_all_problems_are_told_at_once() -> None:
    text = json.dumps({"log": {"entries": [{}, {"request": {"method": "GET"}}, recorded("GET", "/")]}})
    with pytest.raises(PlanError) as told:
        read_har(text, "x.har")
    assert "log.entries[0].request" in str(told.value)
    assert "log.entries[1].request" in str(told.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"log": 3}', '{"log": {"entries": {}}}', archive()])
def test_what_is_no_archive_or_an_empty_one_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="expected"):
        read_har(text, "x.har")


def test_the_command_writes_a_file_once(tmp_path: Path) -> None:
    source, out = tmp_path / "x.har", tmp_path / "proofload.yaml"
    source.write_text(archive(recorded("GET", "/a")), encoding="utf-8")
    ask = ["har", str(source), "--out", str(out)]
    assert CliRunner().invoke(imports, ask).exit_code == 0
    assert yaml.safe_load(out.read_text())["operations"] == {"a": {"method": "GET", "path": "/a"}}
    again = CliRunner().invoke(imports, ask)
    assert isinstance(again.exception, PlanError)
    assert CliRunner().invoke(imports, [*ask, "--force"]).exit_code == 0


def test_an_openapi_document_becomes_operations_with_variables_for_what_nobody_can_guess(tmp_path: Path) -> None:
    schema = {"properties": {"username": {}, "password": {}}, "required": ["username", "password"]}
    login = {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": {}}
    document = {
        "openapi": "3.0.0",
        "servers": [{"url": f"{HOST}/v1"}],
        "paths": {"/login": {"post": login}, "/orders/{order_id}": {"get": {}}, "/health": {"get": {}}},
    }
    source = tmp_path / "openapi.json"
    source.write_text(json.dumps(document), encoding="utf-8")
    told = CliRunner().invoke(imports, ["openapi", str(source)])
    target = parse_target(told.stdout, "told", {"IMPORTED_ORDER_ID": "7"})
    assert target.address == HOST
    assert {name: one.path for name, one in target.operations.items()} == {
        "post_login": "/v1/login",
        "orders_by_order_id": "/v1/orders/7",
        "health": "/v1/health",
    }
    assert target.users is not None
    assert target.users.login == "post_login"
    relative = source.with_name("relative.json")
    relative.write_text(json.dumps({**document, "servers": [{"url": "/v1"}]}), encoding="utf-8")
    assert isinstance(CliRunner().invoke(imports, ["openapi", str(relative)]).exception, PlanError)
    named = CliRunner().invoke(imports, ["openapi", str(relative), "--address", HOST])
    assert "path: /v1/health" in named.stdout


PLACED = {
    "servers": [{"url": "/v1"}],
    "paths": {
        "/search": {
            "get": {
                "parameters": [
                    {"name": "q&a", "in": "query", "required": True},
                    {"name": "page", "in": "query"},
                    {"name": "X-Tenant", "in": "header", "required": True},
                ]
            }
        },
        "/basket": {"get": {"parameters": [{"name": "session", "in": "cookie", "required": True}]}},
    },
}


def test_required_parameters_go_where_they_belong(tmp_path: Path) -> None:
    source = tmp_path / "openapi.json"
    source.write_text(json.dumps(PLACED), encoding="utf-8")
    told = CliRunner().invoke(imports, ["openapi", str(source), "--address", HOST]).stdout
    target = parse_target(told, "told", {"IMPORTED_Q_A": "x", "IMPORTED_X_TENANT": "blue"})
    assert {name: one.path for name, one in target.operations.items()} == {"search": "/v1/search?q%26a=x"}
    assert target.operations["search"].headers == {"X-Tenant": "blue"}
    assert "GET /basket: it needs session, a cookie" in told


def test_a_document_at_a_url_is_fetched_and_its_server_is_the_one_it_came_from() -> None:
    class Documents(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.startswith("/api/openapi.json")
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(PLACED).encode())

        def log_message(self, *_: object) -> None: ...

    with Listener(Documents) as listener:
        url = listener.url
        told = CliRunner().invoke(imports, ["openapi", f"{url}/api/openapi.json?key=hush"]).stdout
        gone = CliRunner().invoke(imports, ["openapi", f"{url}/none"])
    assert f"address: {url}\n" in told
    assert "path: /v1/search?" in told
    assert "hush" not in told
    assert isinstance(gone.exception, PlanError)
    refused = CliRunner().invoke(imports, ["openapi", "http://192.0.2.1/openapi.json"])
    assert isinstance(refused.exception, SafetyError)


def test_half_of_a_surrogate_pair_stays_escaped_in_a_body_that_is_sent_as_text() -> None:
    text = archive(recorded("POST", "/api/notes", '{"\\ud800": 1, "password": "secret"}'))
    (operation,) = operations(text).values()
    assert operation["body"].startswith('{"\\ud800": 1')
    assert "secret" not in operation["body"].removeprefix('{"\\ud800": 1, "password"')


FORM, TEXT, XML, JSON = "application/x-www-form-urlencoded", "text/plain", "application/xml", "application/json"
UNSEEN = "q7Zk never,to;be:seen"  # where @ is written


@pytest.mark.parametrize(
    ("body", "kind", "written"),
    [
        ('{"user": "a", "api_key": ["@"]}', TEXT, '{"user": "a", "api_key": ["${env:IMPORTED_API_KEY}"]}'),
        ('\ufeff[{"token": {"a": "@"}}]', FORM, '[{"token": {"a": "${env:IMPORTED_TOKEN}"}}]'),
        (
            '{"a": 1}\n{"api_key": ["@"]}\n',
            "application/x-ndjson",
            '{"a": 1}\n{"api_key": ["${env:IMPORTED_API_KEY}"]}\n',
        ),
        ("a=b%20c&user[password]=q7Zk%20never", TEXT, "a=b+c&user%5Bpassword%5D=${env:IMPORTED_USER_PASSWORD}"),
        ("a=1&token=q7Zk", JSON, "a=1&token=${env:IMPORTED_TOKEN}"),
        ("<w:Password Type='t'>@</w:Password>", FORM, "<w:Password Type='t'>${env:IMPORTED_PASSWORD}</w:Password>"),
        ("<a><secret><![CDATA[@]]></secret></a>", XML, "<a><secret>${env:IMPORTED_SECRET}</secret></a>"),
        ('<login user="a" password="@"/>', XML, '<login user="a" password="${env:IMPORTED_PASSWORD}"/>'),
        ("user: a\npassword: @\nnote: b", TEXT, "user: a\npassword: ${env:IMPORTED_PASSWORD}\nnote: b"),
        ("login 'token': '@' ok", TEXT, "login 'token': '${env:IMPORTED_TOKEN}' ok"),
        ('a b "password" : "x\\"@" c', TEXT, 'a b "password" : "${env:IMPORTED_PASSWORD}" c'),
        ("Authorization: Bearer @", TEXT, "Authorization: ${env:IMPORTED_AUTHORIZATION}"),
        (
            "a=1&to=http%3A//me:q7Zk%40h.test/",
            TEXT,
            "a=1&to=http%3A%2F%2Fme%3A%2A%2A%2A%2A%2A%2A%2A%2A%2A%2A%40h.test%2F",
        ),
    ],
)
def test_a_secret_in_a_body_stays_behind_whatever_its_declared_type(body: str, kind: str, written: str) -> None:
    found = read_har(archive(recorded("POST", "/a", body.replace("@", UNSEEN), kind)), "x.har")
    (operation,) = found.operations.values()
    assert operation["body"] == written
    parse_target(found.text("x.har"), "x.har", dict.fromkeys(found.variables, "held"))


@pytest.mark.parametrize(
    "body", ['{"token": ["q7Zk",]}', '--x\r\nContent-Disposition: form-data; name="password"\r\n\r\nq7Zk']
)
def test_a_body_whose_secrets_cannot_be_told_is_left_out_and_said(body: str) -> None:
    found = read_har(archive(recorded("GET", "/b"), recorded("POST", "/a", body, TEXT)), "x.har")
    assert list(found.operations) == ["b"]
    assert "POST /a" in found.left_out[0]


def test_a_large_hostile_body_is_read_in_linear_time() -> None:
    # Quadratic, each of these would take hours; pytest's own time limit is the deadline.
    for part in ("token: ", "<token>", "a", 'password="', "<p ", "{"):
        read_har(archive(recorded("GET", "/b"), recorded("POST", "/a", "x y " + part * 150_000, TEXT)), "x.har")


def test_what_is_packed_into_a_query_or_a_field_is_searched_too() -> None:
    packed = quote(json.dumps({"api_key": ["q7Zk"], "page": 2}))
    text = archive(recorded("GET", f"/a?filter={packed}"), recorded("POST", "/b", f"filter={packed}", FORM))
    found = read_har(text, "x.har")
    assert "q7Zk" not in found.text("x.har")
    assert found.operations["a"]["path"].endswith("%5B%22${env:IMPORTED_API_KEY}%22%5D%2C%20%22page%22%3A%202%7D")
    assert "${env:IMPORTED_API_KEY}" in found.operations["post_b"]["body"]


def test_a_json_body_of_another_declared_type_is_sent_as_that_type() -> None:
    (operation,) = operations(archive(recorded("POST", "/a", '{"a": 1}', TEXT, Content_Type=TEXT))).values()
    assert (operation["body"], operation["headers"]) == ('{"a": 1}', {"Content-Type": TEXT})
