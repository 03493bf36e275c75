"""What a run of k6 can prove: each verdict in each of its outcomes."""

from collections.abc import Sequence

from proofload.core.clock import Anchor
from proofload.judge.k6_run import judge_imported
from proofload.judge.verdict import Outcome, Verdict
from proofload.plan.reader import parse_target
from proofload.plan.target import Target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

_MS = 1_000_000


_OPERATIONS = {
    "client_ip": "operations: {read: {path: /read}}",
    "user": "operations: {login: {path: /login, method: POST}, read: {path: /read, auth: bearer}}\n"
    "users: {prefix: load_test_, register: login, login: login, token: token}",
}


def target(scope: str = "client_ip", rest: str = "") -> Target:
    return parse_target(
        f"""version: 1
address: http://127.0.0.1:8080
{_OPERATIONS[scope]}
policies:
  rate_limit: [{{limit: 5, window: 10s, probe: read, scope: {scope}}}]
  latency: {{p90_within: 50ms}}
{rest}""",
        "test",
        {},
    )


def row(at_ms: int, status: int, ending: Ending = Ending.ANSWERED, took_ms: int = 2) -> Exchange:
    sent = at_ms * _MS
    fault = Fault.NONE if ending is Ending.ANSWERED else Fault.NO_USER_FREE
    done = sent + took_ms * _MS
    return Exchange(0, "k6", "read", 0, "", 0, sent, sent, -1, done, ending, fault, status, 0, 0, "")


def judged(rows: Sequence[Exchange], *doubts: str, declared: Target | None = None) -> dict[str, Verdict]:
    found = judge_imported(declared or target(), History.of(rows), ["/read"] * len(rows), Anchor(0, 0, 1_000), doubts)
    return {one.case: one for one in found}


def rules(verdict: Verdict, outcome: Outcome) -> set[str]:
    return {one.rule for one in verdict.findings if one.outcome is outcome}


def honest(statuses: Sequence[int] = (200,) * 5 + (429,) * 5) -> list[Exchange]:
    return [row(100 * i, status) for i, status in enumerate(statuses)]


def test_an_honest_limiter_is_never_accused() -> None:
    found = judged(honest())["K6-RATE-LIMIT"]
    assert found.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE), found
    assert rules(found, Outcome.PASS) == {"rl.wrong_status"}
    # Where a window began before k6 did, five more may have been admitted in it: nobody can tell.
    assert rules(judged(honest((200,) * 10 + (429,) * 5))["K6-RATE-LIMIT"], Outcome.FAIL) == set()


def test_no_limiter_fails_and_says_what_that_rests_on() -> None:
    found = judged(honest([200] * 30))["K6-RATE-LIMIT"]
    assert found.outcome is Outcome.FAIL
    assert "rl.over_admission" in rules(found, Outcome.FAIL)
    assert all("taken as one client" in one.says for one in found.findings if one.outcome is Outcome.FAIL)


def test_too_few_requests_tell_nothing() -> None:
    assert judged(honest([200] * 3))["K6-RATE-LIMIT"].outcome is Outcome.INCONCLUSIVE


def test_a_limit_by_user_is_inconclusive() -> None:
    found = judged(honest([200] * 30), declared=target("user"))["K6-RATE-LIMIT"]
    assert found.outcome is Outcome.INCONCLUSIVE


def test_dropped_iterations_take_every_pass_away() -> None:
    rows = honest() + [row(0, 0, Ending.DROPPED) for _ in range(5)]
    found = judged(rows)
    assert found["K6-DELIVERY"].outcome is Outcome.INCONCLUSIVE
    assert rules(found["K6-RATE-LIMIT"], Outcome.PASS) == set()


def test_a_file_that_is_cut_accuses_nobody_of_a_wrongful_rejection() -> None:
    rejected = honest([429] * 10)
    assert judged(rejected, "cut")["K6-RATE-LIMIT"].outcome is Outcome.INCONCLUSIVE
    assert judged(rejected, "cut")["K6-DELIVERY"].outcome is Outcome.INCONCLUSIVE


def test_latency_can_pass_but_is_never_held_against_the_target() -> None:
    quick = [row(20 * i, 200, took_ms=2) for i in range(500)]
    slow = [row(200 * i, 200, took_ms=90) for i in range(500)]
    assert judged(quick)["K6-LATENCY"].outcome is Outcome.PASS
    found = judged(slow)["K6-LATENCY"]
    assert found.outcome is Outcome.INCONCLUSIVE
    assert any(one.rule == "lat.over_bound" and "its own" in one.says for one in found.findings)


def test_controls_that_need_more_are_skipped_with_the_reason() -> None:
    breaker = "  circuit_breaker: [{service: s, operation: read}]\nservices: {s: {}}\n"
    found = judged(honest(), declared=target(rest=breaker))["K6-CIRCUIT-BREAKER"]
    assert found.outcome is Outcome.SKIPPED
    assert "k6's results do not tell" in found.reason
