"""A first visit: which pages there are, whether the log-in works, which operation a test may send many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from proofload.cases.accounts import Account, Accounts
from proofload.cases.addresses import Addresses
from proofload.core.clock import SystemClock
from proofload.core.errors import PlanError, ProofloadError, TargetError
from proofload.core.seeds import fresh_seed
from proofload.core.units import NS_PER_SECOND
from proofload.discover.budget import Manners
from proofload.discover.openapi import Api, Offer, read_openapi
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint, TlsSettings
from proofload.drive.user import Answer, User
from proofload.judge.reconcile.labels import PARTS, canonical, is_raw, read_status
from proofload.observe.metrics import parse_metrics
from proofload.plan.operation import Operation
from proofload.plan.target import Target, Users
from proofload.plan.workload import Ceilings
from proofload.plan.workload import Sequence as Steps
from proofload.record.ledger import Sample

_DOCUMENTS = ("/openapi.json", "/api/openapi.json", "/v3/api-docs", "/swagger.json")
_METRICS = ("/metrics", "/actuator/prometheus")
_HEALTH = ("/health", "/healthz", "/actuator/health", "/-/healthy")
_MOST_OFFERS = 20
_COUNTED = 5
"""How many requests are sent to see which counter counts them."""


@dataclass(frozen=True, slots=True)
class RequestCounter:
    """The counter that counted our requests, and what its labels are called."""

    page: str
    name: str
    labels: Mapping[str, str]
    only: Mapping[str, str]


@dataclass(slots=True)
class Found:
    """What the first visit found."""

    target: Target
    probe: str = ""
    health: str = ""
    metrics: str = ""
    counter: RequestCounter | None = None
    left_out: list[str] = field(default_factory=list)
    """Operations of the documents that are not in the draft, each with the reason."""
    notes: list[str] = field(default_factory=list)


class Visitor:
    """Asks one target single questions, politely."""

    def __init__(self, target: Target, vet: Callable[[str], None], manners: Manners) -> None:
        self.target = target
        self._pause_ns = NS_PER_SECOND // manners.per_second
        seed = fresh_seed()
        endpoint = Endpoint.of(target.address)
        ceilings = target.ceilings
        limits = Ceilings(ceilings.requests_per_second, ceilings.total_requests, ceilings.duration)
        tls = TlsSettings.of(target.tls)
        self.engine = Engine(
            endpoint, target.operations, ceilings=limits, clock=SystemClock(), seed=seed, vet=vet, tls=tls
        )
        self.sources = Addresses(seed, endpoint.host, target.sources)
        self._visits = 0

    async def get(self, *paths: str, account: Account | None = None) -> list[Answer]:
        """Return the answers to a GET of each path, by one client that nobody knows yet."""
        answers: list[Answer] = []
        headers = {"Authorization": f"Bearer {account.token}"} if account and account.token else {}

        async def visit(user: User) -> None:
            for path in paths:
                await user.pause_until_ns(user.wire.now_ns() + self._pause_ns)
                answers.append(await user.get(path, headers=headers))

        self._visits += 1
        source = self.sources.fresh()
        steps = Steps(name=f"visit/{self._visits}", run=visit, n=1, sources=(source,) if source else ())
        await self.engine.run(steps)
        problems = [error.text for error in self.engine.delivery().user_errors]
        if problems:
            raise TargetError("; ".join(problems))
        if answers and not any(one.status for one in answers):
            why = answers[0].fault.name.lower().replace("_", " ")
            raise TargetError(f"{self.target.address}: got no answer ({why}), expected an HTTP server; is it up?")
        return answers

    async def log_in(self) -> Account:
        """Return a test user, made and logged in as the target declares. Raises TargetError where that fails."""
        (account,) = await Accounts(self.target, self.engine, self.sources).take(1)
        return account


async def survey(target: Target, api: Api, path: str, vet: Callable[[str], None], manners: Manners) -> Found:
    """Return what a first visit finds. `path` is the probe, where a person named one; raises TargetError."""
    visitor = Visitor(target, vet, manners)
    if not api.offers:
        api = await _documents(visitor)
    found = Found(target)
    account = None
    if api.login is not None:
        found.target, account = await _log_in(found, api, vet, manners)
    await _readable(found, visitor, api, path or ("" if api.offers else "/"), account)
    for name, places in (("health", _HEALTH), ("metrics", _METRICS)):
        for place, answer in zip(places, await visitor.get(*places), strict=True):
            is_page = answer.ok and (name == "health" or "# TYPE" in answer.text)
            if is_page and not getattr(found, name):
                setattr(found, name, place)
    if found.metrics and found.probe:
        found.counter = await _counter(visitor, found, account)
    return found


async def _documents(visitor: Visitor) -> Api:
    for place, answer in zip(_DOCUMENTS, await visitor.get(*_DOCUMENTS), strict=True):
        if answer.ok:
            try:
                return read_openapi(answer.text, place)
            except PlanError:
                continue
    return Api()


async def _log_in(
    found: Found, api: Api, vet: Callable[[str], None], manners: Manners
) -> tuple[Target, Account | None]:
    """Return the target with users, and one that could log in; the target as it was, where none could."""
    assert api.login is not None
    operations = {"login": _operation(api.login)}
    if api.register is not None:
        operations["register"] = _operation(api.register, effect="lasting")
    users = Users(login="login", token=api.token, register="register" if api.register else None)
    with_users = found.target.model_copy(
        update={"users": users, "operations": {**_named(operations), **found.target.operations}}
    )
    try:
        account = await Visitor(with_users, vet, manners).log_in()
    except ProofloadError as error:
        found.notes.append(f"the log-in that the document describes did not work: {error}")
        return found.target, None
    return with_users, account


async def _readable(found: Found, visitor: Visitor, api: Api, path: str, account: Account | None) -> None:
    """Try what can be read, without and with a token; what succeeds joins the draft, the first of it is the probe."""
    offers = list(api.readable[:_MOST_OFFERS])
    if path and path not in {one.path for one in offers}:
        offers.insert(0, Offer("read", "GET", path))
    bare = await visitor.get(*(one.path for one in offers)) if offers else []
    signed = await visitor.get(*(one.path for one in offers), account=account) if offers and account else bare
    operations: dict[str, Operation] = {}
    for offer, without, with_token in zip(offers, bare, signed, strict=True):
        if without.ok or with_token.ok:
            auth = "none" if without.ok else "bearer"
            operations[offer.name] = Operation.model_validate({"name": offer.name, "path": offer.path, "auth": auth})
        else:
            found.left_out.append(f"GET {offer.path}: answered {with_token.status}")
    for offer in api.offers:
        if offer.method != "GET" and offer not in (api.login, api.register):
            found.left_out.append(f"{offer.method} {offer.path}: changes something; add it with `effect: lasting`")
        elif offer.method == "GET" and offer.needs:
            found.left_out.append(f"GET {offer.path}: needs {', '.join(offer.needs)}")
    taken = found.target.operations if found.target.users else {}
    found.target = found.target.model_copy(update={"operations": {**_first(taken), **operations}})
    named = next((name for name, one in operations.items() if one.path == path), "")
    pages = (*_HEALTH, *_METRICS)
    found.probe = named or next((name for name, one in operations.items() if one.path not in pages), "")
    if path and not named:
        found.notes.append(f"{path} did not succeed, so {found.probe or 'nothing'} is the probe in its place")


def _first(operations: Mapping[str, Operation]) -> dict[str, Operation]:
    return {name: one for name, one in operations.items() if name in ("login", "register")}


def _named(operations: Mapping[str, Operation]) -> dict[str, Operation]:
    return {name: one.model_copy(update={"name": name}) for name, one in operations.items()}


def _operation(offer: Offer, effect: str = "none") -> Operation:
    content = {"method": offer.method, "path": offer.path, "json": dict(offer.body or {}), "effect": effect}
    return Operation.model_validate(content)


async def _counter(visitor: Visitor, found: Found, account: Account | None) -> RequestCounter | None:
    """Return the counter that went up by just as many as were sent, with its labels told by their values."""
    probe = found.target.operations[found.probe]
    before = await _page(visitor, found.metrics)
    await visitor.get(*[probe.path] * _COUNTED, account=account if probe.auth == "bearer" else None)
    after = await _page(visitor, found.metrics)
    return counter_of(before, after, probe.path, found.metrics)


def counter_of(
    before: Sequence[Sample], after: Sequence[Sample], path: str, page: str, sent: int = _COUNTED
) -> RequestCounter | None:
    """Return the counter that rose by just as many as were sent to `path`, all served, or None.

    Its labels are told by their values. A label that it does not have is not named: counts are summed over it then. Of
    several counters, that with the most labels is taken.
    """
    told = {_key(one): one.value for one in before}
    rose = [one for one in after if one.value - told.get(_key(one), 0.0) == sent]
    found: list[RequestCounter] = []
    for one in sorted(rose, key=lambda sample: not sample.name.endswith("_total")):
        labels = _labels_of(one.labels, path)
        if one.name.endswith(("_total", "_count")) and labels.keys() & {"route", "status"}:
            # What tells of the request is no mark of its series, and any label may do so where none is the route.
            rest = {name: value for name, value in one.labels.items() if not any(_parts_of(value, path))}
            only = rest if "route" in labels else {}
            found.append(RequestCounter(page, one.name, labels, only))
    return max(found, key=lambda one: len(one.labels), default=None)


def _labels_of(labels: Mapping[str, str], path: str) -> dict[str, str]:
    """Return our words for labels to their names, by the values that one served GET of `path` has."""
    found: dict[str, str] = {}
    for name, value in sorted(labels.items(), key=lambda item: len(item[1]), reverse=True):
        for part, fits in zip(PARTS, _parts_of(value, path), strict=True):
            if fits:
                found.setdefault(part, name)
    return {part: found[part] for part in PARTS if part in found}


def _parts_of(value: str, path: str) -> tuple[bool, bool, bool]:
    """Return whether a label's value is the route, the method, the status of a served GET of `path`."""
    bare = path.partition("?")[0]
    is_route = value.startswith("/") and (canonical(value) == canonical(bare) or is_raw(bare, value))
    return is_route, value.upper() == "GET", read_status(value) in ("200", "2xx")


async def _page(visitor: Visitor, path: str) -> Sequence[Sample]:
    (answer,) = await visitor.get(path)
    try:
        return parse_metrics(answer.text)
    except ValueError:
        return ()


def _key(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))
