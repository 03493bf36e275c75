"""TC-NEG-008: no password and no token stands in the audit log or in the body of an error."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from proofload.cases.accounts import Account
from proofload.cases.context import Lab
from proofload.cases.declared_limits import gateway_limit
from proofload.cases.evidence_rows import delivered
from proofload.core.seeds import stream
from proofload.drive.user import User
from proofload.judge.audit.lines import judge_secrets
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.target import Target
from proofload.plan.workload import Script

AUDIT, ANSWER = "audit.secret", "http.secret_in_error"
_BEYOND = 10
_WORD = re.compile(r"[^\s\"'\\,;<>\[\]{}()&=]{8,}")
_LEAST_ERRORS = 5
_LOOK = "error handlers that repeat what they were given: validation errors, stack traces, debug pages"


def missing(target: Target) -> str:
    """Return why secrets can't be looked for, or nothing."""
    if target.users is None or target.users.login is None:
        return "the target declares no log-in (users.login), so no password and no token is ever sent"
    return ""


async def drive_errors(lab: Lab) -> None:
    """Bring about errors with passwords and tokens in the request: refused, malformed, unauthorised, limited."""
    (account,) = await lab.accounts(1)
    users = lab.target.users
    assert users is not None
    assert users.login is not None
    canary = f"Canary1!{stream(lab.seed, 'negative canary').getrandbits(64):016x}"
    password, token = f"{canary}-password", f"{canary}-token"
    lab.note("canaries", [password, token])
    # The real ones are no business of the bundle: their digests are enough to know them by.
    lab.note("digests", [digest(one) for one in (account.password, account.token) if one])
    lab.begin_audit()
    lab.doing("bringing about errors that a careless server would quote")
    wrong = Account(account.name, password, None)
    source = lab.source()
    await lab.run(lab.steps("wrong password", _quietly(users.login), 3, account=wrong, source=source))
    await lab.run(lab.steps("malformed", _malformed(lab.target, account.name, password), account=wrong, source=source))
    guarded = next((one for _, one in sorted(lab.target.operations.items()) if one.auth == "bearer"), None)
    if guarded is not None:
        await lab.run(lab.steps("worthless token", _bearing(guarded.path, guarded.name, token), source=source))
    await lab.run(lab.steps("log in", _quietly(users.login), account=account, source=source))
    policy = gateway_limit(lab.target)
    if policy is not None:
        count = policy.limit + _BEYOND
        lab.doing("going beyond the limit with a good token")
        await lab.run(
            lab.steps("limited", _quietly(policy.probe), count, account=account, source=lab.source()),
        )
    audit = lab.target.policies.audit
    if audit is not None:
        await lab.wait_until_ns(lab.clock.now_ns() + audit.arrives_within, "the last events to reach the audit log")
        await lab.read_log()


def judge_kept_secret(evidence: Evidence) -> list[Finding]:
    """TC-NEG-008: none of the secrets that were sent stands in a line of the log or in an error's body."""
    canaries = list(evidence.facts.get("canaries", ()))
    digests = frozenset(evidence.facts.get("digests", ()))
    findings = [_answers(evidence, canaries, digests)]
    audit = evidence.target.policies.audit
    if audit is not None and audit.is_readable:
        findings.append(_log(evidence, canaries, digests))
    return delivered(evidence, findings)


def _log(evidence: Evidence, canaries: Sequence[str], digests: frozenset[str]) -> Finding:
    if "audit.error" in evidence.ledgers.facts:
        says = f"the audit log could not be read: {evidence.ledgers.facts['audit.error']}"
        return Finding(AUDIT, Outcome.INCONCLUSIVE, says)
    entries = evidence.ledgers.audit
    told = judge_secrets(entries, canaries)
    if told.outcome is Outcome.FAIL:
        return told
    found = [entry for entry in entries if _holds(entry.text, digests)]
    if found:
        where = tuple(f"{entry.source}:{entry.line}: holds the password or token of a test user" for entry in found[:5])
        says = f"{len(found)} lines hold a password or a token of a test user"
        look = "request bodies and headers that are logged whole"
        return Finding(
            AUDIT, Outcome.FAIL, says, len(entries), shown=where, look_at=look, figures={"count": len(found)}
        )
    return held(AUDIT, "no line holds a password or a token", examined=len(entries), needed=_LEAST_ERRORS)


def _answers(evidence: Evidence, canaries: Sequence[str], digests: frozenset[str]) -> Finding:
    history = evidence.history
    if "body" not in history.frame.columns:
        return held(ANSWER, "no error's body was kept", examined=0, needed=_LEAST_ERRORS)
    rows = history.rows_where(pl.col("status") >= 400, pl.col("body").is_not_null())
    leaks: list[int] = []
    for row, body in zip(rows.tolist(), history.frame["body"].gather(rows.astype(np.int64)).to_list(), strict=True):
        text = body.decode("utf-8", "replace")
        if any(canary in text for canary in canaries) or _holds(text, digests):
            leaks.append(row)
    if leaks:
        status = int(history.numbers("status")[leaks[0]])
        says = f"{len(leaks)} errors repeat a password or a token, the first is row {leaks[0]} (status {status})"
        figures = {"count": len(leaks)}
        return Finding(ANSWER, Outcome.FAIL, says, len(rows), rows=tuple(leaks[:5]), look_at=_LOOK, figures=figures)
    return held(ANSWER, "no error's body holds a password or a token", examined=len(rows), needed=_LEAST_ERRORS)


def digest(secret: str) -> str:
    """Return what a secret is known by in the evidence."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _holds(text: str, digests: Iterable[str]) -> bool:
    known = frozenset(digests)
    return bool(known) and any(digest(word) in known for word in _WORD.findall(text))


def _quietly(operation: str) -> Script:
    async def script(user: User) -> None:
        await user.request(operation, keep_body=True)

    return script


def _malformed(target: Target, name: str, password: str) -> Script:
    """Return a script of log-ins that can't be read, or not be accepted, each with the password in it."""
    assert target.users is not None
    login = target.operations[str(target.users.login)]
    filled = json.dumps(login.json_body).replace("${user.name}", name).replace("${user.password}", password)
    body = json.loads(filled)
    variants = [
        filled[:-1],
        json.dumps([body]),
        json.dumps({**body, "proofload": password} if isinstance(body, dict) else [body, password]),
        json.dumps(body).replace(json.dumps(password), json.dumps([password])),
        json.dumps(body).replace(json.dumps(password), json.dumps(password * 40)),
    ]

    async def script(user: User) -> None:
        for text in variants:
            headers = {"Content-Type": "application/json"}
            await user.request(login.name, data=text, headers=headers, keep_body=True, expect=(400, 401, 413, 422))

    return script


def _bearing(path: str, name: str, token: str) -> Script:
    async def script(user: User) -> None:
        for kind in ("Bearer", "bearer", "Basic", "Token"):
            await user.get(path, headers={"Authorization": f"{kind} {token}"}, name=name, keep_body=True)

    return script
