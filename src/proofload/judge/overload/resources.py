"""What a service takes of the machine, by its own gauges: files, memory and CPU, before, under and after pressure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proofload.core.units import NS_PER_SECOND
from proofload.judge.overload.judge import judge_connections
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.ledger import Ledgers, Reading

MEMORY, CPU = "res.memory_grows", "res.cpu_stays_busy"

_MOST_GROWTH = 0.15
_FREE_GROWTH_BYTES = 16 << 20
_MOST_IDLE_CPU = 0.35
"""CPUs that a service may use more when it is left alone again than before."""


@dataclass(frozen=True, slots=True)
class ReadingLabels:
    """The labels of the readings that are compared."""

    first: str
    last: str


def gauge(reading: Reading, name: str) -> float | None:
    """Return the value of a gauge, summed over its series; None where the page has none of that name."""
    values = [sample.value for sample in reading.samples if sample.name == name]
    return sum(values) if values else None


def judge_open_files(
    ledgers: Ledgers, rounds: Sequence[ReadingLabels], name: str, made: dict[str, int]
) -> list[Finding]:
    """Return, for each source of `made` (requests that reached it in each round), whether it closed what it opened.

    The round with the least growth decides: a pool fills up once, a leak goes on in every round.
    """
    findings = []
    for source, count in sorted(made.items()):
        found = [
            (before, after)
            for before, after in (_pair(ledgers, labels, source, name) for labels in rounds)
            if before is not None and after is not None
        ]
        if not found or len(found) < len(rounds):
            says = f"{source}: {name} could not be read before and after each round"
            findings.append(Finding("res.connection_leak", Outcome.INCONCLUSIVE, says))
            continue
        before, after = min(found, key=lambda pair: pair[1] - pair[0])
        findings += [replace(one, says=f"{source}: {one.says}") for one in judge_connections(before, after, count)]
    return findings


def judge_memory(ledgers: Ledgers, labels: ReadingLabels, name: str, sources: list[str]) -> list[Finding]:
    """Return whether a second round of the same pressure takes more memory than the first has left."""
    findings = []
    for source in sources:
        before, after = _pair(ledgers, labels, source, name)
        if before is None or after is None:
            findings.append(Finding(MEMORY, Outcome.INCONCLUSIVE, f"{source}: {name} could not be read twice"))
            continue
        told = f"{source}: {after / 1e6:.0f} MB after the second round, {before / 1e6:.0f} MB after the first"
        figures: dict[str, int | float | str] = {"source": source, "first_bytes": before, "second_bytes": after}
        if after > before + max(_FREE_GROWTH_BYTES, _MOST_GROWTH * before):
            look = "what is kept for each request: caches without bound, lists that only grow, tasks nobody awaits"
            findings.append(Finding(MEMORY, Outcome.FAIL, f"memory grows: {told}", 2, 2, (), (told,), look, figures))
        else:
            findings.append(held(MEMORY, told, examined=2, needed=2, **figures))
    return findings


def judge_idle_cpu(
    ledgers: Ledgers, before: ReadingLabels, after: ReadingLabels, name: str, sources: list[str]
) -> list[Finding]:
    """Return whether each source, left alone after the pressure, is as idle as it was left alone before it."""
    findings = []
    for source in sources:
        calm, now = (_busy(ledgers, labels, source, name) for labels in (before, after))
        if calm is None or now is None:
            findings.append(Finding(CPU, Outcome.INCONCLUSIVE, f"{source}: {name} could not be read while it was idle"))
            continue
        told = f"{source}: {now:.0%} of a CPU when left alone after the pressure, {calm:.0%} before it"
        figures: dict[str, int | float | str] = {"source": source, "before": calm, "after": now}
        if now > calm + _MOST_IDLE_CPU:
            look = "work that goes on for nobody: retries, queues of dead requests, loops without a pause"
            findings.append(Finding(CPU, Outcome.FAIL, told, 2, 2, (), (told,), look, figures))
        else:
            findings.append(held(CPU, told, examined=2, needed=2, **figures))
    return findings


def _pair(ledgers: Ledgers, labels: ReadingLabels, source: str, name: str) -> tuple[float | None, float | None]:
    readings = [ledgers.reading(label, source) for label in (labels.first, labels.last)]
    first, last = (None if one is None else gauge(one, name) for one in readings)
    return first, last


def _busy(ledgers: Ledgers, labels: ReadingLabels, source: str, name: str) -> float | None:
    first, last = (ledgers.reading(label, source) for label in (labels.first, labels.last))
    used = _pair(ledgers, labels, source, name)
    if first is None or last is None or used[0] is None or used[1] is None:
        return None
    # Each value held somewhere in the time of its asking: the longest span that is sure not to overrate.
    span_ns = last.answered_ns - first.asked_ns
    return max(0.0, used[1] - used[0]) * NS_PER_SECOND / span_ns if span_ns > 0 else None
