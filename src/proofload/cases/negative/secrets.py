"""TC-NEG-008: no password and no token stands in the audit log or in the body of an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from proofload.cases.accounts import LOG_IN, Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import gateway_limit
from proofload.cases.evidence_rows import delivered
from proofload.cases.metrics_and_audit import DIGESTS, note_secrets, read_log, with_wrong_password
from proofload.cases.reads import guarded, without_token
from proofload.cases.requirement import Missing, Requirement
from proofload.core.seeds import stream
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.audit import secrets_in
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.lines import judge_secrets
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.operation import Operation
from proofload.plan.policies import AuditPolicy, RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.ledger import AuditEntry

AUDIT, ANSWER = "audit.secret", "http.secret_in_error"
_BEYOND = 10
_LEAST_ERRORS = 5
_LOOK = "error handlers that repeat what they were given: validation errors, stack traces, debug pages"


@dataclass(frozen=True, slots=True)
class SecretSources:
    """Where secrets are handed to the target: the log-in, what needs a token, and the limit's probe."""

    login: str
    denied: str | None
    limit: RateLimitPolicy | None

    def operations(self) -> list[str]:
        """Return what is called."""
        limited = self.limit.probe if self.limit is not None else None
        return [one for one in (self.login, self.denied, limited) if one is not None]


def _sources(target: Target) -> SecretSources | Missing:
    login = LOG_IN.find(target)
    return login if isinstance(login, Missing) else SecretSources(login, guarded(target), gateway_limit(target))


SECRETS = Requirement(LOG_IN.name, LOG_IN.declare, _sources)


@case(
    "TC-NEG-008",
    "No secret in the audit log or in an error",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=5,
    requires=SECRETS,
    uses=SecretSources.operations,
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def errors(run: CaseContext, found: SecretSources) -> None:
    """What a client confides to the target is told to nobody, least of all when something goes wrong.

    Sends: log-ins with wrong passwords and malformed bodies, worthless tokens, and requests beyond the limit
        with a good token; each holds a secret that can be looked for
    Passes when: no line of the audit log and no error's body holds a password or a token, plain or encoded
    Reading FAIL: the finding names the line, or the row of the answer; the secret itself is never shown
    Least evidence: five errors with their bodies, and five lines of the log where one is declared
    """
    (account,) = await run.accounts(1)
    canary = f"Canary1!{stream(run.seed, 'negative canary').getrandbits(64):016x}"
    password, token = f"{canary}-password", f"{canary}-token"
    run.note("canaries", [password, token])
    # The real ones are no business of the bundle: their digests are enough to know them by.
    note_secrets(run, [account, with_wrong_password(account)])
    await run.readings.begin_audit()
    run.doing("bringing about errors that a careless server would quote")
    wrong = Account(account.name, password, None)
    source = run.source()
    await run.run(run.steps("wrong password", _quietly(found.login), 3, account=wrong, source=source))
    # One that the target's rules for passwords can't refuse before it is compared.
    mistaken = with_wrong_password(account)
    await run.run(run.steps("mistaken password", _quietly(found.login), 2, account=mistaken, source=source))
    await run.run(
        run.steps(
            "malformed",
            _malformed(run.target.operations[found.login], account.name, password),
            account=wrong,
            source=source,
        )
    )
    name = found.denied
    if name is not None:
        await run.run(run.steps("worthless token", _bearing(run.target.operations[name], token), source=source))
    await run.run(run.steps("log in", _quietly(found.login), account=account, source=source))
    policy = found.limit
    if policy is not None:
        count = policy.allowance + _BEYOND
        run.doing("going beyond the limit with a good token")
        await run.run(
            run.steps("limited", _quietly(policy.probe), count, account=account, source=run.source()),
        )
    audit = run.target.policies.audit
    if audit is not None:
        await run.wait_until_ns(run.clock.now_ns() + audit.arrives_within, "the last events to reach the audit log")
        await read_log(run)


@errors.judge
def judge_kept_secret(evidence: Evidence, _found: SecretSources) -> list[Finding]:
    """TC-NEG-008: none of the secrets that were sent stands in a line of the log or in an error's body."""
    canaries = list(evidence.facts.get("canaries", ()))
    digests = tuple(evidence.facts.get(DIGESTS, ()))
    findings = [_answers(evidence, canaries, digests)]
    audit = evidence.target.policies.audit
    if audit is not None and audit.is_readable:
        findings.append(_log(evidence, audit, canaries, digests))
    return delivered(evidence, findings)


def _log(evidence: Evidence, audit: AuditPolicy, canaries: Sequence[str], digests: Sequence[str]) -> Finding:
    if "audit.error" in evidence.ledgers.facts:
        says = f"the audit log could not be read: {evidence.ledgers.facts['audit.error']}"
        return Finding(AUDIT, Outcome.INCONCLUSIVE, says)
    entries = decode(audit, evidence.ledgers.audit)
    told = judge_secrets(entries, canaries, digests)
    if told.outcome is Outcome.FAIL:
        return told
    return held(AUDIT, "no line holds a password or a token", examined=len(entries), needed=_LEAST_ERRORS)


def _answers(evidence: Evidence, canaries: Sequence[str], digests: Sequence[str]) -> Finding:
    history = evidence.history
    if "body" not in history.frame.columns:
        return held(ANSWER, "no error's body was kept", examined=0, needed=_LEAST_ERRORS)
    rows = history.rows_where(pl.col("status") >= 400, pl.col("body").is_not_null())
    bodies = history.frame["body"].gather(rows.astype(np.int64)).to_list()
    # As entries of a log, by which secrets are known in every form.
    answers = [
        AuditEntry("answers", row, body.decode("utf-8", "replace"), None, 0)
        for row, body in zip(rows.tolist(), bodies, strict=True)
    ]
    leaking = {one.line for one in answers if any(canary in one.text for canary in canaries)}
    leaks = sorted(leaking | {one.line for one in secrets_in(answers, digests)})
    if leaks:
        status = int(history.numbers("status")[leaks[0]])
        says = f"{len(leaks)} errors repeat a password or a token, the first is row {leaks[0]} (status {status})"
        figures = {"count": len(leaks)}
        return Finding(ANSWER, Outcome.FAIL, says, len(rows), rows=tuple(leaks[:5]), look_at=_LOOK, figures=figures)
    return held(ANSWER, "no error's body holds a password or a token", examined=len(rows), needed=_LEAST_ERRORS)


def _quietly(operation: str) -> Script:
    async def script(user: User) -> None:
        await user.request(operation, keep_body=True)

    return script


def _malformed(login: Operation, name: str, password: str) -> Script:
    """Return a script of log-ins that can't be read, or not be accepted, each with the password in it."""
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


def _bearing(operation: Operation, token: str) -> Script:
    async def script(user: User) -> None:
        for kind in ("Bearer", "bearer", "Basic", "Token"):
            await without_token(user, operation, {"Authorization": f"{kind} {token}"}, keep_body=True)

    return script
