"""What the dashboards show, as data: panels with their expressions. `$run` is chosen on the dashboard."""

from __future__ import annotations

from dataclasses import dataclass

_RUN = '{run="$run"}'
_EVERY = "[$__rate_interval]"
_BUCKETS = f"rate(proofload_response_seconds_bucket{_RUN}{_EVERY})"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its title, the unit of its axis, and (expression, legend) pairs."""

    title: str
    unit: str
    targets: tuple[tuple[str, str], ...]
    says: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    name: str
    title: str
    says: str
    panels: tuple[Panel, ...]


LOAD = Board(
    "load",
    "proofload: load test live",
    "What a run asks for, sends and gets, while it goes on.",
    (
        Panel(
            "Intended and achieved rate",
            "reqps",
            (
                (f"proofload_intended_per_second{_RUN}", "intended"),
                (f"proofload_achieved_per_second{_RUN}", "achieved"),
            ),
            "Where the two part, the load was not delivered, and what rests on it is INCONCLUSIVE.",
        ),
        Panel(
            "Answers by status",
            "reqps",
            ((f"sum by (status) (rate(proofload_requests_total{_RUN}{_EVERY}))", "{{status}}"),),
            "Names in place of numbers are requests that got no whole answer.",
        ),
        Panel(
            "Requests by case",
            "reqps",
            ((f"sum by (case) (rate(proofload_requests_total{_RUN}{_EVERY}))", "{{case}}"),),
        ),
        Panel("Virtual users", "short", ((f"proofload_users{_RUN}", "users"),)),
        Panel("Dropped requests", "short", ((f"proofload_dropped_total{_RUN}", "dropped"),)),
        Panel(
            "Faults in force",
            "short",
            ((f"proofload_fault{_RUN}", "{{kind}} {{service}}"),),
        ),
        Panel(
            "Response time over all operations",
            "s",
            tuple(
                (
                    f"histogram_quantile({quantile}, sum by (le) ({_BUCKETS}))",
                    f"P{float(quantile) * 100:g}",
                )
                for quantile in ("0.5", "0.9", "0.99")
            ),
            "From the intended instant: what a client of that instant would have waited.",
            wide=True,
        ),
    ),
)

VERDICTS = Board(
    "verdicts",
    "proofload: verdicts",
    "What a run came to.",
    (
        Panel("Cases by verdict", "short", ((f"proofload_verdicts{_RUN}", "{{outcome}}"),)),
        Panel("Verdict of each case", "short", ((f"proofload_verdict{_RUN}", "{{case}} {{outcome}}"),)),
        Panel("Running now", "short", ((f"proofload_case_running{_RUN}", "{{case}}"),)),
        Panel("Findings by outcome", "short", ((f"sum by (outcome) (proofload_findings{_RUN})", "{{outcome}}"),)),
        Panel("Findings by rule", "short", ((f"proofload_findings{_RUN}", "{{rule}} {{outcome}}"),), wide=True),
        Panel("The run has ended", "bool", ((f"proofload_run_finished{_RUN}", "ended"),)),
    ),
)

CORRELATION = Board(
    "correlation",
    "proofload: load beside the target's own metrics",
    "What was sent, and what the target's controls did at the same time.",
    (
        Panel(
            "Sent, and counted by the target",
            "reqps",
            (
                (f"sum(rate(proofload_requests_total{_RUN}{_EVERY}))", "answered to us"),
                (f'sum(rate(http_requests_total{{service="gateway"}}{_EVERY}))', "counted by the gateway"),
            ),
            wide=True,
        ),
        Panel(
            "Rate-limit decisions",
            "reqps",
            ((f"sum by (decision) (rate(rate_limit_decisions_total{_EVERY}))", "{{decision}}"),),
        ),
        Panel(
            "Circuit breakers",
            "short",
            (("max by (service) (circuit_breaker_state)", "{{service}}"),),
            "0 closed, 1 open, 2 half-open.",
        ),
        Panel(
            "Lock contention",
            "ops",
            (
                (f"sum by (operation) (rate(lock_contentions_total{_EVERY}))", "refused {{operation}}"),
                (f"sum by (operation) (rate(lock_acquisitions_total{_EVERY}))", "acquired {{operation}}"),
            ),
        ),
        Panel(
            "Audit events",
            "ops",
            ((f"sum by (event) (rate(audit_events_total{_EVERY}))", "{{event}}"),),
            "The rates of security events.",
        ),
        Panel(
            "Answers of the gateway by status",
            "reqps",
            ((f'sum by (status) (rate(http_requests_total{{service="gateway"}}{_EVERY}))', "{{status}}"),),
        ),
        Panel("Faults in force", "short", ((f"proofload_fault{_RUN}", "{{kind}} {{service}}"),)),
    ),
)

LATENCY = Board(
    "latency",
    "proofload: latency percentiles",
    "Percentiles by operation as clients saw them, and by service as the services did.",
    (
        *(
            Panel(
                f"P{float(quantile) * 100:g} by operation, from the intended instant",
                "s",
                ((f"histogram_quantile({quantile}, sum by (le, operation) ({_BUCKETS}))", "{{operation}}"),),
            )
            for quantile in ("0.5", "0.9", "0.99")
        ),
        *(
            Panel(
                f"P{float(quantile) * 100:g} by service, as it counts itself",
                "s",
                (
                    (
                        f"histogram_quantile({quantile}, sum by (le, service) "
                        f"(rate(http_request_duration_seconds_bucket{_EVERY})))",
                        "{{service}}",
                    ),
                ),
            )
            for quantile in ("0.9", "0.99")
        ),
        Panel(
            "Waiting for locks, P99",
            "s",
            (
                (
                    f"histogram_quantile(0.99, sum by (le, operation) (rate(lock_wait_seconds_bucket{_EVERY})))",
                    "{{operation}}",
                ),
            ),
            "High here and low for many users: logical serialization, not exhaustion.",
        ),
    ),
)

BOARDS = (LOAD, VERDICTS, CORRELATION, LATENCY)
