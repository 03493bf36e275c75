"""TC-AUDIT: whether every security event stands in the audit log, once and whole, and nothing that must not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from proofload.cases import metrics_and_audit as books
from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit, polite_count
from proofload.core.seeds import stream
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import AuditEvidence, ExpectedEvent, Forgery, expect, judge_audit
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.target import Target

_CLIENTS = 5
_EACH = 12
_FORGERIES = 3


def missing(target: Target) -> str:
    """Return why the audit log can't be judged, or nothing."""
    if reason := books.missing_log(target):
        return reason
    policy = target.policies.audit
    assert policy is not None
    return "" if policy.events else "the target declares no event that its audit log holds (policies.audit.events)"


async def drive_capture(lab: Lab) -> None:
    """Bring about every declared security event, many times and side by side, and read the log."""
    policy = lab.target.policies.audit
    assert policy is not None
    accounts = await lab.accounts(_CLIENTS)
    canary = f"canary-{stream(lab.seed, 'audit canary').getrandbits(64):016x}"
    lab.note("canaries", [f"{canary}-password", f"{canary}-token"])
    lab.begin_audit()
    lab.doing("bringing about security events")
    users = lab.target.users
    if users is not None and users.login is not None:
        await _logins(lab, accounts, canary, users.login, set(policy.events))
    guarded = _guarded(lab.target)
    if guarded is not None and "access_denied" in policy.events:
        await lab.run(
            lab.crowd(
                "access denied",
                _denied(lab.target, guarded, canary),
                _CLIENTS,
                polite_count(lab.target, _EACH),
                sources=lab.sources(_CLIENTS),
            )
        )
    limit = gateway_limit(lab.target)
    if limit is not None and "rate_limited" in policy.events:
        over = max(20, allowance(limit) // 5)
        source = lab.source()
        await lab.run(lab.steps("limited", limit.probe, allowance(limit) + over, account=accounts[0], source=source))
    await lab.wait_until_ns(lab.clock.now_ns() + policy.arrives_within, "the last events to arrive in the audit log")
    await lab.read_log()


async def _logins(lab: Lab, accounts: Iterable[Account], canary: str, login: str, events: set[str]) -> None:
    tail = f"{canary}-forged"
    wrong = [Account(account.name, f"{canary}-password", None) for account in accounts]
    lab.note("names", {"login failed": [one.name for one in wrong], "login": [one.name for one in accounts]})
    each = polite_count(lab.target, _EACH)
    if "login_failed" in events:
        await lab.run(
            lab.crowd("login failed", login, _CLIENTS, each, accounts=wrong, sources=lab.sources(_CLIENTS)),
        )
        head = f"{lab.target.users.prefix if lab.target.users else ''}{canary}"
        name = f'{head}\r\n{{"event":"login_succeeded","user":"{tail}"}}'
        lab.note("forgeries", [{"head": head, "tail": tail}])
        forger = Account(name, f"{canary}-password", None)
        await lab.run(lab.steps("forged line", login, _FORGERIES, account=forger, source=lab.source()))
    if "login_succeeded" in events:
        await lab.run(
            lab.crowd("login", login, _CLIENTS, min(4, each), accounts=tuple(accounts), sources=lab.sources(_CLIENTS))
        )


def judge_capture(evidence: Evidence) -> list[Finding]:
    """TC-AUDIT-001: each event once, with the fields that it needs; no forged line, no secret."""
    policy = evidence.target.policies.audit
    assert policy is not None
    expected = [event for event in _expected(evidence) if event.event in policy.events]
    facts = evidence.facts
    read_ns = max((entry.read_ns for entry in evidence.ledgers.audit), default=evidence.anchor.monotonic_ns)
    known = AuditEvidence(
        read_ns,
        evidence.anchor,
        tuple(facts.get("canaries", ())),
        tuple(Forgery(one["head"], one["tail"]) for one in facts.get("forgeries", ())),
    )
    findings = judge_audit(policy, evidence.ledgers, expected, known, needed=20)
    delivered = [one for one in judge_delivery(evidence.history) if one.rule != "delivery.send_lag"]
    return [*rest_on(findings, delivered), *delivered]


def _expected(evidence: Evidence) -> list[ExpectedEvent]:
    """Return the events that the answers show to have happened."""
    many = evidence.target.users is not None and bool(len(evidence.history))
    limit = gateway_limit(evidence.target)
    found: list[ExpectedEvent] = []
    for step, event, status in (
        ("login failed", "login_failed", (401, 403)),
        ("login", "login_succeeded", range(200, 300)),
        ("access denied", "access_denied", (401, 403)),
        ("limited", "rate_limited", (limit.status,) if limit else ()),
    ):
        rows = _rows(evidence, step, status)
        names = evidence.facts.get("names", {}).get(step, [])
        found += expect(evidence.history, rows, event, users=_users(evidence, step, names), ip=many)
    return found


def _rows(evidence: Evidence, step: str, statuses: Iterable[int]) -> list[int]:
    name = f"{evidence.case}/{step}"
    here = pl.col("workload").cast(pl.String) == name
    unanswered = pl.col("status") == 0
    rows = evidence.history.rows_where(here, pl.col("status").is_in(list(statuses)) | unanswered)
    return [int(row) for row in rows]


def _users(evidence: Evidence, step: str, names: list[str]) -> dict[int, str]:
    """Return who each user number of a step was: users take the accounts in turn, by their place in the step."""
    if not names:
        return {}
    here = pl.col("workload").cast(pl.String) == f"{evidence.case}/{step}"
    numbers: list[int] = sorted(evidence.history.frame.filter(here)["user"].unique().to_list())
    return {number: names[i % len(names)] for i, number in enumerate(numbers)}


def _guarded(target: Target) -> str | None:
    return next((name for name, one in sorted(target.operations.items()) if one.auth == "bearer"), None)


def _denied(target: Target, name: str, canary: str) -> Any:
    operation = target.operations[name]

    async def script(user: User) -> None:
        # One without a token, one with a token that nobody gave out: both must be denied, and neither be logged.
        headers = {"Authorization": f"Bearer {canary}-token"} if user.index % 2 else {}
        await user.get(operation.path, headers=headers, name=name)

    return script


CASES = (
    Case(
        id="TC-AUDIT-001",
        title="Audit log capture",
        category=Category.AUDIT,
        priority=Priority.HIGH,
        phase=5,
        purpose="Every security event stands in the audit log: once, whole, true, in time, and without a secret.",
        sends="failed and successful log-ins, requests without or with a worthless token, and requests beyond the "
        "limit, by several clients side by side; user names with line ends and a forged event in them",
        passes_when="each event has exactly one entry with its request id, user, address and time; no line is broken "
        "or forged; no password or token stands in any",
        read_fail="the finding names the request whose event is missing, doubled or wrong, or the line that is broken",
        least_evidence="20 events that surely happened",
        needs=("policies.audit.files", "policies.audit.events"),
        missing=missing,
        expected_ns=lambda target: (
            (target.policies.audit.arrives_within if target.policies.audit else 0) + 5 * NS_PER_SECOND
        ),
        drive=drive_capture,
        judge=judge_capture,
    ),
)
