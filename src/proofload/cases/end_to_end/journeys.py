"""TC-E2E: users who do what users do, and all services loaded together while controls hold and the books see it all."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from proofload.cases import metrics_and_audit as books
from proofload.cases.addresses import has_many
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.latency.load_levels import reads
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_admission
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.target import Target
from proofload.plan.workload import Script

_JOURNEYS, _WALKERS, _ROUNDS = 8, 6, 4
_PAUSE_S = 0.05
_OVER = 20
INCOMPLETE, SERVED = "int.journey_incomplete", "int.not_served"
_LOGIN, _LIMITED = "login_succeeded", "rate_limited"
_UNDER_LOAD = (502, 503, 504)
"""What may be the machine's doing and not the program's: these answers prove nothing either way."""


def missing_journey(target: Target) -> str:
    """Return why no journey can be made, or nothing."""
    users = target.users
    if users is None or users.register_ is None or users.login is None:
        return "the target declares no way to sign up and log in (users.register, users.login)"
    return "" if target.policies.orders else "the target says nothing of deposits and orders (policies.orders)"


def steps_of_journey(target: Target) -> list[str]:
    """Return the operations of a journey after signing up and logging in: look around, pay in, buy, look again."""
    orders = target.policies.orders
    assert orders is not None
    enough = -(-orders.price // orders.deposited)
    around = [name for name in reads(target).values() if name not in (orders.book, orders.balance)]
    return [*around, orders.balance, *[orders.deposit] * enough, orders.order, orders.book, orders.balance]


async def drive_journeys(lab: Lab) -> None:
    """Let new users sign up and go their way, side by side, with a pause between two steps."""
    users = lab.target.users
    assert users is not None
    names = steps_of_journey(lab.target)
    run = secrets.token_hex(3)
    async with lab.using(*names):
        lab.doing(f"{_JOURNEYS} users go from signing up to an order")
        script = _journey(lab.target, names, f"{users.prefix}{run}_e2e_")
        await lab.run(lab.crowd("journey", script, _JOURNEYS, 1, sources=lab.sources(_JOURNEYS)))
    lab.note("steps", len(names) + 2)


def _journey(target: Target, names: Sequence[str], prefix: str) -> Script:
    users = target.users
    assert users is not None
    register, login = users.register_, users.login
    assert register is not None
    assert login is not None

    async def script(user: User) -> None:
        user.state.update({"user.name": f"{prefix}{user.index}", "user.password": secrets.token_urlsafe(12) + "aA1!"})
        for name in (register, login, *names):
            answer: Answer = await user.request(name, keep_body=True)
            if not answer.ok:
                return
            if name == login:
                user.token = users.token_of(answer.json())
            await user.pause(_PAUSE_S)

    return script


def judge_journeys(evidence: Evidence) -> list[Finding]:
    """TC-E2E-001: every journey came to its end."""
    rows = rows_of(evidence, "journey")
    wanted = int(evidence.facts.get("steps", 0))
    users = evidence.history.numbers("user")[rows]
    complete = sum(
        int(np.count_nonzero(users == user) == wanted and _good(evidence, rows[users == user]).all())
        for user in np.unique(users)
    )
    says = f"{complete} of {_JOURNEYS} users came from signing up to an order and their balance"
    return delivered(evidence, [_told(evidence, INCOMPLETE, says, rows, complete, _JOURNEYS)])


def missing_together(target: Target) -> str:
    """Return why the services can't be loaded together and looked at, or nothing."""
    if reason := missing_journey(target):
        return reason
    if gateway_limit(target) is None:
        return "the target declares no rate limit (policies.rate_limit)"
    if reason := books.missing_metrics(target):
        return reason
    if reason := books.missing_event(target, _LOGIN) or books.missing_event(target, _LIMITED):
        return reason
    return "" if has_many(target) else "this machine has one address only, so clients can't be told apart (sources)"


async def drive_together(lab: Lab) -> None:
    """Load every service at once by polite users, beside one client beyond its limit, between two readings."""
    limit, orders, users = gateway_limit(lab.target), lab.target.policies.orders, lab.target.users
    assert limit is not None
    assert orders is not None
    assert users is not None
    assert users.login is not None
    accounts = await lab.accounts(_WALKERS + 1)
    people = accounts[:_WALKERS]
    names = [*reads(lab.target).values(), orders.deposit, orders.order]
    async with lab.using(*names), lab.silence():
        lab.begin_audit()
        await lab.read_services("before")
        lab.doing("loading every service at once")
        over = allowance(limit) + _OVER
        await lab.run(
            lab.crowd("working", _working(names), _WALKERS, _ROUNDS, accounts=people, sources=lab.sources(_WALKERS)),
            lab.crowd("log in", users.login, _WALKERS, _ROUNDS, accounts=people, sources=lab.sources(_WALKERS)),
            lab.steps("beyond", limit.probe, over, account=accounts[-1], source=lab.source()),
        )
        await books.settle_books(lab)
        await lab.read_services("after")
        await books.read_log(lab)


def _working(names: Sequence[str]) -> Script:
    async def script(user: User) -> None:
        for name in names:
            await user.request(name, keep_body=True)

    return script


def judge_together(evidence: Evidence) -> list[Finding]:
    """TC-E2E-002: polite users were served, the limit held, and metrics and audit log saw everything."""
    limit = gateway_limit(evidence.target)
    assert limit is not None
    polite, beyond, logins = (rows_of(evidence, step) for step in ("working", "beyond", "log in"))
    scene = RateLimitContext(limit, evidence.history, evidence.anchor)
    rows = np.concatenate([polite, logins])
    served = int(np.count_nonzero(_good(evidence, rows)))
    says = f"{served} of {len(rows)} requests of polite users to every service were served"
    status = evidence.history.numbers("status")
    found = [
        _told(evidence, SERVED, says, rows, served, len(rows)),
        *judge_admission(scene, beyond),
        *books.counted(evidence),
        *_named(_LOGIN, books.on_record(evidence, logins[_good(evidence, logins)], _LOGIN, needed=_WALKERS)),
        *_named(_LIMITED, books.on_record(evidence, beyond[status[beyond] == limit.status], _LIMITED, needed=5)),
    ]
    return delivered(evidence, found)


def _named(event: str, findings: Sequence[Finding]) -> list[Finding]:
    return [replace(one, says=f"{event}: {one.says}") for one in findings]


def _good(evidence: Evidence, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    status = evidence.history.numbers("status")[rows]
    return np.asarray((status >= 200) & (status < 300), dtype=np.bool_)


def _told(evidence: Evidence, rule: str, says: str, rows: NDArray[np.int64], came: int, wanted: int) -> Finding:
    """Return PASS where all came, FAIL where an answer was plainly wrong, INCONCLUSIVE where load may explain it."""
    status = evidence.history.numbers("status")
    wrong = [int(row) for row in rows if status[row] >= 400 and status[row] not in _UNDER_LOAD]
    if wrong:
        shown = tuple(f"row {one.row}: {one.operation} → {one.status}" for one in evidence.history.exchanges(wrong[:5]))
        look = "what the operation answered, and what the steps before it left behind"
        return Finding(rule, Outcome.FAIL, says, len(rows), wanted, tuple(wrong[:5]), shown, look)
    if not wanted or came < wanted:
        return Finding(rule, Outcome.INCONCLUSIVE, f"{says}; nothing shows why not", len(rows), max(1, wanted))
    return held(rule, says, examined=came, needed=wanted)


CASES = (
    Case(
        id="TC-E2E-001",
        title="Users' journeys",
        category=Category.INTERACTION,
        priority=Priority.HIGH,
        phase=8,
        purpose="What users come for works from end to end, while others do the same.",
        sends=f"{_JOURNEYS} new users side by side: sign up, log in, look around, pay in, order, look at orders and "
        "balance",
        passes_when="every step of every user was answered with success",
        read_fail="the finding shows the step that was refused",
        least_evidence=f"{_JOURNEYS} complete journeys",
        needs=("users.register", "users.login", "policies.orders"),
        missing=missing_journey,
        expected_ns=lambda _: 4 * NS_PER_SECOND,
        drive=drive_journeys,
        judge=judge_journeys,
    ),
    Case(
        id="TC-E2E-002",
        title="All services loaded together",
        category=Category.INTERACTION,
        priority=Priority.HIGH,
        phase=8,
        purpose="With every service at work, controls hold, and metrics and audit log see everything.",
        sends=f"{_WALKERS} users who read, pay in and order, log-ins beside them, and one client beyond its limit, in "
        "silence between two readings",
        passes_when="polite users were served, the limit held, every answer was counted, and every log-in and "
        "rejection is on record",
        read_fail="the finding names the request that was refused, counted wrongly, or is not on record",
        least_evidence="100 answers between the readings, and more requests of one client than the limit",
        needs=("users", "policies.orders", "policies.rate_limit", "policies.metrics.url", "policies.audit.events"),
        missing=missing_together,
        expected_ns=lambda target: (
            (target.policies.audit.arrives_within if target.policies.audit else 0) + 6 * NS_PER_SECOND
        ),
        drive=drive_together,
        judge=judge_together,
    ),
)
