"""Which headers tell of the limit, and in which unit the reset is."""

import pytest

from proofload.discover.headers import Said, recognise, told_limit
from proofload.discover.policy_text import policy_yaml
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.reader import parse_target


def said(family: str, reset: str, *, more: dict[str, str] | None = None) -> list[Said]:
    told = {f"{family}limit": "100", f"{family}remaining": "9", f"{family}reset": reset}
    return [Said(200, told), Said(429, {**told, "retry-after": "3", **(more or {})})]


@pytest.mark.parametrize(
    ("family", "reset", "unit"),
    [
        ("x-ratelimit-", "1790000000", "epoch_seconds"),
        ("x-ratelimit-", "1790000000123", "epoch_milliseconds"),
        ("ratelimit-", "17", "delta_seconds"),
        ("x-rate-limit-", "0", "delta_seconds"),
        ("x-ratelimit-", "1795818093.680", "epoch_seconds"),
        ("x-ratelimit-", "17.250", "delta_seconds"),
        ("x-ratelimit-", "1m30s", "delta_seconds"),
        ("x-ratelimit-", "Sun, 06 Nov 1994 08:49:37 GMT", "http_date"),
        ("x-ratelimit-", "Sunday, 06-Nov-94 08:49:37 GMT", "http_date"),
        ("x-ratelimit-", "2026-11-27T20:00:00.123Z", "iso8601"),
    ],
)
def test_every_family_is_recognised(family: str, reset: str, unit: str) -> None:
    answers = said(family, reset)
    found = recognise(answers, 429)
    assert (found.limit or "").lower() == f"{family}limit"
    assert (found.reset_unit, found.retry_after, found.ietf) == (unit, "Retry-After", False)
    assert told_limit(answers, found) == 100


def test_what_does_not_stand_on_every_answer_is_not_promised() -> None:
    answers = [*said("x-ratelimit-", "1790000000"), Said(200, {}), Said(429, {})]
    found = recognise(answers, 429)
    assert (found.limit, found.remaining, found.reset, found.retry_after) == (None, None, None, None)
    assert told_limit(answers, found) is None
    structured = [Said(200, {"ratelimit": '"d";r=9;t=1', "ratelimit-policy": '"d";q=10;w=60'})]
    assert recognise(structured, 429).ietf
    assert not recognise([], 429).ietf


def test_a_reset_that_nobody_can_read_is_not_declared() -> None:
    assert recognise(said("x-ratelimit-", "tomorrow"), 429).reset is None


def test_a_reset_whose_unit_differs_from_answer_to_answer_is_declared_as_any() -> None:
    found = recognise([*said("x-ratelimit-", "1790000000"), *said("x-ratelimit-", "0")], 429)
    assert (found.reset, found.reset_unit) == ("X-RateLimit-Reset", "auto")


@pytest.mark.parametrize("limit", ["100, 100;window=60", "100.0", '"100"'])
def test_the_limit_is_read_with_what_surrounds_it(limit: str) -> None:
    answers = [Said(200, {"x-ratelimit-limit": limit})]
    assert told_limit(answers, recognise(answers, 429)) == 100


def test_draft_06_names_its_limit_in_one_field() -> None:
    answers = [Said(200, {"ratelimit": "limit=100, remaining=9, reset=30"})]
    assert recognise(answers, 429).ietf
    assert not recognise([Said(200, {"ratelimit": '"default";r=50;t=30'})], 429).ietf


@pytest.mark.parametrize("algorithm", ["fixed_window", "token_bucket", "sliding_window_counter"])
def test_a_policy_reads_back_as_it_was_written(algorithm: str) -> None:
    declared = {
        "name": "yes: no", "algorithm": algorithm, "limit": 7, "window": "2500ms", "probe": "read",
        "applies_to": ["/api/*"], "exempt": ["/health"], "burst": 9 if algorithm == "token_bucket" else None,
        "alignment": "first_request" if algorithm == "token_bucket" else "clock",
        "headers": {"limit": None, "remaining": None, "reset": "RateLimit-Reset", "reset_unit": "delta_seconds"},
    }  # fmt: skip
    policy = RateLimitPolicy.model_validate(declared)
    head = "version: 1\naddress: http://127.0.0.1:1\noperations: {read: {path: /api/x}}\n"
    read = parse_target(head + policy_yaml(policy), "t.yaml", {})
    assert read.policies.rate_limit == (policy,)
