"""A result with every outcome in it, as reports get to show it."""

from proofload.judge.verdict import Finding, Outcome, Verdict, held
from proofload.report.result import CaseInfo, RunResult

LIMIT = Finding(
    "rl.over_admission",
    Outcome.FAIL,
    "101 requests of one client were admitted in a window of 60s, the policy promises at most 100",
    examined=105,
    needed=101,
    rows=(0, 100),
    shown=(
        "#0    12:00:00.000  GET /api/v1/auth/profile from 127.64.3.9  200, Remaining 99: the window begins",
        "#100  12:00:00.412  GET /api/v1/auth/profile from 127.64.3.9  200, Remaining 0: admitted, and it is the 101st",
    ),
    look_at="the comparison of the counter with the limit: `<=` where `<` is meant",
    figures={"admitted": 101, "limit": 100, "window_s": 60.0},
)
TOO_FEW = held("rl.quick_rejection", "rejections are quicker than answers", examined=3, needed=20)
TRICKY = Finding(
    "mon.not_counted",
    Outcome.INCONCLUSIVE,
    "[bold]markup[/bold], \x1b[31mcolour\x1b[0m, a bell \a, a line\nbreak, \u202ereversed, 漢字 and a very "
    + "long " * 40
    + "tail",
    examined=1,
    needed=1,
)
VERDICTS = (
    Verdict.of("TC-RL-001", (LIMIT, held("rl.key_leak", "no client limited another", examined=40, needed=3), TOO_FEW)),
    Verdict.of("TC-RL-002", (held("rl.headers_missing", "every answer has them", examined=2_594),)),
    Verdict.of("TC-MON-001", (TRICKY, *(held(f"mon.rule_{i}", "not enough", examined=0) for i in range(5)))),
    Verdict("TC-CB-001", Outcome.SKIPPED, (), "the target declares no circuit breaker (policies.circuit_breaker)"),
    Verdict("TC-RES-001", Outcome.ERROR, (), "ConnectionResetError: the control socket went away\nafter 3 requests"),
)
CASES = {
    "TC-RL-001": CaseInfo("Gateway rate limit enforcement", "rate limit", "critical", 61_250_000_000),
    "TC-RL-002": CaseInfo("Rate limit headers", "rate limit", "high", 125_000_000_000),
    "TC-MON-001": CaseInfo("Metrics against what was sent", "monitoring", "high", 2_300_000_000),
    "TC-CB-001": CaseInfo("Circuit breaker opens", "circuit breaker", "critical", 0),
    "TC-RES-001": CaseInfo("Overload", "resilience", "high", 950_000),
}
RESULT = RunResult(
    VERDICTS,
    CASES,
    "shop",
    "runs/20261123T120000Z-4f1c2a00",
    "0.1.0",
    10,
    2826825936,
    1_795_435_200_000_000_000,
    ("the rate-limit window was 3s, not the true 60s",),
)
PASSED = RunResult(VERDICTS[1:2], CASES, "shop", "runs/b", "0.1.0", 0)
EMPTY = RunResult((), {}, "shop", "runs/b", "0.1.0", 11)
