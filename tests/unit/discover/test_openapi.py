"""What an OpenAPI document offers, and how one logs in, in the shapes that people write them."""

import json
from typing import Any

import pytest

from proofload.core.errors import PlanError
from proofload.discover.openapi import merged, read_openapi


def answer(**fields: Any) -> dict[str, Any]:
    return {"200": {"content": {"application/json": {"schema": {"properties": fields}}}}}


def post(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "post": {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": answer(**fields)}
    }


CREDENTIALS = {"properties": {"email": {"format": "email"}, "password": {}}, "required": ["email", "password"]}


def document(**paths: Any) -> str:
    return json.dumps({"openapi": "3.0.0", "paths": paths, "components": {"schemas": {"C": CREDENTIALS}}})


def test_a_log_in_behind_a_reference_is_found() -> None:
    text = document(
        **{
            "/v2/sign-in": post({"$ref": "#/components/schemas/C"}, data={"properties": {"accessToken": {}}}),
            "/v2/users": post({**CREDENTIALS, "required": ["email", "password", "plan"]}),
            "/v2/signup": post({"allOf": []} | CREDENTIALS),
            "/v2/items": {"get": {}},
            "/v2/items/{id}": {"get": {"parameters": [{"in": "path", "name": "id"}]}},
        }
    )
    api = read_openapi(text, "t")
    assert api.login is not None
    assert (api.login.path, api.token) == ("/v2/sign-in", "data.accessToken")
    assert api.login.body == {"email": "${user.name}@proofload.test", "password": "${user.password}"}
    assert api.register is not None
    assert api.register.path == "/v2/signup", "nobody can know the plan that /v2/users asks for"
    assert [one.path for one in api.readable] == ["/v2/items"]


def test_two_documents_with_one_name_keep_both() -> None:
    first, second = (read_openapi(document(**{path: {"get": {}}}), "t") for path in ("/a/items", "/b/items"))
    assert [(one.name, one.path) for one in merged([first, second]).offers] == [
        ("items", "/a/items"),
        ("b_items", "/b/items"),
    ]


def test_references_that_go_round_in_circles_end() -> None:
    loop = {"openapi": "3.1.0", "paths": {"/x": {"$ref": "#/paths/~1x"}, "/y": {"get": {"parameters": [{}]}}}}
    assert [one.path for one in read_openapi(json.dumps(loop), "t").offers] == ["/y"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "paths: 3", "a: [", "!!python/object:os.system {}"])
def test_what_is_no_document_is_said(text: str) -> None:
    with pytest.raises(PlanError, match="got no OpenAPI document"):
        read_openapi(text, "t")
