"""`proofload judge DIR` on what `proofload load --keep DIR` left: figures and thresholds again, from the rows alone."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from proofload.cli import load_view
from proofload.cli.exit_status import ExitStatus
from proofload.cli.thresholds import Threshold, judge_all
from proofload.core.units import NS_PER_SECOND
from proofload.drive import durable_run as kept
from proofload.record.bundle import dump_json


def judge_kept(folder: Path, *, as_json: bool) -> ExitStatus:
    """Print how a kept run went, and return the status of its thresholds; one that did not finish is INCONCLUSIVE."""
    run = kept.read(folder)
    thresholds = [Threshold.of(text) for text in run.plan["fail_if"]]
    progress = run.standing.progress()
    judged = judge_all(thresholds, progress)
    console = Console(highlight=False)
    if as_json:
        content = load_view.as_json(progress, run.delivery, judged, run.plan["seed"])
        console.file.write(dump_json({**content, "finished": run.finished}).decode())
    else:
        load_view.summary(console, progress, run.delivery, judged)
        if not run.finished:
            seconds = progress.elapsed_ns / NS_PER_SECOND
            console.print(f"not finished: the rows go on for {seconds:,.1f} s, and nothing is known of what came after")
    if any(one.failed for one in judged):
        return ExitStatus.FAIL
    complete = run.finished and not run.delivery.stopped and not run.delivery.bottleneck and run.delivery.answered
    return ExitStatus.ALL_PASS if complete else ExitStatus.INCONCLUSIVE
