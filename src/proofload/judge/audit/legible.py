"""Tells whether a log is in the declared form at all, and which of its lines are broken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from proofload.core.text import visible
from proofload.judge.audit.fields import named, text_of
from proofload.judge.audit.formats import json_object, logfmt, syslog
from proofload.judge.audit.lines import told
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

_NAMED = 5
_KEYS = 12
_TORN = re.compile(r'^\s*\{\s*(?:"|$)|".*\}\s*,?\s*$|\{\s*"|"\s*:\s*["\d{\[tfn-]')
"""What only a part of a JSON object has: no banner does."""
_FORMS = {"json": "JSON objects", "logfmt": "logfmt", "rfc5424": "RFC 5424", "text": "fit `pattern`"}


def illegible(policy: AuditPolicy, entries: Sequence[AuditEntry], expected: int) -> str:
    """Return why nothing in the log can be read as declared, with what to declare; nothing where something can.

    Events by other names are only taken for the declared ones where there are half as many as were `expected`.
    """
    lines = [entry for entry in entries if entry.text.strip()]
    if not lines:
        return ""
    read = [entry for entry in lines if entry.fields is not None]
    if not read:
        return (
            f"0 of {len(lines)} lines are {_FORMS[policy.format]}: check policies.audit.format{_looks(lines)}; "
            f"the first line is {visible(told(lines[0]), 160)}"
        )
    events = Counter(event for entry in read if (event := text_of(policy, entry, "event")))
    if not events:
        keys = Counter(str(key) for entry in read for key in entry.fields or ())
        found = ", ".join(visible(key, 40) for key, _ in keys.most_common(_KEYS))
        return (
            f"none of {len(read)} entries has the field {named(policy, 'event')!r}; found keys: {found}: "
            "check policies.audit.fields"
        )
    if policy.events and not events.keys() & set(policy.events.values()) and 2 * events.total() >= expected:
        found = ", ".join(f"{visible(event, 40)} ({count})" for event, count in events.most_common(_KEYS))
        return (
            f"none of {len(read)} entries has one of the events {', '.join(sorted(policy.events.values()))}; "
            f"found in {named(policy, 'event')!r}: {found}: check policies.audit.events"
        )
    return ""


def judge_broken(policy: AuditPolicy, entries: Sequence[AuditEntry]) -> Finding:
    """Return `audit.broken_line`: FAIL where a line holds parts of JSON objects, and no whole one.

    The last line of a file may be in writing. A line that is nothing like JSON, such as a banner, is no entry.
    """
    rule = "audit.broken_line"
    other = [entry for entry in entries if entry.fields is None and entry.text.strip()]
    if policy.format != "json":
        says = f"{len(entries) - len(other)} lines are {_FORMS[policy.format]}, {len(other)} are something else"
        return held(rule, says, examined=len(entries) - len(other), others=len(other))
    broken = [entry for entry in other if _TORN.search(entry.text)]
    if not broken:
        says = "every line is a whole JSON object"
        if other:
            says = (
                f"every entry is a whole JSON object; {len(other)} lines hold no part of one, such as {told(other[0])}"
            )
        return held(rule, says, examined=len(entries) - len(other), others=len(other))
    last: dict[str, int] = {}
    for entry in entries:
        last[entry.source] = max(last.get(entry.source, 0), entry.line)
    within = [entry for entry in broken if entry.line != last[entry.source]]
    if not within:
        says = "the last line is no JSON object; it may not have been written to its end when it was read"
        return Finding(rule, Outcome.INCONCLUSIVE, says, len(entries), shown=tuple(map(told, broken[:_NAMED])))
    return Finding(
        rule,
        Outcome.FAIL,
        f"{len(within)} lines of {len(entries)} are no JSON object",
        len(entries),
        shown=tuple(map(told, within[:_NAMED])),
        look_at="several writers on one file without one whole write a line, or text that is not escaped",
        figures={"count": len(within)},
    )


def _looks(lines: Sequence[AuditEntry]) -> str:
    """Return which of the other formats most lines are in."""
    for name, reads in (("json", json_object), ("rfc5424", syslog), ("logfmt", logfmt)):
        if 2 * sum(reads(entry.text) is not None for entry in lines) > len(lines):
            return f" (the lines look like {name})"
    return ""
