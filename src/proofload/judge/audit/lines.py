"""Judges the lines of an audit log as text: forged, or giving a secret away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from proofload.judge.audit.expected import Forgery
from proofload.judge.audit.secrets import forms_of, found_secrets
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.ledger import AuditEntry

_NAMED = 5
_SHOWN_CHARACTERS = 160
# What JSON forbids inside a string; a reader may have left the CR of a line's end.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f](?!$)|[\x00-\x08\x0a-\x0c\x0e-\x1f]$")
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
_SECRET_FIELD = re.compile(
    r"(?:^|_)(?:password|passwd|pwd|secret|authorization|access_token|refresh_token)$", re.IGNORECASE
)
_MASKED = re.compile(r"[*x•.]*|\[?<?(?:redacted|masked|hidden|filtered|removed|none|null)>?\]?", re.IGNORECASE)


def judge_forged(entries: Sequence[AuditEntry], forgeries: Sequence[Forgery]) -> Finding:
    """Return `audit.forged`: FAIL where a client's text made a line of its own, or stands unescaped in one."""
    rule = "audit.forged"
    forged = [
        entry
        for entry in entries
        if _CONTROL.search(entry.text)
        or any(forgery.tail in entry.text and forgery.head not in entry.text for forgery in forgeries)
    ]
    if forged:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(forged)} lines were made, or broken, by text that a client sent",
            len(entries),
            shown=_shown(forged),
            look_at="user names and headers written to the log without escaping CR, LF and other control characters",
            figures={"count": len(forged)},
        )
    tried = f"{len(forgeries)} attempts" if forgeries else "no attempt was made, and"
    says = f"no line is forged: {tried} {'made no line of their own' if forgeries else 'none is seen'}"
    return held(rule, says, examined=len(entries))


def judge_secrets(entries: Sequence[AuditEntry], secrets: Sequence[str], digests: Sequence[str] = ()) -> Finding:
    """Return `audit.secret`: FAIL where a password or token is in a line, plain or encoded. It is never shown.

    Secrets that are not kept are known by `digests`.
    """
    rule = "audit.secret"
    pattern = _any_of(secrets)
    leaks: list[AuditEntry] = []
    blanked = {id(entry): text for entry, text in found_secrets(entries, digests)}
    for entry in entries:
        text = entry.text
        if (
            id(entry) in blanked
            or _TOKEN.search(text)
            or (pattern and pattern.search(text))
            or _named_secret(entry.fields)
        ):
            leaks.append(entry)
    if leaks:
        texts = [blanked.get(id(entry), entry.text) for entry in leaks]
        masked = [_TOKEN.sub("«token»", pattern.sub("«secret»", text) if pattern else text) for text in texts]
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(leaks)} lines hold a password or a token",
            len(entries),
            shown=tuple(
                f"{entry.source}:{entry.line}: {_blank(text)}" for entry, text in zip(leaks, masked, strict=True)
            )[:_NAMED],
            look_at="request bodies and headers that are logged whole",
            figures={"count": len(leaks)},
        )
    return held(
        rule, "no line holds a password or a token", examined=len(entries), looked_for=len(secrets) or len(digests)
    )


def _any_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in forms_of(secret)}
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))) if forms else None


def _named_secret(fields: Mapping[str, object] | None) -> bool:
    for name, value in (fields or {}).items():
        if isinstance(value, dict):
            if _named_secret(value):
                return True
        elif isinstance(value, str) and _names_a_secret(name) and not _MASKED.fullmatch(value):
            return True
    return False


@lru_cache(maxsize=1024)
def _names_a_secret(field_name: str) -> bool:
    return _SECRET_FIELD.search(field_name) is not None


def _blank(text: str) -> str:
    # A field that is named a secret is blanked by its name, whatever it holds.
    hidden = re.sub(
        r'("[^"]*(?:password|passwd|pwd|secret|authorization|token)"\s*:\s*")[^"]*',
        r"\1«hidden»",
        text,
        flags=re.IGNORECASE,
    )
    return hidden[:_SHOWN_CHARACTERS]


def told(entry: AuditEntry) -> str:
    """Return where a line stands and what it holds, fit to be shown: no token, no named secret, no control sign."""
    return f"{entry.source}:{entry.line}: {_blank(_TOKEN.sub('«token»', entry.text))!a}"


def _shown(entries: Sequence[AuditEntry]) -> tuple[str, ...]:
    return tuple(told(entry) for entry in entries[:_NAMED])
