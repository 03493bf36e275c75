"""Keeps what a run measured as one file, and reads it, or a bundle, to compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofload.core.errors import PlanError, Problem
from proofload.judge.evidence import Evidence
from proofload.judge.latency.samples import gather
from proofload.judge.verdict import Outcome, Verdict
from proofload.record.bundle import Bundle, dump_json
from proofload.report.comparison import Remembered
from proofload.suite.report_builder import result_of
from proofload.suite.verdicts import evidence_in, judge_bundle

SCHEMA_VERSION = 1
_CAPACITY = "res.capacity_found"
_MOST_SAMPLES = 20_000
_MICROSECOND_NS = 1_000


def remember(path: Path) -> Remembered:
    """Return what a bundle measured, judged anew. Raises ToolError where it is not as it was sealed."""
    verdicts = judge_bundle(path)
    evidence, _ = evidence_in(Bundle(path))
    result = result_of(path, verdicts, 0)
    began = datetime.fromtimestamp((result.began_wall_ns or 0) / 1e9, UTC).isoformat(timespec="seconds")
    return Remembered(
        result.target,
        began,
        {verdict.case: verdict.outcome for verdict in verdicts},
        _samples(verdicts, evidence),
        _capacities(verdicts),
    )


def save(remembered: Remembered, place: Path) -> None:
    """Write what is remembered as a file; latencies in whole microseconds."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "target": remembered.name,
        "began": remembered.began,
        "verdicts": {case: outcome.name for case, outcome in remembered.verdicts.items()},
        "capacity_per_second": {case: list(bounds) for case, bounds in remembered.capacity.items()},
        "response_us": {
            name: (values // _MICROSECOND_NS).tolist() for name, values in sorted(remembered.samples.items())
        },
    }
    try:
        # A list a line: a baseline lies in a repository, and a change of it is looked at.
        text = dump_json({**content, "response_us": {}}).decode()
        lists = ",\n".join(f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in content["response_us"].items())  # type: ignore[attr-defined]
        place.write_text(text.replace('"response_us": {}', '"response_us": {\n' + lists + "\n  }"), encoding="utf-8")
    except OSError as error:
        problem = Problem(str(place), str(error.strerror), "a file that can be written", "see --output")
        raise PlanError([problem]) from error


def load(path: Path) -> Remembered:
    """Return what a saved file or the folder of a bundle holds. Raises PlanError where it is neither."""
    if path.is_dir():
        return remember(path)
    try:
        return _of_content(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        expected = f"a baseline (schema version {SCHEMA_VERSION}) or a bundle"
        told = error.strerror if isinstance(error, OSError) else f"{type(error).__name__} {error}"
        problem = Problem(str(path), str(told), expected, "make one with proofload baseline save BUNDLE")
        raise PlanError([problem]) from error


def _of_content(content: dict[str, Any]) -> Remembered:
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema version {content['schema_version']}")
    samples = content["response_us"].items()
    return Remembered(
        str(content["target"]),
        str(content["began"]),
        {str(case): Outcome[outcome] for case, outcome in content["verdicts"].items()},
        {str(name): np.asarray(values, dtype=np.int64) * _MICROSECOND_NS for name, values in samples},
        {str(case): (float(low), float(high)) for case, (low, high) in content["capacity_per_second"].items()},
    )


def _samples(verdicts: Sequence[Verdict], evidence: Mapping[str, Evidence]) -> dict[str, NDArray[np.int64]]:
    """Return the response times of the cases that measure latency: elsewhere contention and limits are meant."""
    found = {}
    for verdict in verdicts:
        if not any(one.rule == "lat.percentiles" for one in verdict.findings):
            continue
        for samples in gather(evidence[verdict.case].history):
            if len(samples):
                found[f"{verdict.case} {samples.name}"] = _thinned(samples.response_ns)
    return found


def _thinned(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at the most so many samples, evenly over the run and in their order."""
    if len(values) <= _MOST_SAMPLES:
        return values
    return values[np.linspace(0, len(values) - 1, _MOST_SAMPLES).astype(np.int64)]


def _capacities(verdicts: Sequence[Verdict]) -> dict[str, tuple[float, float]]:
    found = {}
    for verdict in verdicts:
        for one in verdict.findings:
            if one.rule == _CAPACITY and {"low", "high"} <= one.figures.keys():
                found[verdict.case] = (float(one.figures["low"]), float(one.figures["high"]))
    return found
