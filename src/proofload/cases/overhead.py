"""TC-MON-004 and TC-AUDIT-005: what counting and recording cost each request, measured with them on and off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from proofload.cases.case import Case, Category, Priority
from proofload.cases.lab import Lab
from proofload.cases.latency_shapes import missing_read, read_of
from proofload.cases.limits import polite_count
from proofload.cases.reading import delivered, rows_of
from proofload.core.units import NS_PER_SECOND
from proofload.judge.evidence import Evidence
from proofload.judge.latency import Round, judge_overhead
from proofload.judge.reconcile import request_ids
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.faults import Switch
from proofload.plan.target import Target

_MOST_NS = 40 * NS_PER_SECOND
"""No further round is begun after so long."""
_LEASE_NS = 30 * NS_PER_SECOND
_ON, _OFF = ("on a", "on b"), ("off a", "off b")


@dataclass(frozen=True)
class _Measured:
    """One of the two: what is switched off, and what is sent meanwhile."""

    rule: str
    what: str
    rounds: int
    """Rounds of four blocks; the interval of the median narrows with their number."""
    each: int
    """Requests in each block."""
    switch: Callable[[Target], Switch | None]
    at_most: Callable[[Target], float]
    operation: Callable[[Target], str]
    silent: Callable[[Evidence, int], str]
    """Returns why the switch was not seen to work in a round, or nothing."""
    look_at: str


def _metrics_switch(target: Target) -> Switch | None:
    return target.policies.metrics.switch if target.policies.metrics else None


def _audit_switch(target: Target) -> Switch | None:
    return target.policies.audit.switch if target.policies.audit else None


def _audited(target: Target) -> str:
    """Return the operation that leaves an event: the log-in, else the first that is declared to."""
    policy, users = target.policies.audit, target.users
    assert policy is not None
    if users is not None and users.login and "login_succeeded" in policy.events:
        return users.login
    return next(iter(policy.tells), "")


def missing_metrics(target: Target) -> str:
    """Return why the cost of metrics can't be measured, or nothing."""
    policy = target.policies.metrics
    if policy is None or policy.url is None:
        return "the target declares no metrics page (policies.metrics.url)"
    if policy.switch is None:
        return "the target declares no way to switch its metrics off for a moment (policies.metrics.switch)"
    return missing_read(target)


def missing_audit(target: Target) -> str:
    """Return why the cost of the audit log can't be measured, or nothing."""
    policy = target.policies.audit
    if policy is None or not policy.files:
        return "the target declares no audit log in files (policies.audit.files)"
    if policy.switch is None:
        return "the target declares no way to switch its audit log off for a moment (policies.audit.switch)"
    return "" if _audited(target) else "no operation is declared that leaves an audit event (policies.audit.tells)"


def _still_counted(evidence: Evidence, i: int) -> str:
    policy = evidence.target.policies.metrics
    assert policy is not None
    read = [evidence.ledgers.reading(f"{when} {i}", "gateway") for when in ("muted", "unmuting", "ended")]
    if any(reading is None or reading.error for reading in read):
        return "the metrics page could not be read"
    muted, unmuting, ended = (one.total(policy.requests_total, policy.only) for one in read if one is not None)
    if unmuting != muted:
        return f"{unmuting - muted:g} requests were counted while the metrics were off"
    return "" if ended > unmuting else "nothing was counted while the metrics were on"


def _still_written(evidence: Evidence, i: int) -> str:
    policy = evidence.target.policies.audit
    assert policy is not None
    name = policy.fields.get("request_id", "request_id")
    written = {str(entry.fields.get(name)) for entry in evidence.ledgers.audit if entry.fields is not None}
    off = _ids(evidence, [f"{i} {block}" for block in _OFF])
    on = _ids(evidence, [f"{i} {block}" for block in _ON])
    if found := len(off & written):
        return f"{found} events were written while the audit log was off"
    return "" if on & written else "nothing was written while the audit log was on"


def _ids(evidence: Evidence, steps: list[str]) -> set[str]:
    return {one for one in request_ids(evidence.history, rows_of(evidence, *steps)).to_list() if one}


METRICS = _Measured(
    "mon.overhead",
    "counting",
    40,
    75,
    _metrics_switch,
    lambda target: target.policies.metrics.overhead_at_most if target.policies.metrics else 0,
    read_of,
    _still_counted,
    "what is worked out at each request and could be when the page is asked for; labels looked up anew each time",
)
AUDIT = _Measured(
    "audit.overhead",
    "recording",
    16,
    8,
    _audit_switch,
    lambda target: target.policies.audit.overhead_at_most if target.policies.audit else 0,
    _audited,
    _still_written,
    "a write that waits for a disk or for a collector while the client waits; locks held meanwhile",
)


def _driver(measured: _Measured) -> Callable[[Lab], object]:
    async def drive(lab: Lab) -> None:
        """Send blocks in the order on, off, off, on, over and over, by one client, in silence."""
        switch, name = measured.switch(lab.target), measured.operation(lab.target)
        assert switch is not None
        (account,) = await lab.accounts(1)
        each = polite_count(lab.target, measured.each)

        async def block(step: str) -> None:
            await lab.run(lab.steps(step, name, each, account=account, source=lab.source()))

        lab.begin_audit()
        async with lab.using(name), lab.silence():
            await block("warm up")
            until_ns = lab.clock.now_ns() + _MOST_NS
            for i in range(1, measured.rounds + 1):
                if lab.clock.now_ns() > until_ns:
                    break
                await block(f"{i} {_ON[0]}")
                async with lab.switched_off(measured.what, switch, _LEASE_NS):
                    await lab.read_services(f"muted {i}")
                    for step in _OFF:
                        await block(f"{i} {step}")
                    await lab.read_services(f"unmuting {i}")
                await block(f"{i} {_ON[1]}")
                await lab.read_services(f"ended {i}")
        lab.read_audit()

    return drive


def _judge(measured: _Measured) -> Callable[[Evidence], list[Finding]]:
    def judge(evidence: Evidence) -> list[Finding]:
        rounds, spoilt = [], ""
        for i in range(1, measured.rounds + 1):
            if not len(rows_of(evidence, f"{i} {_ON[1]}")):
                break
            spoilt = spoilt or measured.silent(evidence, i)
            on, off = (_usual_ns(evidence, [f"{i} {block}" for block in blocks]) for blocks in (_ON, _OFF))
            rounds.append(Round(on, off, int(rows_of(evidence, f"{i} {_ON[0]}")[0])))
        if spoilt:
            says = f"the switch was not seen to work: {spoilt}"
            return delivered(evidence, [Finding(measured.rule, Outcome.INCONCLUSIVE, says, len(rounds))])
        at_most = measured.at_most(evidence.target)
        told = judge_overhead(measured.rule, measured.what, rounds, at_most=at_most, look_at=measured.look_at)
        return delivered(evidence, [told])

    return judge


def _usual_ns(evidence: Evidence, steps: list[str]) -> float:
    """Return the mean, over blocks, of the median response time: slow stragglers say nothing of the cost."""
    history = evidence.history
    took = history.numbers("done_ns") - history.numbers("sent_ns")
    return sum(float(median(took[rows_of(evidence, step)].tolist())) for step in steps) / len(steps)


def _case(measured: _Measured, **told: object) -> Case:
    return Case(
        priority=Priority.MEDIUM,
        sends=f"{measured.rounds} rounds of four blocks of {measured.each} requests by one client, in silence: with, "
        "without, without, with",
        read_fail="the finding says what a request takes with and without, and how sure that is",
        least_evidence="six rounds in which the switch was seen to work",
        drive=_driver(measured),  # type: ignore[arg-type]
        judge=_judge(measured),
        disturbs=frozenset({"everything"}),
        **told,  # type: ignore[arg-type]
    )


METRICS_CASES = (
    _case(
        METRICS,
        id="TC-MON-004",
        title="Cost of the metrics",
        category=Category.MONITORING,
        phase=4,
        purpose="Counting takes a small share of a request's time, by measurement and not by belief.",
        passes_when="with 95 % confidence the metrics add no more than the declared share (5 %) to a request",
        needs=("policies.metrics.url", "policies.metrics.switch"),
        missing=missing_metrics,
        expected_ns=lambda _: 30 * NS_PER_SECOND,
    ),
)
AUDIT_CASES = (
    _case(
        AUDIT,
        id="TC-AUDIT-005",
        title="Cost of the audit log",
        category=Category.AUDIT,
        phase=5,
        purpose="Putting events on record takes a small share of a request's time, by measurement and not by belief.",
        passes_when="with 95 % confidence the audit log adds no more than the declared share (5 %) to an operation "
        "that leaves an event",
        needs=("policies.audit.files", "policies.audit.switch"),
        missing=missing_audit,
        expected_ns=lambda _: 25 * NS_PER_SECOND,
    ),
)
