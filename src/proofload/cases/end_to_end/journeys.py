"""TC-E2E: users who do what users do, and all services loaded together, with every control watching."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, allowance, limit_context
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.metrics_and_audit import (
    METRICS_PAGE,
    audited_event,
    counted,
    note_secrets,
    on_record,
    read_log,
    settle_metrics_and_audit,
)
from proofload.cases.rate_limit.keys import SEVERAL_ADDRESSES
from proofload.cases.reads import reads
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_admission
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy, MetricsPolicy, OrdersPolicy, RateLimitPolicy
from proofload.plan.target import Target, Users
from proofload.plan.workload import Script

_JOURNEYS, _WALKERS, _ROUNDS = 8, 6, 4
_PAUSE_S = 0.05
_OVER = 20
INCOMPLETE, SERVED = "int.journey_incomplete", "int.not_served"
_LOGIN, _LIMITED = "login_succeeded", "rate_limited"
_UNDER_LOAD = (502, 503, 504)
"""What may be the machine's doing and not the program's: these answers prove nothing either way."""


@dataclass(frozen=True, slots=True)
class Shop:
    """How users sign up and log in, and what they may buy."""

    users: Users
    register: str
    login: str
    orders: OrdersPolicy


@dataclass(frozen=True, slots=True)
class WatchedShop:
    """The same behind a limit, with the metrics and the log in which everything leaves its traces."""

    shop: Shop
    limit: RateLimitPolicy
    metrics: MetricsPolicy
    audit: AuditPolicy


def _shop(target: Target) -> Shop | Missing:
    users, orders = target.users, target.policies.orders
    if users is None or users.register_ is None or users.login is None:
        return Missing("the target declares no way to sign up and log in (users.register, users.login)")
    if orders is None:
        return Missing("the target says nothing of deposits and orders (policies.orders)")
    return Shop(users, users.register_, users.login, orders)


def _watched(target: Target) -> WatchedShop | Missing:
    events = audited_event(_LIMITED).needing(audited_event(_LOGIN), SEVERAL_ADDRESSES)
    found = (SHOP & GATEWAY_LIMIT & (METRICS_PAGE & events)).find(target)
    if isinstance(found, Missing):
        return found
    (shop, limit), (metrics, audit) = found
    return WatchedShop(shop, limit, metrics, audit)


SHOP = Requirement("sign-up, log-in and orders", "users.register, users.login, policies.orders", _shop)
WATCHED_SHOP = Requirement(
    "orders behind a limit, a metrics page and an audit log with log-ins and rejections",
    "users, policies.orders, policies.rate_limit, policies.metrics.url, policies.audit.events",
    _watched,
)


def steps_of_journey(target: Target, orders: OrdersPolicy) -> list[str]:
    """Return the operations of a journey after signing up and logging in: look around, pay in, buy, look again."""
    enough = -(-orders.price // orders.deposited)
    around = [name for name in reads(target).values() if name not in (orders.book, orders.balance)]
    return [*around, orders.balance, *[orders.deposit] * enough, orders.order, orders.book, orders.balance]


@case(
    "TC-E2E-001",
    "Users' journeys",
    Category.INTERACTION,
    Priority.HIGH,
    phase=8,
    requires=SHOP,
    uses=lambda _: (),
    takes=4 * NS_PER_SECOND,
)
async def journeys(run: CaseContext, shop: Shop) -> None:
    """What users come for works from end to end, while others do the same.

    Sends: 8 new users side by side: sign up, log in, look around, pay in, order, look at orders and balance
    Passes when: every step of every user was answered with success
    Reading FAIL: the finding shows the step that was refused
    Least evidence: 8 complete journeys
    """
    names = steps_of_journey(run.target, shop.orders)
    unique = secrets.token_hex(3)
    async with run.undisturbed(*names):
        run.doing(f"{_JOURNEYS} users go from signing up to an order")
        script = _journey(shop, names, f"{shop.users.prefix}{unique}_e2e_")
        await run.run(run.crowd("journey", script, _JOURNEYS, 1, sources=run.sources(_JOURNEYS)))
    run.note("steps", len(names) + 2)


def _journey(shop: Shop, names: Sequence[str], prefix: str) -> Script:
    async def script(user: User) -> None:
        user.state.update({"user.name": f"{prefix}{user.index}", "user.password": secrets.token_urlsafe(12) + "aA1!"})
        for name in (shop.register, shop.login, *names):
            answer: Answer = await user.request(name, keep_body=True)
            if not answer.ok:
                return
            if name == shop.login:
                user.token = shop.users.token_of(answer.json())
            await user.pause(_PAUSE_S)

    return script


@journeys.judge
def judge_journeys(evidence: Evidence, _shop: Shop) -> list[Finding]:
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


@case(
    "TC-E2E-002",
    "All services loaded together",
    Category.INTERACTION,
    Priority.HIGH,
    phase=8,
    requires=WATCHED_SHOP,
    uses=lambda _: (),
    takes=lambda found: found.audit.arrives_within + 6 * NS_PER_SECOND,
    spends=True,
)
async def together(run: CaseContext, found: WatchedShop) -> None:
    """With every service at work, controls hold, and metrics and audit log see everything.

    Sends: 6 users who read, pay in and order, log-ins beside them, and one client beyond its limit, while no
        other case sends, between two readings
    Passes when: polite users were served, the limit held, every answer was counted, and every log-in and
        rejection is on record
    Reading FAIL: the finding names the request that was refused, counted wrongly, or is not on record
    Least evidence: 100 answers between the readings, and more requests of one client than the limit
    """
    limit, orders = found.limit, found.shop.orders
    accounts = await run.accounts(_WALKERS + 1)
    people = accounts[:_WALKERS]
    note_secrets(run, accounts)
    names = [*reads(run.target).values(), orders.deposit, orders.order]
    async with run.undisturbed(*names), run.exclusive():
        await run.readings.begin_audit()
        await run.readings.services("before")
        run.doing("loading every service at once")
        over = allowance(limit) + _OVER
        await run.run(
            run.crowd("working", _working(names), _WALKERS, _ROUNDS, accounts=people, sources=run.sources(_WALKERS)),
            run.crowd("log in", found.shop.login, _WALKERS, _ROUNDS, accounts=people, sources=run.sources(_WALKERS)),
            run.steps("beyond", limit.probe, over, account=accounts[-1], source=run.source()),
        )
        await settle_metrics_and_audit(run)
        await run.readings.services("after")
        await read_log(run)


def _working(names: Sequence[str]) -> Script:
    async def script(user: User) -> None:
        for name in names:
            await user.request(name, keep_body=True)

    return script


@together.judge
def judge_together(evidence: Evidence, found: WatchedShop) -> list[Finding]:
    """TC-E2E-002: polite users were served, the limit held, and metrics and audit log saw everything."""
    limit = found.limit
    polite, beyond, logins = (rows_of(evidence, step) for step in ("working", "beyond", "log in"))
    context = limit_context(evidence, limit)
    rows = np.concatenate([polite, logins])
    served = int(np.count_nonzero(_good(evidence, rows)))
    says = f"{served} of {len(rows)} requests of polite users to every service were served"
    status = evidence.history.numbers("status")
    findings = [
        _told(evidence, SERVED, says, rows, served, len(rows)),
        *judge_admission(context, beyond),
        *counted(evidence, found.metrics),
        *_named(_LOGIN, on_record(evidence, found.audit, logins[_good(evidence, logins)], _LOGIN, needed=_WALKERS)),
        *_named(_LIMITED, on_record(evidence, found.audit, beyond[status[beyond] == limit.status], _LIMITED, needed=5)),
    ]
    return delivered(evidence, findings)


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
