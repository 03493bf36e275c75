"""TC-NEG-010: whoever is served stands in the metrics and in the audit log, though others are being rejected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import polars as pl

from proofload.cases.accounts import LOG_IN
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.metrics_and_audit import (
    EVERYWHERE,
    METRICS_PAGE,
    audited_event,
    counted,
    log_evidence,
    note_secrets,
    partly_anew,
    read_log,
    settle_metrics_and_audit,
)
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.judge.audit import expect, judge_audit
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import AuditPolicy, MetricsPolicy, RateLimitPolicy
from proofload.plan.target import Target

_CLIENTS = 5
_LOGINS = 6
_READS = 30
_EVENT = "login_succeeded"
_AUDIT = ("audit.missing", "audit.wrong_user", "audit.wrong_ip", "audit.untried", *EVERYWHERE)
_LEAST = 5


@dataclass(frozen=True, slots=True)
class RecordedService:
    """A limit, a log-in, and the metrics and the log in which both leave traces."""

    limit: RateLimitPolicy
    login: str
    metrics: MetricsPolicy
    audit: AuditPolicy


def _recorded(target: Target) -> RecordedService | Missing:
    found = (METRICS_PAGE & audited_event(_EVENT) & (GATEWAY_LIMIT & LOG_IN)).find(target)
    if isinstance(found, Missing):
        return found
    (metrics, audit), (limit, login) = found
    return RecordedService(limit, login, metrics, audit)


RECORDED_SERVICE = Requirement(
    "rate limit and log-in, a metrics page and an audit log with log-ins",
    "policies.metrics.url, policies.audit.events.login_succeeded, policies.rate_limit, users.login",
    _recorded,
)


@case(
    "TC-NEG-010",
    "Whoever is served is counted and on record",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=5,
    requires=RECORDED_SERVICE,
    uses=lambda found: [found.limit.probe, found.login],
    takes=lambda found: 5 * NS_PER_SECOND + found.audit.arrives_within,
    spends=True,
)
async def served(run: CaseContext, found: RecordedService) -> None:
    """That others are being rejected is no reason to lose a legitimate request from the metrics and the log.

    Sends: log-ins and reads by five polite users, beside a client that goes far beyond its limit,
        while no other case sends
    Passes when: each answer is counted, and each log-in stands in the audit log with its user and address
    Reading FAIL: the finding names the counter and what it lacks, or the log-in without an entry
    Least evidence: 100 answers between the two readings, and 15 log-ins
    """
    policy = found.limit
    accounts = await run.accounts(_CLIENTS + 1)
    polite = accounts[:_CLIENTS]
    sources = run.sources(_CLIENTS)
    run.note("names", [account.name for account in polite])
    note_secrets(run, accounts)
    reads = max(1, min(_READS, policy.allowance // 2))
    async with run.exclusive():
        await run.readings.begin_audit()
        await run.readings.services("before")
        run.doing("serving some while another is rejected")
        beyond = policy.allowance + policy.allowance // 2 + 20
        await run.run(
            run.steps("rejected", policy.probe, beyond, account=accounts[-1], source=run.source()),
            run.crowd("log in", partly_anew(found.login), _CLIENTS, _LOGINS, accounts=polite, sources=sources),
            run.crowd("read", partly_anew(policy.probe), _CLIENTS, reads, accounts=polite, sources=sources),
        )
        await settle_metrics_and_audit(run)
        await run.readings.services("after")
        await read_log(run)


@served.judge
def judge_served(evidence: Evidence, found: RecordedService) -> list[Finding]:
    """TC-NEG-010: each request that was served is counted, and each log-in is on record."""
    return delivered(evidence, [*counted(evidence, found.metrics), *_on_record(evidence, found.audit)])


def _on_record(evidence: Evidence, audit: AuditPolicy) -> list[Finding]:
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
    answered = Counter(int(one) for one in status)
    seen = ", ".join(f"{count} × {one or 'no answer'}" for one, count in sorted(answered.items()))
    findings = judge_audit(
        audit,
        evidence.ledgers,
        expected,
        log_evidence(evidence),
        needed=_CLIENTS * _LOGINS // 2,
        each=_LEAST,
        elsewhere=audit.events.keys() - {_EVENT},
        why={_EVENT: f"the log-ins were answered {seen or 'nothing'}, expected 2xx"},
    )
    return [one for one in findings if one.rule in _AUDIT]
