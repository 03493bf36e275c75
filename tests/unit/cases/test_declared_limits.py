"""Of several declared limits the one that is met first is taken, and a rejection may be any other's."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.cases.rate_limit.worlds import ANCHOR, Send, answered, steady, target_of

from proofload.cases.declared_limits import (
    ACCOUNTS,
    accounts_of,
    allowance,
    covering,
    gateway_limit,
    limit_context,
    others,
    polite_count,
)
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_admission
from proofload.judge.verdict import Outcome

SHORT = "name: short, limit: 10, window: 1s, probe: read"
LONG = "name: long, limit: 15, window: 10s, probe: read"
WIDE = "name: wide, limit: 20, window: 5s, probe: read, applies_to: ['/api/*']"
NARROW = "name: narrow, limit: 3, window: 5s, probe: other, applies_to: [/api/other]"
NGINX = "limit: 5, window: 1s, burst: 20, algorithm: leaky_bucket, probe: read"


@pytest.mark.parametrize("limits", [(SHORT, LONG), (LONG, SHORT)])
def test_the_limit_that_is_met_first_is_the_gateways(limits: tuple[str, str]) -> None:
    found = gateway_limit(target_of(*limits))
    assert found is not None
    assert found.name == "short"
    assert [one.name for one in others(target_of(*limits), found)] == ["long"]


def test_a_tighter_limit_elsewhere_is_not_met_by_the_first_ones_probe() -> None:
    found = gateway_limit(target_of(WIDE, NARROW))
    assert found is not None
    assert found.name == "wide"
    assert gateway_limit(target_of(WIDE, NARROW)) == gateway_limit(target_of(WIDE))


def test_politeness_keeps_below_the_strictest_limit_on_what_is_sent() -> None:
    target = target_of(WIDE, NARROW)
    assert polite_count(target, 100) == 16
    assert polite_count(target, 100, operations=["read"]) == 16
    assert polite_count(target, 100, operations=["read", "other"]) == 2
    assert polite_count(target, 1, operations=["other"]) == 1
    assert [one.name for one in covering(target, "/api/other")] == ["wide", "narrow"]


def test_a_services_own_limit_covers_its_service_only_where_it_names_no_paths() -> None:
    operations = "read: {path: /api/x, service: a}, other: {path: '/api/other?y=1', service: b}"
    limits = "limit: 9, window: 5s, probe: read", "name: own, service: b, limit: 3, window: 5s, probe: other"
    target = target_of(*limits, operations=operations, more="services: {a: {}, b: {}}")
    assert [one.limit for one in covering(target, "other")] == [9, 3]
    assert [one.limit for one in covering(target, "read")] == [9]


def test_a_buckets_size_is_what_a_fresh_client_is_owed() -> None:
    """B18: two functions of that name disagreed, and 5 were sent where 20 are admitted at once."""
    (nginx,) = target_of(NGINX).policies.rate_limit
    assert allowance(nginx) == nginx.allowance == 20


SIGNED_IN = "read: {path: /api/x, auth: bearer}, login: {path: /login, method: POST}"


def evidence(rejected: bool) -> Evidence:
    """Return what two users did, the first one from two addresses; the second may be rejected at once."""
    target = target_of(
        "scope: user, limit: 5, window: 60s, probe: read", operations=SIGNED_IN, more="users: {login: login}"
    )
    facts = {ACCOUNTS: {"X/own": ["ann"], "X/crowd": ["bob"]}}
    sends = [*steady(3, "own", ip="1"), *steady(3, "own", at_ms=1_500, ip="2"), *steady(2, "crowd", ip="3")]

    def limiter(send: Send) -> int:
        return 429 if rejected and send[1] == "crowd" else 200

    return answered("X", target, sends, limiter, facts=facts)


def test_steps_say_which_account_each_row_is_of() -> None:
    told = evidence(rejected=False)
    found = accounts_of(told)
    assert found is not None
    own = told.history.of_workloads("X/own")
    assert set(found[own].tolist()) == {0}
    assert set(found[told.history.of_workloads("X/crowd")].tolist()) == {1}
    bare = Evidence("X", told.target, told.history, ANCHOR, ())
    assert accounts_of(bare) is None


@pytest.mark.parametrize(("rejected", "rule"), [(False, "rl.over_admission"), (True, "rl.wrongful_rejection")])
def test_a_users_limit_is_judged_over_all_addresses_of_the_user(rejected: bool, rule: str) -> None:
    told = evidence(rejected)
    (policy,) = told.target.policies.rate_limit
    found = {one.rule: one.outcome for one in judge_admission(limit_context(told, policy), np.arange(8))}
    assert found[rule] is Outcome.FAIL
