"""TC-NEG-001 to 003: a limit that leaves alone whoever keeps below it, and that no forged header gets round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, covering, its_probe, limit_context, polite_count
from proofload.cases.evidence_rows import delivered, rows_of, tags_of
from proofload.cases.rate_limit.clients import Client, clients_of, own_allowances, send
from proofload.cases.rate_limit.judging import evasion
from proofload.cases.rate_limit.spending import exhaust
from proofload.cases.short_window import in_time
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_isolation
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_EXACT_CLIENTS = 2
_QUIET_CLIENTS = 3
_SPOOFED = 20
_WRONGFUL = "rl.wrongful_rejection"

FORGED = (
    "X-Forwarded-For",
    "Forwarded",
    "X-Real-IP",
    "X-Client-IP",
    "X-Forwarded",
    "Forwarded-For",
    "X-Originating-IP",
    "X-Remote-IP",
    "X-Remote-Addr",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
)
"""Headers by which proxies and content networks tell whom they speak for: anybody can write them."""


FRESH_CLIENTS = own_allowances(GATEWAY_LIMIT)
"""A limit, and clients of whom each is sure to have its whole allowance."""


@case(
    "TC-NEG-001",
    "Traffic under the limit is never rejected",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=2,
    requires=FRESH_CLIENTS,
    uses=its_probe,
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def under(run: CaseContext, policy: RateLimitPolicy) -> None:
    """Whoever keeps to the limit never meets it, to the last request that is allowed.

    Sends: exactly the allowed number of requests from several fresh addresses: one by one, all at once, and
        over every operation of the probe's service that can be repeated
    Passes when: none of them was rejected
    Reading FAIL: the finding shows the rejected request and how few could count against its client by then
    Least evidence: twice the limit, all of it sent
    """
    accounts = await run.accounts(_EXACT_CLIENTS + 2)
    count = policy.allowance
    run.doing(f"sending exactly the {count} allowed requests from several clients")
    names = _reads(run.target, policy)
    mixed = polite_count(run.target, count, operations=names)
    sources = run.sources(_EXACT_CLIENTS)
    async with in_time(run, policy):
        await send(
            run,
            run.crowd("one by one", policy.probe, _EXACT_CLIENTS, count, accounts=accounts[:2], sources=sources),
            run.steps("mixed", _in_turn(names, mixed), account=accounts[2], source=run.source()),
        )
        await send(run, run.burst("at once", policy.probe, count, account=accounts[3], source=run.source()))


@under.judge
def judge_under(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-NEG-001: none of these requests was rejected."""
    context = limit_context(evidence, policy)
    rows = rows_of(evidence, "one by one", "mixed", "at once")
    needed = 2 * context.policy.allowance
    return delivered(evidence, _wrongful(context, rows, needed))


@case(
    "TC-NEG-002",
    "One client's excess does not touch another",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=2,
    requires=FRESH_CLIENTS,
    uses=its_probe,
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def excess(run: CaseContext, policy: RateLimitPolicy) -> None:
    """The allowance belongs to the client: a greedy one takes nothing from a quiet one.

    Sends: twice the limit from one address, and a quarter of it from each of three others, beside it and after
        it
    Passes when: the greedy client was limited and no request of the quiet ones was rejected
    Reading FAIL: the finding names the quiet client, the rejected request, and how little it had sent
    Least evidence: one client that surely used up its limit, and others that were served meanwhile
    """
    accounts = await run.accounts(_QUIET_CLIENTS + 1)
    quiet, sources = accounts[1:], run.sources(_QUIET_CLIENTS)
    each = max(1, policy.allowance // 4)
    run.doing("one client beyond its limit, others below theirs")
    beyond = policy.allowance + max(policy.allowance, policy.limit)
    async with in_time(run, policy):
        await send(
            run,
            run.steps("excess", policy.probe, beyond, account=accounts[0], source=run.source()),
            run.crowd("quiet", policy.probe, _QUIET_CLIENTS, each, accounts=quiet, sources=sources),
        )
        await send(run, run.crowd("quiet after", policy.probe, _QUIET_CLIENTS, each, accounts=quiet, sources=sources))


@excess.judge
def judge_excess(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-NEG-002: whoever kept below the limit was served, though another had used up its own."""
    context = limit_context(evidence, policy)
    quiet = rows_of(evidence, "quiet", "quiet after")
    findings = [
        *judge_isolation(context, rows_of(evidence, "excess", "quiet", "quiet after")),
        *_wrongful(context, quiet, 2 * _QUIET_CLIENTS),
    ]
    return delivered(evidence, findings)


@case(
    "TC-NEG-003",
    "A forged X-Forwarded-For opens nothing",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=2,
    requires=FRESH_CLIENTS,
    uses=its_probe,
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def forged(run: CaseContext, policy: RateLimitPolicy) -> None:
    """Who a client is follows from its connection, never from what it says of itself.

    Sends: the limit and three more from one address, then 13 kinds of forwarding headers from it, each with
        four addresses; then requests from elsewhere in another client's name, and that client's own
    Passes when: every forged request of the limited client was rejected, and the client whose name was used
        still had its whole allowance
    Reading FAIL: the finding names the header, and the request that it opened the way for
    Least evidence: a client that surely used up its limit, and as many requests of the other as it is owed
    """
    clients = await clients_of(run, policy, ("spender", "victim", "impostor"))
    spender, victim = clients["spender"], clients["victim"]
    run.doing(f"using up the limit, then forging {len(FORGED)} headers")
    async with in_time(run, policy):
        await send(run, run.steps("forged", _forging(policy), account=spender.account, source=spender.source))
        await _spoof(run, policy, clients["impostor"], str(victim.source))
        own = run.steps("victim", policy.probe, policy.allowance, account=victim.account, source=victim.source)
        await send(run, own)


async def _spoof(run: CaseContext, policy: RateLimitPolicy, impostor: Client, victim: str) -> None:
    """Send requests from elsewhere that claim to be the victim's."""

    async def script(user: User) -> None:
        for i in range(min(_SPOOFED, policy.allowance)):
            header = FORGED[i % len(FORGED)]
            # The commonest header every other time: it is the one that is believed most often.
            named = FORGED[0] if i % 2 else header
            await user.request(policy.probe, headers={named: _told(named, victim)})

    await send(run, run.steps("in its name", script, account=impostor.account, source=impostor.source))


@forged.judge
def judge_forged(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-NEG-003: no header opened an allowance, and none spent another client's."""
    context = limit_context(evidence, policy)
    rows = rows_of(evidence, "forged")
    tags = tags_of(evidence, rows)
    findings: list[Finding] = []
    for header in FORGED:
        findings += evasion(context, rows[tags == header], rows[tags == ""], f"{header} header")
    if not findings:
        findings.append(Finding("rl.evasion", Outcome.INCONCLUSIVE, "no header was forged"))
    victim = rows_of(evidence, "victim")
    return delivered(evidence, [*findings, *_wrongful(context, victim, context.policy.allowance)])


def _wrongful(context: RateLimitContext, rows: NDArray[np.int64], needed: int) -> list[Finding]:
    """Return whether any of the rows was rejected though its client had not used up its limit."""
    return [one for one in judge_admission(context, rows, needed=needed) if one.rule == _WRONGFUL]


def _reads(target: Target, policy: RateLimitPolicy) -> list[str]:
    """Return the probe and what else can be read at will under the limit, from the same service: others may be down."""
    service = target.operations[policy.probe].service
    found = [
        name
        for name, one in sorted(target.operations.items())
        if one.effect == "none" and one.method == "GET" and "${" not in one.path and policy.covers(one.path)
    ]
    alike = [one for one in found if one != policy.probe and target.operations[one].service == service]
    # What a tighter limit covers as well would be rejected by that one.
    return [
        policy.probe,
        *(one for one in alike if all(each.allowance >= policy.allowance for each in covering(target, one))),
    ]


def _in_turn(names: list[str], count: int) -> Script:
    async def script(user: User) -> None:
        for i in range(count):
            await user.request(names[i % len(names)])

    return script


def _forging(policy: RateLimitPolicy) -> Script:
    # An address of the documentation's range, our own machine, a list as proxies write it, and an IPv6 address.
    addresses = ("198.51.100.7", "127.0.0.1", "198.51.100.8, 203.0.113.9", "2001:db8::7")

    spend = exhaust(policy, 3)

    async def script(user: User) -> None:
        # All in one go: between two steps others may send, and the window may end.
        await spend(user)
        for header in FORGED:
            user.tag = header
            for address in addresses:
                await user.request(policy.probe, headers={header: _told(header, address)})

    return script


def _told(header: str, address: str) -> str:
    """Return the header's value that names an address; `Forwarded` has a form of its own (RFC 7239)."""
    if header != "Forwarded":
        return address
    nodes = (f'"[{one}]"' if ":" in one else one for one in address.split(", "))
    return ", ".join(f"for={node}" for node in nodes)
