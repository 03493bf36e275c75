"""What `proofload load` shows: live figures while it runs, and the account of it at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from proofload.cli.thresholds import JudgedThreshold
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.drive.stats import Progress
from proofload.record.delivery import Delivery

_PERCENTILES = (("p50", 500), ("p90", 900), ("p95", 950), ("p99", 990), ("p99.9", 999))
_LEAST_ERROR_STATUS = 400


def live(progress: Progress, total_ns: int, rate_now: float) -> RenderableType:
    """Return the figures as they stand."""
    done = min(progress.elapsed_ns, total_ns)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=total_ns, completed=done, width=30),
        f"{format_duration(done // NS_PER_SECOND * NS_PER_SECOND)} of {format_duration(total_ns)}",
        f"{rate_now:,.0f} req/s",
        f"{progress.users:,} users",
    )
    return Group(bar, figures(progress))


def figures(progress: Progress) -> RenderableType:
    """Return counts, latency and errors as a table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    seconds = max(progress.elapsed_ns / NS_PER_SECOND, 1e-9)
    table.add_row("sent", f"{progress.sent:,}  ({progress.sent / seconds:,.0f}/s on average)")
    good = progress.good
    if good.samples:
        told = "  ".join(f"{name} {format_duration(good.percentile_ns(mille))}" for name, mille in _PERCENTILES)
        table.add_row("latency", f"{told}  max {format_duration(good.percentile_ns(1_000))}")
    else:
        table.add_row("latency", Text("no successful answer yet", style="yellow"))
    statuses = Text("  ").join(
        Text(f"{status}: {many:,}", style="green" if status < _LEAST_ERROR_STATUS else "red")
        for status, many in sorted(progress.by_status.items())
    )
    table.add_row("status", statuses or Text("none", style="yellow"))
    if progress.by_fault:
        faults = "  ".join(f"{name.lower().replace('_', ' ')}: {many:,}" for name, many in progress.by_fault.items())
        table.add_row("no answer", Text(faults, style="red"))
    if progress.checks:
        table.add_row(
            "checks",
            "  ".join(f"{name}: {held:,} of {held + lost:,}" for name, (held, lost) in progress.checks.items()),
        )
    if progress.user_errors:
        table.add_row("script", Text(f"{progress.user_errors:,} iterations ended by an exception", style="red"))
    return table


def line(progress: Progress, rate_now: float) -> str:
    """Return the figures as one line, for logs."""
    errors = progress.not_sent + progress.unknown
    p99 = format_duration(progress.good.percentile_ns(990)) if progress.good.samples else "-"
    return (
        f"{format_duration(progress.elapsed_ns // NS_PER_SECOND * NS_PER_SECOND)}: {progress.sent:,} sent,"
        f" {rate_now:,.0f}/s, p99 {p99}, {errors:,} unanswered, {progress.dropped:,} dropped"
    )


def summary(console: Console, progress: Progress, delivery: Delivery, judged: Sequence[JudgedThreshold]) -> None:
    """Print how it went: the figures, how well the load was delivered, and the thresholds."""
    console.print(figures(progress))
    for one in delivery.workloads:
        if one.asked_per_second is not None:
            console.print(
                f"delivered  {one.achieved_per_second:,.1f}/s of {one.asked_per_second:,.1f}/s asked,"
                f" {one.dropped:,} dropped, send lag p50 {format_duration(delivery.send_lag.p50_ns)}"
                f" p99 {format_duration(delivery.send_lag.p99_ns)}",
                highlight=False,
            )
    for reason in delivery.reasons:
        console.print(Text(f"note: {reason}", style="yellow"))
    for error in delivery.user_errors[:5]:
        console.print(Text(f"script: {error.text} at {error.place}, {error.count:,} times", style="red"))
    for outcome in judged:
        mark, style = ("FAILED", "bold red") if outcome.failed else ("held", "green")
        console.print(
            Text(
                f"{mark}: fail if {outcome.threshold.text}; measured {outcome.told}, {outcome.samples:,} samples",
                style=style,
            )
        )


def as_json(progress: Progress, delivery: Delivery, judged: Sequence[JudgedThreshold], seed: int) -> dict[str, Any]:
    """Return everything in plain types, for a file."""
    import json

    good = progress.good
    return {
        "schema_version": 1,
        "seed": seed,
        "requests": {
            "planned": delivery.planned,
            "sent": delivery.sent,
            "answered": delivery.answered,
            "not_sent": delivery.not_sent,
            "unknown": delivery.unknown,
            "dropped": delivery.dropped,
        },
        "by_status": {str(status): many for status, many in progress.by_status.items()},
        "by_fault": dict(progress.by_fault),
        "latency_ns": {
            "from": "intended time, of answers with a status below 400",
            "samples": good.samples,
            **{name: good.percentile_ns(mille) if good.samples else None for name, mille in _PERCENTILES},
            "max": good.percentile_ns(1_000) if good.samples else None,
        },
        "thresholds": [
            {"text": one.threshold.text, "failed": one.failed, "measured": one.told, "samples": one.samples}
            for one in judged
        ],
        "delivery": json.loads(delivery.to_json()),
    }
