"""What the client was answered, beside what the target's metrics and its audit log say of the same requests."""

from __future__ import annotations

from collections import Counter

import polars as pl

from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import text_of
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import request_ids
from proofload.judge.reconcile.counters import difference, key_text
from proofload.judge.reconcile.labels import Labels, counters, fit_labels
from proofload.plan.policies import AuditPolicy
from proofload.record.exchange import Ending
from proofload.record.ledger import Reading
from proofload.report.charts.axes import Scale, legend, short
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg, width_of

_Key = tuple[str, str, str]
_TOP, _RIGHT, _BAR = 36, 150, 13
_MOST_KEYS = 24


def ledgers(evidence: Evidence) -> list[Picture]:
    """Return the counts side by side, by route and status, for a case that read the target's books."""
    labels = _labels(evidence)
    client = _client(evidence, labels)
    metrics, audit = _metrics(evidence, labels), _audit(evidence, labels)
    if not client or (metrics is None and audit is None):
        return []
    named = [("client", "mark-calm", client)]
    named += [("metrics", "mark-good", metrics)] if metrics is not None else []
    named += [("audit log", "mark-other", audit)] if audit is not None else []
    keys = sorted(client, key=lambda key: (_off(key, client, metrics) == 0, -client[key]))[:_MOST_KEYS]
    return [_draw(keys, named, metrics)]


def _off(key: _Key, client: Counter[_Key], metrics: Counter[_Key] | None) -> int:
    return 0 if metrics is None else metrics[key] - client[key]


def _draw(keys: list[_Key], named: list[tuple[str, str, Counter[_Key]]], metrics: Counter[_Key] | None) -> Picture:
    names = [key_text(key) for key in keys]
    left = min(max(map(width_of, names)), 300) + 14
    group = _BAR * len(named) + 10
    bottom = _TOP + group * len(keys)
    svg = Svg(bottom + 8, "counts by route and status of " + ", ".join(name for name, _, _ in named))
    x = Scale(0, max(max(counts[key] for key in keys) for _, _, counts in named) or 1, left, WIDTH - _RIGHT)
    legend(svg, left, 16, [(look, name) for name, look, _ in named])
    table = []
    for at, (key, name) in enumerate(zip(keys, names, strict=True)):
        y = _TOP + at * group
        off = _off(key, named[0][2], metrics)
        svg.text(left - 10, y + group / 2, short(name, 46), "label strong" if off else "label", "end")
        for lane, (who, look, counts) in enumerate(named):
            wrong = off != 0 and who == "metrics"
            svg.rect(
                x(0),
                y + lane * _BAR,
                x(counts[key]) - x(0),
                _BAR - 3,
                "mark-bad" if wrong else look,
                f"{who}: {counts[key]}",
            )
            told = f"{counts[key]:,}" + (f" ({off:+,})" if wrong else "")
            svg.text(x(counts[key]) + 6, y + lane * _BAR + 9, told, "tick bad" if wrong else "tick")
        table.append((name, *(f"{counts[key]:,}" for _, _, counts in named), f"{off:+,}" if off else "0"))
    caption = (
        "The same requests, counted by each of the books: what the client was answered between the readings of the "
        "metrics, and what the target says it answered. Equal bars are what is expected."
    )
    return Picture(
        "The books, side by side",
        svg.markup(),
        caption,
        ("route", *(name for name, _, _ in named), "metrics − client"),
        tuple(table),
    )


def _between(evidence: Evidence) -> tuple[Reading, Reading] | None:
    before, after = (evidence.ledgers.reading(label, "gateway") for label in ("before", "after"))
    return (before, after) if before is not None and after is not None else None


def _client(evidence: Evidence, labels: Labels | None) -> Counter[_Key]:
    """Return what was answered, by route, method and status, between the readings where there are such."""
    frame = evidence.history.frame.lazy().filter(pl.col("ending") == int(Ending.ANSWERED))
    between = _between(evidence)
    if between is not None:
        frame = frame.filter(pl.col("sent_ns") >= between[0].asked_ns, pl.col("done_ns") <= between[1].answered_ns)
    counted = frame.group_by(pl.col("operation").cast(pl.String), pl.col("status")).len().collect()
    found: Counter[_Key] = Counter()
    for operation, status, count in counted.iter_rows():
        found[_key(evidence, labels, operation, status)] += count
    return found


def _key(evidence: Evidence, labels: Labels | None, operation: str, status: int) -> _Key:
    declared = evidence.target.operations.get(operation)
    if declared is None:
        return (operation, "", str(status))
    if labels is not None:
        return labels.of_answer(declared.counted_as, declared.method, str(status))
    return (declared.counted_as, declared.method, str(status))


def _labels(evidence: Evidence) -> Labels | None:
    """Return how the labels of the request counter are read, as the judge reads them; None where it is on no page."""
    policy, between = evidence.target.policies.metrics, _between(evidence)
    if policy is None or between is None or not any(counters(one.samples, policy, policy.only) for one in between):
        return None
    return fit_labels(between, policy, policy.only, [one.counted_as for one in evidence.target.operations.values()])


def _metrics(evidence: Evidence, labels: Labels | None) -> Counter[_Key] | None:
    policy, between = evidence.target.policies.metrics, _between(evidence)
    if policy is None or between is None or any(reading.error for reading in between):
        return None
    return Counter(dict(difference(between, policy, policy.only, labels).increments))


def _audit(evidence: Evidence, labels: Labels | None) -> Counter[_Key] | None:
    """Return how many entries of the audit log bear the id of a request of each kind."""
    if not evidence.ledgers.audit:
        return None
    policy = evidence.target.policies.audit or AuditPolicy()
    entries = decode(policy, evidence.ledgers.audit)
    ids = Counter(given for entry in entries if (given := text_of(policy, entry, "request_id")))
    frame = (
        evidence.history.frame.with_columns(request_ids(evidence.history))
        .select(pl.col("operation").cast(pl.String), "status", "request_id")
        .filter(pl.col("request_id").is_in(list(ids)))
    )
    found: Counter[_Key] = Counter()
    for operation, status, request_id in frame.iter_rows():
        found[_key(evidence, labels, operation, status)] += ids[request_id]
    return found
