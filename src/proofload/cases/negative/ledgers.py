"""TC-NEG-010: whoever is served stands in the metrics and in the audit log, though others are being rejected."""

from __future__ import annotations

import polars as pl

from proofload.cases import metrics_and_audit as books
from proofload.cases.context import Lab
from proofload.cases.declared_limits import gateway_limit
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.core.units import NS_PER_SECOND
from proofload.judge.audit import AuditEvidence, expect, judge_audit
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.target import Target

_CLIENTS = 5
_LOGINS = 6
_READS = 30
_SETTLES_NS = NS_PER_SECOND + NS_PER_SECOND // 10
_EVENT = "login_succeeded"
_AUDIT = ("audit.missing", "audit.wrong_user", "audit.wrong_ip")


def missing(target: Target) -> str:
    """Return why the target's books can't be compared with what it served, or nothing."""
    if reason := books.missing_metrics(target) or books.missing_event(target, _EVENT):
        return reason
    if target.users is None or target.users.login is None:
        return "the target declares no log-in (users.login)"
    return "" if gateway_limit(target) else "the target declares no rate limit (policies.rate_limit)"


async def drive_served(lab: Lab) -> None:
    """Log in and read, politely, beside a client that is rejected again and again; read metrics and log afterwards."""
    policy = gateway_limit(lab.target)
    users, audit = lab.target.users, lab.target.policies.audit
    assert policy is not None
    assert users is not None
    assert users.login is not None
    assert audit is not None
    accounts = await lab.accounts(_CLIENTS + 1)
    polite = accounts[:_CLIENTS]
    sources = lab.sources(_CLIENTS)
    lab.note("names", [account.name for account in polite])
    reads = max(1, min(_READS, policy.limit // 2))
    async with lab.silence():
        lab.begin_audit()
        await lab.read_services("before")
        lab.doing("serving some while another is rejected")
        beyond = policy.limit + policy.limit // 2 + 20
        await lab.run(
            lab.steps("rejected", policy.probe, beyond, account=accounts[-1], source=lab.source()),
            lab.crowd("log in", users.login, _CLIENTS, _LOGINS, accounts=polite, sources=sources),
            lab.crowd("read", policy.probe, _CLIENTS, reads, accounts=polite, sources=sources),
        )
        later_ns = max(_SETTLES_NS, audit.arrives_within)
        await lab.wait_until_ns(lab.clock.now_ns() + later_ns, "the last counts and events to be written")
        await lab.read_services("after")
        await lab.read_log()


def judge_served(evidence: Evidence) -> list[Finding]:
    """TC-NEG-010: each request that was served is counted, and each log-in is on record."""
    return delivered(evidence, [*books.counted(evidence), *_on_record(evidence)])


def _on_record(evidence: Evidence) -> list[Finding]:
    audit, users = evidence.target.policies.audit, evidence.target.users
    assert audit is not None
    assert users is not None
    if "audit.error" in evidence.ledgers.facts:
        says = f"the audit log could not be read: {evidence.ledgers.facts['audit.error']}"
        return [Finding("audit.missing", Outcome.INCONCLUSIVE, says)]
    rows = rows_of(evidence, "log in")
    status = evidence.history.numbers("status")[rows]
    rows = rows[(status == 0) | ((status >= 200) & (status < 300))]
    numbers = sorted(evidence.history.frame[rows.tolist()].select(pl.col("user")).to_series().unique().to_list())
    names = evidence.facts.get("names", [])
    known = {number: names[i % len(names)] for i, number in enumerate(numbers)} if names else {}
    expected = expect(evidence.history, rows, _EVENT, users=known, ip=True)
    read_ns = max((entry.read_ns for entry in evidence.ledgers.audit), default=evidence.anchor.monotonic_ns)
    found = judge_audit(
        audit, evidence.ledgers, expected, AuditEvidence(read_ns, evidence.anchor), needed=_CLIENTS * _LOGINS // 2
    )
    return [one for one in found if one.rule in _AUDIT]
