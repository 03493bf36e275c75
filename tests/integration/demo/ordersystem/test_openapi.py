"""Schemathesis against the OpenAPI document of each service, over the wire."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from .conftest import end, start

pytestmark = [pytest.mark.xdist_group("ordersystem-openapi"), pytest.mark.slow]

TOKEN = "the gateway's token, as this test knows it"


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    running = start(tmp_path_factory.mktemp("openapi"), GATEWAY_TOKEN=TOKEN, WORKERS_AUTH="1", WORKERS_GATEWAY="1")
    yield running
    end(running)


@pytest.mark.parametrize("service", ["auth", "user", "order"])
def test_every_answer_is_as_the_document_says(system, service):
    schema = schemathesis.openapi.from_url(system.ready["services"][service] + "/openapi.json")
    headers = {"X-Gateway-Token": TOKEN, "X-User": "load_test_user_1", **system.login("load_test_user_1")}
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 3

    for operation in operations:

        @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def holds(case):
            answer = case.call(headers=headers)
            # A user who logs out here would shut himself out of what follows; that is no finding.
            case.validate_response(answer)
            assert answer.status_code < 500 or answer.status_code == 503
            assert "Traceback" not in answer.text

        holds()
    assert "Traceback" not in (Path(system.ready["logs"]) / f"{service}.log").read_text()
