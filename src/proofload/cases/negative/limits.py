"""TC-NEG-001 to 003: a limit that leaves alone whoever keeps below it, and that no forged header gets round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofload.cases.accounts import Account
from proofload.cases.addresses import has_many
from proofload.cases.context import Lab
from proofload.cases.declared_limits import gateway_limit, polite_count
from proofload.cases.evidence_rows import delivered, rows_of, tags_of
from proofload.cases.rate_limit.judging import evasion
from proofload.cases.short_window import in_time
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
_BUCKETS = ("token_bucket", "gcra", "leaky_bucket")

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


def missing(target: Target) -> str:
    """Return why these cases can't be run on this target, or nothing."""
    if gateway_limit(target) is None:
        return "the target declares no rate limit (policies.rate_limit)"
    return "" if has_many(target) else "this machine has one address only, so no client is sure to be fresh (sources)"


def limit_of(target: Target) -> RateLimitPolicy:
    """Return the gateway's limit, which `missing` has seen to be there."""
    policy = gateway_limit(target)
    assert policy is not None
    return policy


def scene_of(evidence: Evidence) -> RateLimitContext:
    """Return the scene for the judges of the gateway's limit."""
    return RateLimitContext(limit_of(evidence.target), evidence.history, evidence.anchor)


def at_once(policy: RateLimitPolicy) -> int:
    """Return how many requests a fresh client is owed without a pause between them."""
    if policy.algorithm in _BUCKETS and policy.burst is not None:
        return max(1, min(policy.limit, policy.burst))
    return policy.limit


async def drive_under(lab: Lab) -> None:
    """Send exactly what is allowed, one by one, all at once, and over several operations; never more."""
    policy = limit_of(lab.target)
    accounts = await lab.accounts(_EXACT_CLIENTS + 2)
    count = at_once(policy)
    lab.doing(f"sending exactly the {count} allowed requests from several clients")
    names = _reads(lab.target, policy)
    sources = lab.sources(_EXACT_CLIENTS)
    async with in_time(lab, policy):
        await lab.run(
            lab.crowd("one by one", policy.probe, _EXACT_CLIENTS, count, accounts=accounts[:2], sources=sources),
            lab.steps(
                "mixed", _in_turn(names, polite_count(lab.target, count)), account=accounts[2], source=lab.source()
            ),
        )
        await lab.run(lab.burst("at once", policy.probe, count, account=accounts[3], source=lab.source()))


def judge_under(evidence: Evidence) -> list[Finding]:
    """TC-NEG-001: none of these requests was rejected."""
    scene = scene_of(evidence)
    rows = rows_of(evidence, "one by one", "mixed", "at once")
    needed = 2 * at_once(scene.policy)
    return delivered(evidence, _wrongful(scene, rows, needed))


async def drive_excess(lab: Lab) -> None:
    """Let one client send twice what it may, and others a little, beside it and after it."""
    policy = limit_of(lab.target)
    accounts = await lab.accounts(_QUIET_CLIENTS + 1)
    quiet, sources = accounts[1:], lab.sources(_QUIET_CLIENTS)
    each = max(1, at_once(policy) // 4)
    lab.doing("one client beyond its limit, others below theirs")
    async with in_time(lab, policy):
        await lab.run(
            lab.steps("excess", policy.probe, 2 * policy.limit, account=accounts[0], source=lab.source()),
            lab.crowd("quiet", policy.probe, _QUIET_CLIENTS, each, accounts=quiet, sources=sources),
        )
        await lab.run(lab.crowd("quiet after", policy.probe, _QUIET_CLIENTS, each, accounts=quiet, sources=sources))


def judge_excess(evidence: Evidence) -> list[Finding]:
    """TC-NEG-002: whoever kept below the limit was served, though another had used up its own."""
    scene = scene_of(evidence)
    quiet = rows_of(evidence, "quiet", "quiet after")
    findings = [
        *judge_isolation(scene, rows_of(evidence, "excess", "quiet", "quiet after")),
        *_wrongful(scene, quiet, 2 * _QUIET_CLIENTS),
    ]
    return delivered(evidence, findings)


async def drive_forged(lab: Lab) -> None:
    """Use up an allowance and try every forwarding header; then spend in the name of a client that comes later."""
    policy = limit_of(lab.target)
    (account,) = await lab.accounts(1)
    spender, victim = lab.source(), lab.source()
    lab.doing(f"using up the limit, then forging {len(FORGED)} headers")
    async with in_time(lab, policy):
        await lab.run(lab.steps("forged", _forging(policy), account=account, source=spender))
        await _spoof(lab, policy, account, str(victim))
        await lab.run(lab.steps("victim", policy.probe, at_once(policy), account=account, source=victim))


async def _spoof(lab: Lab, policy: RateLimitPolicy, account: Account, victim: str) -> None:
    """Send requests from elsewhere that claim to be the victim's."""

    async def script(user: User) -> None:
        for i in range(min(_SPOOFED, policy.limit)):
            header = FORGED[i % len(FORGED)]
            # The commonest header every other time: it is the one that is believed most often.
            named = FORGED[0] if i % 2 else header
            await user.request(policy.probe, headers={named: _told(named, victim)})

    await lab.run(lab.steps("in its name", script, account=account, source=lab.source()))


def judge_forged(evidence: Evidence) -> list[Finding]:
    """TC-NEG-003: no header opened an allowance, and none spent another client's."""
    scene = scene_of(evidence)
    rows = rows_of(evidence, "forged")
    tags = tags_of(evidence, rows)
    findings: list[Finding] = []
    for header in FORGED:
        findings += evasion(scene, rows[tags == header], rows[tags == ""], f"{header} header")
    if not findings:
        findings.append(Finding("rl.evasion", Outcome.INCONCLUSIVE, "no header was forged"))
    victim = rows_of(evidence, "victim")
    return delivered(evidence, [*findings, *_wrongful(scene, victim, at_once(scene.policy))])


def _wrongful(scene: RateLimitContext, rows: NDArray[np.int64], needed: int) -> list[Finding]:
    """Return whether any of the rows was rejected though its client had not used up its limit."""
    return [one for one in judge_admission(scene, rows, needed=needed) if one.rule == _WRONGFUL]


def _reads(target: Target, policy: RateLimitPolicy) -> list[str]:
    """Return the probe and what else can be read at will under the limit, from the same service: others may be down."""
    service = target.operations[policy.probe].service
    found = [
        name
        for name, one in sorted(target.operations.items())
        if one.effect == "none" and one.method == "GET" and "${" not in one.path and policy.covers(one.path)
    ]
    return [policy.probe, *(one for one in found if one != policy.probe and target.operations[one].service == service)]


def _in_turn(names: list[str], count: int) -> Script:
    async def script(user: User) -> None:
        for i in range(count):
            await user.request(names[i % len(names)])

    return script


def _forging(policy: RateLimitPolicy) -> Script:
    # An address of the documentation's range, our own machine, a list as proxies write it, and an IPv6 address.
    addresses = ("198.51.100.7", "127.0.0.1", "198.51.100.8, 203.0.113.9", "2001:db8::7")

    async def script(user: User) -> None:
        # All in one go: between two steps others may send, and the window may end.
        for _ in range(policy.limit + 3):
            await user.request(policy.probe)
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
