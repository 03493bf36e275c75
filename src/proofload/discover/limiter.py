"""Identifies a rate limiter from outside: model, limit, window and key, with the policy to write down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from glob import escape

from proofload.cases.accounts import Account, Accounts
from proofload.cases.addresses import Addresses
from proofload.core.clock import Anchor, SystemClock
from proofload.core.errors import TargetError
from proofload.core.seeds import fresh_seed
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.discover import candidates
from proofload.discover import probes as scenes
from proofload.discover.budget import Budget, Manners, PoliteClient
from proofload.discover.headers import Said, recognise, told_limit, watched
from proofload.discover.probes import Beside, Bounds, Spent
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint, TlsSettings
from proofload.drive.user import User
from proofload.judge.rate_limit.identify import ROUND_WINDOWS_S, Identification, describe, difference, identify
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Ceilings, PerUserIterations, Script
from proofload.record.history import History

Say = Callable[[str], None]
_Going = Callable[[PoliteClient], Awaitable[None]]
_Part = tuple[str, _Going, str | None]
_LOOK_AGAIN_S = 0.02
_MORE_LOOKS = 2
_ROUND_NS = frozenset(round_s * NS_PER_SECOND for round_s in ROUND_WINDOWS_S)

_OTHER_PATHS = ("/health", "/metrics", "/proofload-no-such-path")
_MODELS = ("fixed_window", "token_bucket", "sliding_window_counter", "sliding_log")
"""Of several that fit, the first of these is offered."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found out about the limiter, if there is one."""

    policy: RateLimitPolicy | None
    """What to declare; None where nothing was rejected or no model fits."""
    fits: tuple[str, ...]
    """Every model that fits, the offered one first."""
    notes: tuple[str, ...]
    """What a person should know: what could not be told, and what looks wrong."""
    sent: int
    took_ns: int
    why_not: str = ""
    sure: bool = False
    """Exactly one model fits."""


@dataclass(slots=True)
class _Work:
    """One discovery under way."""

    target: Target
    probe: str
    engine: Engine
    sources: Addresses
    budget: Budget
    account: Account | None
    other_account: Account | None
    say: Say
    anchor: Anchor
    spent: Spent = field(default_factory=Spent)
    more: list[list[int]] = field(default_factory=list)
    """Rows of further clients: what fits the first has to fit them, too."""
    bounds: Bounds = field(default_factory=Bounds)

    async def as_clients(self, *scripts: _Part, account: Account | None = None) -> None:
        """Let clients, each with its own address, go through their scripts side by side."""

        def script(run: _Going) -> Script:
            async def go(user: User) -> None:
                await run(PoliteClient(user, self.probe, self.budget))

            return go

        account = account or self.account
        identities = (account.identity(),) if account else ()
        longest = self.budget.manners.longest_ns
        await self.engine.run(
            *(
                PerUserIterations(
                    name=name,
                    run=script(run),
                    users=1,
                    iterations=1,
                    within_ns=longest,
                    sources=(source,) if source else (),
                    identities=identities,
                )
                for name, run, source in scripts
            )
        )
        problems = [error.text for error in self.engine.delivery().user_errors]
        if problems:
            raise TargetError("; ".join(problems))


async def discover(
    target: Target, probe: str, vet: Callable[[str], None], *, manners: Manners | None = None, say: Say = lambda _: None
) -> Discovery:
    """Return what the limiter in front of operation `probe` promises. Raises TargetError where nothing answers."""
    manners = manners or Manners()
    clock, seed = SystemClock(), fresh_seed()
    began_ns = clock.now_ns()
    ceilings = target.ceilings
    endpoint = Endpoint.of(target.address)
    engine = Engine(
        endpoint,
        target.operations,
        ceilings=Ceilings(ceilings.requests_per_second, ceilings.total_requests, ceilings.duration),
        clock=clock,
        seed=seed,
        keep_headers=watched(),
        vet=vet,
        tls=TlsSettings.of(target.tls),
    )
    sources = Addresses(seed, endpoint.host, target.sources)
    account = other = None
    if target.operations[probe].auth == "bearer":
        account, other = await Accounts(target, engine, sources).take(2)
    budget = Budget(manners, began_ns + manners.longest_ns)
    work = _Work(target, probe, engine, sources, budget, account, other, say, Anchor.take(clock))
    await _probe(work)
    found = _conclude(work)
    for _ in range(_MORE_LOOKS):
        if found.sure or found.policy is None or not sources.many or budget.spent:
            break
        # What fits the first client by its slow answers need not fit another.
        say(f"{len(found.fits)} models fit: letting another client look")
        again = Spent()
        await work.as_clients(("once more", _spender(work, again), sources.fresh()))
        work.more.append(again.rows)
        found = _conclude(work)
    return replace(found, sent=budget.sent, took_ns=clock.now_ns() - began_ns)


async def _probe(work: _Work) -> None:
    seen = work.spent
    work.say("spending one client's allowance, and knocking until it comes back")

    async def halves(client: PoliteClient) -> None:
        # Scripts of users can't wait for each other but by looking again and again.
        while not seen.known:
            await client.user.pause(_LOOK_AGAIN_S)
        if seen.back_after_ns and scenes.came_back_at_once(seen):
            work.more.append(client.rows)
            await scenes.spend_in_halves(client, seen.first, seen.back_after_ns)

    scripts = [("spender", _spender(work, seen), work.sources.fresh())]
    if work.sources.many:
        scripts.append(("halves", halves, work.sources.fresh()))
    await work.as_clients(*scripts)
    if work.budget.rejected:
        work.say("seeing what the limit covers, and whose it is")
        around = work.sources.fresh()
        await work.as_clients(("around", lambda client: scenes.try_round(client, _OTHER_PATHS, work.bounds), around))
        await _whose(work)


def _spender(work: _Work, seen: Spent) -> _Going:
    async def spend(client: PoliteClient) -> None:
        try:
            await scenes.spend(client, seen, work.budget.manners.longest_ns)
        finally:
            seen.known = True
        if not seen.back_after_ns:
            return
        back = format_duration(seen.back_after_ns)
        if scenes.came_back_at_once(seen):
            work.say(f"the whole allowance of {seen.first} came back after {back}: looking once more")
            await scenes.second_cycle(client, 2 * seen.back_after_ns + 2 * NS_PER_SECOND)
        else:
            work.say(f"served again after {back}, but not with the whole allowance: watching what trickles in")
            await scenes.watch_trickle(client, seen)

    return spend


async def _whose(work: _Work) -> None:
    """Let one client spend its allowance, and see who is served meanwhile: another address, another user."""
    user = address = None
    if work.other_account is not None:
        user = await _is_served_beside(work, work.other_account)
    if work.sources.many:
        address = await _is_served_beside(work, None)
    if user and not address:
        work.bounds.scope = "user"
    elif address is not None:
        work.bounds.scope = "client_ip" if address else "global"


async def _is_served_beside(work: _Work, account: Account | None) -> bool | None:
    """Return whether another client (a user at the same address, or another address) is served beside one that is not.

    None where it can't be told: where both were served, a window ended or tokens flowed in meanwhile.
    """
    for _ in range(_MORE_LOOKS + 1):
        spender = work.sources.fresh()
        beside = Beside()
        await work.as_clients(("spends", beside.spend, spender))
        await work.as_clients(
            ("another", beside.ask, spender if account is not None else work.sources.fresh()), account=account
        )
        await work.as_clients(("again", beside.ask_again, spender))
        if beside.is_served is not None:
            return beside.is_served
    return None


def _conclude(work: _Work) -> Discovery:
    seen, budget = work.spent, work.budget
    if not budget.rejected:
        queue = scenes.queueing(work.engine.history(), seen.rows)
        why = queue or (
            f"nothing was rejected: {budget.sent} requests in a row from one client were answered {budget.usual}; "
            "there is no limit on this path, or a higher one: allow more with --most and --rate"
        )
        return Discovery(None, (), (), 0, 0, why)
    history = work.engine.history()
    said = _said(history, [*seen.rows, *(row for rows in work.more for row in rows)])
    headers = recognise(said, budget.rejected)
    limit = told_limit(said, headers) or max(1, seen.first)
    covers = applies_to(_bare_path(work), is_wide="/proofload-no-such-path" not in work.bounds.unlimited)
    base = RateLimitPolicy(
        name=work.target.name, limit=limit, window="60s",  # type: ignore[arg-type]  # as a file says it
        probe=work.probe, status=budget.rejected,
        headers=headers, scope=work.bounds.scope or "client_ip", exempt=_exempt(work, covers), applies_to=covers,
    )  # fmt: skip
    if not seen.back_after_ns:
        waited = format_duration(budget.manners.longest_ns)
        why = (
            f"{seen.first} were admitted, and nothing was within {waited} after that: the window is longer, or "
            "rejected requests prolong it; allow more time with --for"
        )
        return Discovery(None, (), tuple(_notes(work)), 0, 0, why)
    found = _identify(work, base, history)
    if not found.fits:
        near = [pair for pair in found.refuted if pair[0].limit == seen.first] or found.refuted
        told = "; ".join(f"not {describe(one)}: {why}" for one, why in near[:2])
        why = f"no known model fits what was seen ({told}); do rejected requests count against the limit as well?"
        return Discovery(None, (), tuple(_notes(work)), 0, 0, why)
    fits = _as_configured(found.fits)
    notes = [*_notes(work), *([difference(*fits[:2])] if len(fits) > 1 else ())]
    return Discovery(fits[0], tuple(describe(one) for one in fits), tuple(notes), 0, 0, sure=_one_model(fits))


def _identify(work: _Work, base: RateLimitPolicy, history: History) -> Identification:
    seen = work.spent
    # What was neither served nor rejected, such as a 401 from behind the limiter, was let through.
    behind = frozenset({work.budget.usual})
    drawn = [*candidates.windows(base, seen)]
    if not scenes.came_back_at_once(seen):
        drawn += candidates.buckets(base, history, seen.rows, seen)
    found = identify(history, seen.rows, work.anchor, base=base, candidates=drawn, admitted_statuses=behind)
    for rows in work.more:
        if not found.fits:
            break
        more = identify(history, rows, work.anchor, base=base, candidates=found.fits, admitted_statuses=behind)
        if more.fits:
            found = more
    return found


def _as_configured(fits: Sequence[RateLimitPolicy]) -> list[RateLimitPolicy]:
    """Return what fits, the plainest first, without the 4.9s and 5.1s that fit beside a round 5s."""
    best: dict[str, int] = {}
    for one in fits:
        best[one.algorithm] = min(_oddness(one), best.get(one.algorithm, _oddness(one)))
    return sorted((one for one in fits if _oddness(one) == best[one.algorithm]), key=_plainness)


def _oddness(policy: RateLimitPolicy) -> int:
    return 0 if policy.window in _ROUND_NS else 1 if policy.window % NS_PER_SECOND == 0 else 2


def _plainness(policy: RateLimitPolicy) -> tuple[int, bool, bool, int, int]:
    return (
        _MODELS.index(policy.algorithm), policy.alignment == "clock", not candidates.is_round(policy.limit),
        policy.window % NS_PER_SECOND != 0, policy.window,
    )  # fmt: skip


def _one_model(fits: Sequence[RateLimitPolicy]) -> bool:
    return len({one.algorithm for one in fits}) == 1


def _said(history: History, rows: Sequence[int]) -> list[Said]:
    return [Said(one.status, one.headers) for one in history.exchanges(rows) if one.status]


def _exempt(work: _Work, applies_to: tuple[str, ...]) -> tuple[str, ...]:
    """Return what was answered though the client was limited, without the probe itself: that one is limited."""
    probe = _bare_path(work)
    served = (path for path in work.bounds.unlimited if path in work.bounds.served)
    return tuple(path for path in served if path != probe and path not in applies_to)


def applies_to(path: str, *, is_wide: bool) -> tuple[str, ...]:
    """Return the globs of what a limit covers that was met at a path, which is always covered itself.

    >>> applies_to("/api/v1/x", is_wide=False), applies_to("/api", is_wide=False), applies_to("/", is_wide=False)
    (('/api/*',), ('/api', '/api/*'), ('/*',))
    """
    first, _, rest = path.removeprefix("/").partition("/")
    # A glob's own signs in a path would cover other paths than this one, or not even this one.
    if is_wide or not first or first != escape(first):
        return ("/*",)
    return (f"/{first}/*",) if rest else (f"/{first}", f"/{first}/*") if path == f"/{first}" else (f"/{first}/*",)


def _bare_path(work: _Work) -> str:
    return work.target.operations[work.probe].path.split("?")[0]


def _notes(work: _Work) -> Iterable[str]:
    bounds = work.bounds
    if not bounds.scope:
        yield "whose limit it is could not be told: this machine has one address to send from (see `sources`)"
    if bounds.scope == "global":
        yield "a second client address was limited as well: one counter for all clients"
    if bounds.forged_header_opens:
        yield "a forged X-Forwarded-For opened a new allowance: whoever writes that header has no limit"
    if bounds.new_connection_opens:
        yield "a new connection opened a new allowance: the limit counts connections, not clients"
    if work.budget.usual >= 400:
        yield f"the probe itself is answered {work.budget.usual}: name one that succeeds, so that cases can use it"
