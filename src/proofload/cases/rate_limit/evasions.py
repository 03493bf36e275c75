"""What a limited client might try to get round its limit: the very same request, varied in one way each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proofload.cases.context import CaseContext
from proofload.cases.rate_limit.clients import Client, can_be_told_apart, clients_of, send
from proofload.core.errors import PlanError
from proofload.drive.user import Answer, User
from proofload.plan.operation import Operation, Rendered, render
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script, Sequence

FORGED, QUERY, CONNECTION, EXEMPT, VARIED = "forged header", "query", "new connection", "exempt", "varied"
"""The steps; those of another operation are called `other path` and `other method`."""
ALIKE = "varied_alike"
"""The fact that names the variations which this target answers like the plain request."""
_PLAIN, _HEAD, _CHUNKS, _NO_SUCH = "plain", "HEAD in place of GET", "body in chunks", "no such path"
_UNFILLED = Rendered("GET", "/a", (), b"")
_FORGED_ADDRESSES = 5
_EACH = 3
_MOST_SERVED = 300


@dataclass(frozen=True, slots=True)
class Variation:
    """One way to write the same request otherwise."""

    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


def variations(probe: Operation, plain: Rendered) -> Iterator[Variation]:
    """Yield other spellings of the request's path, its HEAD, and its body in chunks."""
    headers = dict(plain.headers)
    path, mark, query = plain.target.partition("?")
    for name, spelled in spellings(path).items():
        yield Variation(name, plain.method, f"{spelled}{mark}{query}", headers, plain.body)
    if plain.method == "GET":
        yield Variation(_HEAD, "HEAD", plain.target, headers, None)
    if probe.json_body is not None or probe.body is not None or plain.method == "GET":
        chunks = b"%x\r\n%b\r\n" % (len(plain.body), plain.body) if plain.body else b""
        chunked = {**headers, "Transfer-Encoding": "chunked"}
        yield Variation(_CHUNKS, plain.method, plain.target, chunked, chunks + b"0\r\n\r\n")


def spellings(path: str) -> dict[str, str]:
    """Return other ways to write a path that many servers take for the same one.

    >>> spellings("/api/x")["percent-encoded letter"], spellings("/api/x")["upper case"]
    ('/api/%78', '/API/X')
    """
    head, _, last = path.rpartition("/")
    found = {
        "upper case": path.upper(),
        "doubled slash": f"/{path}",
        "slash at the end": f"{path}/",
        "path parameter": f"{path};proofload",
        "dot segment": f"/.{path}",
        "parent segment": f"/proofload/..{path}",
    }
    if last[:1].isalnum():
        found["percent-encoded letter"] = f"{head}/%{ord(last[0]):02x}{last[1:]}"
    return {name: spelled for name, spelled in found.items() if spelled != path}


def plain_request(probe: Operation, client: Client) -> Rendered | None:
    """Return the probe as this client sends it, with its headers and token; None where it can't be told beforehand."""
    fields: dict[str, object] = {f"user.{key}": value for key, value in client.account.identity().items()}
    if client.source is not None:
        fields["user.source"] = client.source
    try:
        return render(probe, fields, token=client.account.token)
    except PlanError:
        return None


async def _ask(user: User, one: Variation, name: str) -> Answer:
    options: dict[str, Any] = {"headers": one.headers, "name": name, "keep_body": True}
    if one.body is not None:
        options["data"] = one.body
    call = getattr(user, one.method.lower())
    answer: Answer = await call(one.path, **options)
    return answer


def answers_alike(plain: Answer, varied: Answer, *, head: bool = False) -> bool:
    """Return whether a varied request got what the plain one got: else it is another request, and evades nothing."""
    if not 200 <= varied.status < _MOST_SERVED or varied.status != plain.status:
        return False
    if varied.headers.get("content-type") != plain.headers.get("content-type"):
        return False
    return head or _shape(varied) == _shape(plain)


def _shape(answer: Answer) -> object:
    """Return what stays the same between two answers of one operation: the keys of an object, else the text."""
    try:
        value = answer.json()
    except ValueError:
        return answer.body
    return sorted(value) if isinstance(value, dict) else type(value).__name__


async def find_alike(run: CaseContext, policy: RateLimitPolicy) -> list[str]:
    """Return the variations that clients below the limit are served like the plain request.

    What is answered 404, 405, a redirect or another page is another request to this target, and would prove nothing;
    so would a path of a target that answers every path alike.
    """
    probe = run.target.operations[policy.probe]
    if not can_be_told_apart(run.target, policy):
        return []
    count = 1 + len(list(variations(probe, _UNFILLED))) + len(_no_such_paths("/"))
    each = max(1, policy.allowance // 2)
    clients = await clients_of(run, policy, [str(number) for number in range(-(-count // each))])
    answers: dict[str, Answer] = {}

    def asking(number: int, client: Client) -> Script:
        async def ask(user: User) -> None:
            plain = plain_request(probe, client)
            tried = list(_to_compare(probe, plain)) if plain is not None else []
            for one in tried[number * each : (number + 1) * each]:
                answers[one.name] = await _ask(user, one, policy.probe)

        return ask

    run.doing("finding out which ways to write a request this target takes for the same")
    await send(
        run,
        *(
            run.steps(f"served {name}", asking(int(name), client), account=client.account, source=client.source)
            for name, client in clients.items()
        ),
    )
    return alike_of(answers)


def _to_compare(probe: Operation, plain: Rendered) -> Iterator[Variation]:
    headers = dict(plain.headers)
    yield Variation(_PLAIN, plain.method, plain.target, headers, plain.body)
    for name, path in _no_such_paths(plain.target.partition("?")[0]).items():
        yield Variation(name, plain.method, path, headers, plain.body)
    yield from variations(probe, plain)


def _no_such_paths(path: str) -> dict[str, str]:
    head = path.rpartition("/")[0]
    return {f"{_NO_SUCH} beside it": f"{head}/proofload-none", f"{_NO_SUCH} anywhere": "/proofload-none/none"}


def alike_of(answers: Mapping[str, Answer]) -> list[str]:
    """Return the variations that were answered like the plain request, by the answers to each."""
    plain = answers.get(_PLAIN)
    if plain is None:
        return []
    alike = [
        name for name, answer in answers.items() if name != _PLAIN and answers_alike(plain, answer, head=name == _HEAD)
    ]
    if any(name.startswith(_NO_SUCH) for name in alike):
        return [name for name in alike if name in (_HEAD, _CHUNKS)]
    return alike


def evasions(run: CaseContext, policy: RateLimitPolicy, client: Client, alike: list[str]) -> list[Sequence]:
    """Return what a limited client might try: each must be rejected like any other request of its own."""
    probe = run.target.operations[policy.probe]
    plain = plain_request(probe, client)
    account, source = client.account, client.source

    async def forged(user: User) -> None:
        for i in range(_FORGED_ADDRESSES):
            address = f"198.51.100.{i + 1}"
            told = {"X-Forwarded-For": address, "X-Real-IP": address, "Forwarded": f"for={address}"}
            await user.request(policy.probe, headers=told)

    async def exempt(user: User) -> None:
        for path in policy.exempt:
            if "*" not in path:
                await user.get(path)
                await user.get(path)

    found = [run.steps(FORGED, forged, account=account, source=source)]
    if plain is not None:
        if plain.method == "GET":
            found.append(run.steps(QUERY, _querying(plain, policy.probe), account=account, source=source))
        if alike:
            tried = [one for one in variations(probe, plain) if one.name in alike]
            found.append(run.steps(VARIED, _varying(tried, policy.probe), account=account, source=source))
    found.append(run.steps(CONNECTION, policy.probe, _EACH, account=account, source=source, fresh_connections=True))
    for what, name in other_operations(run.target, policy).items():
        found.append(run.steps(f"other {what}", name, _EACH, account=account, source=source))
    if policy.exempt:
        found.append(run.steps(EXEMPT, exempt, source=source))
    return found


def _querying(plain: Rendered, name: str) -> Script:
    async def query(user: User) -> None:
        mark = "&" if "?" in plain.target else "?"
        for i in range(_EACH):
            path = f"{plain.target}{mark}proofload={i}"
            await _ask(user, Variation(QUERY, plain.method, path, dict(plain.headers), plain.body), name)

    return query


def _varying(tried: list[Variation], name: str) -> Script:
    async def vary(user: User) -> None:
        for one in tried:
            user.tag = one.name
            for _ in range(_EACH):
                await _ask(user, one, name)

    return vary


def other_operations(target: Target, policy: RateLimitPolicy) -> dict[str, str]:
    """Return an operation under the same limit by another path, and one by another method, where there are such.

    Neither has a lasting effect, so trying to get round the limit by it does no harm where that works.
    """
    probe = target.operations[policy.probe]
    found: dict[str, str] = {}
    for name, one in sorted(target.operations.items()):
        if one.effect == "none" and policy.covers(one.path) and one.path != probe.path:
            found.setdefault("path" if one.method == probe.method else "method", name)
    return found
