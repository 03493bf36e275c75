"""Plans of load that can't be run are refused with everything that is wrong; stages and thresholds are read right."""

from fractions import Fraction

import pytest

from proofload.cli.thresholds import Threshold
from proofload.core.errors import PlanError
from proofload.drive.http.endpoint import Endpoint
from proofload.plan.stages import parse_stages
from proofload.plan.workload import Burst, ConstantRate, ConstantUsers, RampingUsers, Sequence, Stage, check

SECOND = 1_000_000_000


def test_all_problems_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        check(
            [
                ConstantUsers(name="a", run="/", users=0, for_ns=0),
                ConstantRate(name="a", run="nonesuch", rate=-1, for_ns=SECOND),
                Burst(name="b", run="/", n=5, connections=0),
                Sequence(name="c", run="/", n=0),
            ],
            {"read": None},
        )
    told = [problem.where for problem in caught.value.problems]
    assert "workload a.users" in told
    assert "workload a.span" in told
    assert "workload a" in told
    assert "workload a.run" in told
    assert "workload a.rate" in told
    assert "workload b.connections" in told
    assert "workload c.n" in told
    with pytest.raises(PlanError):
        check([], {})
    check([RampingUsers(name="a", run="/", stages=(Stage(SECOND, 3),))], {})


@pytest.mark.parametrize(
    ("text", "is_rate", "start", "goals"),
    [
        ("0→500/s in 10s, hold 30s, →0 in 5s", True, 0, [(10, 500), (30, 500), (5, 0)]),
        ("10->20/s in 1m", True, 10, [(60, 20)]),
        ("5 users in 1s, hold for 2s, to 0 in 1s", False, 0, [(1, 5), (2, 5), (1, 0)]),
        ("2.5/s in 500ms", True, 0, [(0.5, 2.5)]),
    ],
)
def test_stages(text: str, is_rate: bool, start: int, goals: list[tuple[float, float]]) -> None:
    assert parse_stages(text) == (
        is_rate,
        start,
        tuple(Stage(round(seconds * SECOND), Fraction(goal)) for seconds, goal in goals),
    )


@pytest.mark.parametrize(
    "text", ["", "500", "up", "5/s", "5/s in", "5/s in soon", "1→2/s in 1s, 3→4/s in 1s", "5/s in 1s, 3 users in 1s"]
)
def test_what_is_no_stages(text: str) -> None:
    with pytest.raises(ValueError, match=r"stages such as|a duration such as"):
        parse_stages(text)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("p99.9 >= 1s", 1e9),
        ("errors>1%", 0.01),
        ("rate < 450/s", 450),
        ("status-503 > 0", 0),
        ("checks <= 99.5 %", 0.995),
    ],
)
def test_thresholds(text: str, bound: float) -> None:
    assert Threshold.of(text).bound == pytest.approx(bound)


@pytest.mark.parametrize(
    "text", ["", "p99", "p99 = 1s", "p99 > 5", "errors > 1", "p101 > 1s", "status-99 > 1%", "rate > fast"]
)
def test_what_is_no_threshold(text: str) -> None:
    with pytest.raises(PlanError):
        Threshold.of(text)


def test_endpoints() -> None:
    assert Endpoint.of("https://gateway.test").port == 443
    assert Endpoint.of("https://gateway.test").host_header == "gateway.test"
    assert Endpoint.of("http://[::1]:8080/x").host_header == "[::1]:8080"
    assert Endpoint.of("http://[::1]:8080/x").host == "::1"
    for wrong in ("gateway.test", "ftp://x", "http://", "http://user@x", "http://x:99999", "http://[::1"):
        with pytest.raises(PlanError):
            Endpoint.of(wrong)
