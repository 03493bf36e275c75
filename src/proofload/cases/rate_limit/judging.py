"""What the rate-limit cases ask of the judges, and about which of their rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from proofload.cases.declared_limits import gateway_limits, limit_context
from proofload.cases.evidence_rows import delivered, rows_of, steps_of, tags_of
from proofload.cases.rate_limit.backend import backend
from proofload.cases.rate_limit.driving import TO_COMPARE, enforcement, headers, step_of_other
from proofload.cases.rate_limit.evasions import CONNECTION, EXEMPT, FORGED, QUERY, VARIED
from proofload.cases.rate_limit.window_end import MODEL
from proofload.core.units import format_duration
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import (
    RateLimitContext,
    judge_admission,
    judge_evasion,
    judge_exempt,
    judge_headers,
    judge_isolation,
    judge_promised_reset,
    judge_rejection_speed,
    judge_untested,
    separated,
)
from proofload.judge.rate_limit.conjunction import UNTESTED, explained_by_others
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import RateLimitPolicy

Rows = NDArray[np.int64]


_EVASIONS = {
    FORGED: "forwarding header",
    QUERY: "query",
    CONNECTION: "connection",
    "other path": "path",
    "other method": "method",
}
"""By the step that tried it: what a limited client varied."""
_QUICK_NS = 100_000_000
"""No client minds a rejection within a tenth of a second; a busy machine alone can take as long as less than that."""
_EVASION = "rl.evasion"


@enforcement.judge
def judge_enforcement(evidence: Evidence, limit: RateLimitPolicy) -> list[Finding]:
    """TC-RL-001: never more than the limit, never a rejection below it, and no way round it."""
    context = limit_context(evidence, limit)
    varied = rows_of(evidence, *_EVASIONS, VARIED)
    limited = rows_of(evidence, *_main_steps(evidence))
    findings = [*judge_admission(context, limited, varied=varied), _attempted(evidence, context)]
    findings += [*_kept_trying(evidence, context), *_evaded(evidence, context), *_model(evidence, context)]
    if len(rows_of(evidence, "burst")):
        findings += judge_isolation(context, rows_of(evidence, "sequence", "burst", "bystander", "regular"))
    if len(rows_of(evidence, EXEMPT)):
        # The client that asks has just used up its limit: anything but a rejection shows that the path is exempt.
        findings += judge_exempt(context, rows_of(evidence, EXEMPT), needed=2)
    findings += [*_other_limits(evidence, limit), *backend(evidence, context), *_speed(evidence, context)]
    return delivered(evidence, findings)


def _main_steps(evidence: Evidence) -> list[str]:
    """Return the steps that spend the limit itself: all but the exempt requests, and those about other limits."""
    return [name for name in steps_of(evidence) if name != EXEMPT and not name.startswith("also ")]


def _other_limits(evidence: Evidence, limit: RateLimitPolicy) -> list[Finding]:
    """Return what each other limit of the gateway did on clients of its own, and which of them nobody tested."""
    findings: list[Finding] = []
    for other in gateway_limits(evidence.target):
        if other == limit:
            continue
        context = limit_context(evidence, other)
        rows = rows_of(evidence, step_of_other(other))
        untested = judge_untested(context, rows, [other])
        if untested:
            findings += [_reachable(evidence, other, one) for one in untested]
            continue
        findings += [replace(one, says=f"{other.name}: {one.says}") for one in judge_admission(context, rows)]
    return findings


def _reachable(evidence: Evidence, policy: RateLimitPolicy, untested: Finding) -> Finding:
    """Return SKIPPED in place of INCONCLUSIVE for a limit that no client can come near: it promises nothing more."""
    for tighter in gateway_limits(evidence.target):
        # Before the limit is used up in a window, the tighter one has rejected what would have used it up.
        at_most = tighter.allowance + tighter.limit * policy.window // tighter.window
        covers = set(policy.applies_to) <= set(tighter.applies_to) or "/*" in tighter.applies_to
        if tighter != policy and covers and not tighter.exempt and at_most <= policy.allowance:
            says = f"{policy.name} can't be met: {tighter.name} admits no more than {at_most} in its window"
            return Finding(UNTESTED, Outcome.SKIPPED, says, untested.examined, untested.needed)
    return untested


def _model(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
    """Return whether the answers to the groups that tell models apart fit the declared one."""
    rows = rows_of(evidence, *steps_of(evidence, f"{MODEL} "))
    if not len(rows):
        return []
    doubtful = rows[explained_by_others(context, rows)]
    found = separated(replace(context, unsure=doubtful), rows)
    if found.outcome is Outcome.INCONCLUSIVE and len(doubtful):
        says = "another limit was met first, so the model of this one can't be told"
        return [replace(found, outcome=Outcome.SKIPPED, says=says)]
    return [found]


@headers.judge
def judge_header_truth(evidence: Evidence, limit: RateLimitPolicy) -> list[Finding]:
    """TC-RL-002: the headers on every answer are there, right and decreasing, and Reset is true."""
    context = limit_context(evidence, limit)
    every = rows_of(evidence, *(name for name in steps_of(evidence) if name != EXEMPT))
    findings = [*judge_headers(context, _within_limit(evidence, context, every)), *judge_promised_reset(context, every)]
    return delivered(evidence, findings)


def _within_limit(evidence: Evidence, context: RateLimitContext, rows: Rows) -> Rows:
    """Return `rows` without what was admitted beyond the limit: that is TC-RL-001's matter, and no header fits it."""
    if context.policy.is_bucket:
        return rows
    spent = ("spend for reset", "spend for retry-after")
    beyond = np.concatenate([rows_of(evidence, name)[context.policy.allowance :] for name in spent])
    rejected = evidence.history.numbers("status")[rows] == context.policy.status
    kept: Rows = rows[rejected | ~np.isin(rows, beyond)]
    return kept


def _evaded(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
    """Return for each thing that the limited client varied whether it got anything more by it."""
    spent = rows_of(evidence, "sequence")
    findings: list[Finding] = []
    for step, what in _EVASIONS.items():
        findings += evasion(context, rows_of(evidence, step), spent, what)
    varied = rows_of(evidence, VARIED)
    tags = tags_of(evidence, varied)
    for tag in dict.fromkeys(tags.tolist()):
        findings += evasion(context, varied[tags == tag], spent, f"form of the request ({tag})")
    return findings


def evasion(context: RateLimitContext, varied: Rows, spent: Rows, what: str) -> list[Finding]:
    """Return whether a client that had used up its limit by the rows `spent` got anything more by varying `what`."""
    if not len(varied):
        return []
    status = context.history.numbers("status")
    telling = varied[_tells(context, status[varied])]
    if not len(telling):
        seen = ", ".join(str(one) for one in sorted(set(status[varied].tolist())))
        says = f"a varying {what} was answered {seen}, which shows nothing"
        return [Finding(_EVASION, Outcome.SKIPPED, says, len(varied))]
    if (status[telling] == context.policy.status).all():
        return [held(_EVASION, f"a varying {what} opened no new allowance", examined=len(telling))]
    if not (status[spent] == context.policy.status).any():
        says = f"the client was never limited, so a varying {what} shows nothing"
        return [Finding(_EVASION, Outcome.INCONCLUSIVE, says, examined=len(telling))]
    findings = judge_evasion(context, np.concatenate([spent, telling]), what, plain=spent)
    if any(one.outcome is Outcome.PASS for one in findings):
        through = int(np.count_nonzero(status[telling] != context.policy.status))
        if context.policy.is_bucket and through < len(telling):
            # Had each variation a bucket of its own, none would have been rejected.
            says = (
                f"a varying {what} opened no new allowance: {through} came through as the bucket fills, others did not"
            )
            return [held(_EVASION, says, examined=len(telling))]
        # It conforms only because the window may have been over by then.
        says = f"{through} requests with a varying {what} came through, perhaps in the next window: it can't be told"
        return [Finding(_EVASION, Outcome.INCONCLUSIVE, says, examined=len(telling))]
    return findings


def _tells(context: RateLimitContext, status: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which answers tell what the limiter decided; a 404, a 405 or a redirect is another request's answer."""
    served = (status >= 200) & (status < 300)
    chosen = served | (status == context.policy.status) | np.isin(status, list(context.admitted_statuses))
    return np.asarray(chosen | (status == 0), dtype=np.bool_)


def _attempted(evidence: Evidence, context: RateLimitContext) -> Finding:
    """Return whether more than the limit was really tried, one by one: what a broken limiter would need to show."""
    tried, allowed = len(rows_of(evidence, "sequence")), context.policy.allowance
    says = f"{tried} requests were sent one by one where {allowed} are allowed at once"
    return held("rl.attempted", says, examined=tried, needed=allowed + 1)


def _kept_trying(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
    """Return whether it was seen that rejected requests do not prolong the window: only soon after one can that show.

    Whether the requests after the window were rightly answered is the matter of `rl.wrongful_rejection`.
    """
    if context.policy.is_bucket or not len(rows_of(evidence, "after window")):
        return []
    status, sent = evidence.history.numbers("status"), evidence.history.numbers("sent_ns")
    rows = rows_of(evidence, *steps_of(evidence, "retry "), "after window")
    rows = rows[np.argsort(sent[rows], kind="stable")]
    rejected = status[rows] == context.policy.status
    last = np.maximum.accumulate(np.where(rejected, sent[rows], -context.policy.window))
    soon = rows[~rejected & (status[rows] > 0) & (sent[rows] < last + context.policy.window)]
    says = "a client that kept retrying was let in again within a window's length of its last rejection"
    return [held("rl.kept_trying", says, examined=len(soon))]


def _speed(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
    """Return whether one rejection after the other came quickly, as far as our own machine was quick meanwhile."""
    rows = rows_of(evidence, "sequence", *_EVASIONS, VARIED)
    findings = judge_rejection_speed(context, rows, quick_ns=_QUICK_NS, needed=TO_COMPARE)
    late = max((one.loop_lag.p99_ns for one in evidence.deliveries), default=0)
    if late > _QUICK_NS // 4 and any(one.outcome is Outcome.FAIL for one in findings):
        says = f"{findings[0].says}; but our own loop was up to {format_duration(late)} late"
        return [Finding(findings[0].rule, Outcome.SKIPPED, says)]
    return findings
