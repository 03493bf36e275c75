"""How often each operation is sent, and with which ids in its path, so that wrong labels can't hide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proofload.cases.declared_limits import allowance
from proofload.cases.reads import is_repeatable
from proofload.cases.requirement import Missing, Requirement
from proofload.drive.user import User
from proofload.judge.reconcile.labels import canonical
from proofload.plan.operation import Operation
from proofload.plan.target import Target
from proofload.plan.workload import Script

_NAME = "${user.name}"
_LEAST_PRIMES = 42
"""Up to 181, which is about thirty for each of six clients."""
_UNLIMITED = 1 << 20
LEAST_COUNTED = 100
"""How many answers must surely lie between two readings before their counts say anything."""
_AFRESH = 3
"""One request of so many goes over a new connection: kept ones may all be those of one worker."""


def _countable(target: Target) -> list[str] | Missing:
    return countable(target) or Missing("the target declares no operation that can be repeated without effect")


def countable(target: Target) -> list[str]:
    """Return the reads that can be counted: those without fields, and those that only name their user in the path."""
    return sorted(
        name
        for name, one in target.operations.items()
        if is_repeatable(one.model_copy(update={"path": one.path.replace(_NAME, "x")}))
    )


COUNTABLE = Requirement("read without effect", "operations", _countable)


def totals_of(
    target: Target, names: Sequence[str], clients: int, also: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return how often each operation is sent by all clients: primes, all different, beside what is sent `also`.

    As many as leave each client half of its allowance, whatever limit covers an operation; at the least one each.
    """
    also = also or {}
    covering = (
        one for one in target.policies.rate_limit if any(one.covers(target.operations[name].path) for name in names)
    )
    each = min((allowance(one) // 2 for one in covering), default=_UNLIMITED)
    primes = _primes(max(_LEAST_PRIMES, len(names) + 1))
    for start in range(len(primes) - len(names), 0, -1):
        chosen = dict(zip(names, primes[start : start + len(names)], strict=True))
        apart = {count + also.get(name, 0) for name, count in chosen.items()}
        if len(apart) == len(names) and sum(-(-count // clients) for count in chosen.values()) <= each:
            return chosen
    return dict(zip(names, primes[: len(names)], strict=True))


def beyond(size: int, planned: int) -> int:
    """Return how many requests to send beyond an allowance: so many that, with those planned, there are enough.

    Rejections are counted like any answer, and they cost a client nothing that it has not spent.

    >>> beyond(100, 272), beyond(5, 11)
    (20, 84)
    """
    return max(20, size // 5, LEAST_COUNTED - planned - size)


def _primes(count: int) -> list[int]:
    """Return the first `count` primes.

    >>> _primes(5)
    [2, 3, 5, 7, 11]
    """
    found: list[int] = []
    number = 1
    while len(found) < count:
        number += 1
        if all(number % one for one in found):
            found.append(number)
    return found


def share(total: int, clients: int, index: int) -> int:
    """Return how many of `total` requests one of several clients sends.

    >>> [share(29, 6, index) for index in range(6)]
    [5, 5, 5, 5, 5, 4]
    """
    return total // clients + (index < total % clients)


def ids_of(operation: Operation, user_names: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that can be sent in the path of an operation: its own and one more, or names of users.

    None where its route has no parameter, or where another id can't be put in without knowing more.
    """
    if _NAME in operation.path:
        return tuple(user_names)
    path = operation.path.partition("?")[0].strip("/").split("/")
    shape = canonical(operation.counted_as)
    if len(shape) != len(path) or "{}" not in shape:
        return ()
    own = path[shape.index("{}")]
    return (own, _another(own))


def sending(operation: Operation, total: int, clients: int) -> Script:
    """Return a script by which each of several clients sends its share of `total`, with either id in turn."""
    paths = list(_paths(operation))

    async def script(user: User) -> None:
        for number in range(share(total, clients, user.index)):
            if number % _AFRESH == _AFRESH - 1:
                user.reconnect()
            path = paths[(number + user.index) % len(paths)]
            if path == operation.path:
                await user.request(operation.name)
            else:
                await user.get(path, name=operation.name, headers=_headers(operation, user))

    return script


def _paths(operation: Operation) -> Iterator[str]:
    yield operation.path
    ids = ids_of(operation, ())
    if len(ids) == 2:
        other = ids[1]
        bare, mark, query = operation.path.partition("?")
        parts = bare.split("/")
        place = canonical(operation.counted_as).index("{}") + bare.startswith("/")
        yield "/".join([*parts[:place], other, *parts[place + 1 :]]) + mark + query


def _headers(operation: Operation, user: User) -> dict[str, str]:
    """Return what the operation sends beside its path, for another path than its own."""
    name = str(user.identity.get("name", ""))
    headers = {header: text.replace(_NAME, name) for header, text in operation.headers.items()}
    if operation.auth == "bearer" and user.token is not None:
        headers["Authorization"] = f"Bearer {user.token}"
    return headers


def _another(own: str) -> str:
    """Return an id of the same form.

    >>> [_another(own) for own in ("42", "ord_00", "abc", "x-")]
    ['43', 'ord_01', 'aba', 'xa']
    """
    last = own[-1]
    if last.isdigit():
        return own[:-1] + str((int(last) + 1) % 10)
    return own[:-1] + ("b" if last == "a" else "a")
