"""Judges whom entries name: the user that sent the request, by whatever name the target knows it, and the address."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from proofload.judge.audit.expected import ExpectedEvent
from proofload.judge.audit.fields import parse_address, text_of
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

_NAMED = 5
_FIELD = "${user.name}"
_LIKE = 8


@dataclass(frozen=True, slots=True)
class _Naming:
    """An entry that names somebody, and who sent its request."""

    one: ExpectedEvent
    entry: AuditEntry
    meant: str
    given: str

    def __str__(self) -> str:
        return (
            f"row {self.one.row}: sent by {self.meant}, told of {self.given} at {self.entry.source}:{self.entry.line}"
        )


def is_named(policy: AuditPolicy, name: str, given: str) -> bool:
    r"""Return whether `given` is how an entry names our user `name`.

    >>> [is_named(AuditPolicy(), "anna", given) for given in ("anna", "Anna", "anna@x.org", "X\\anna", "annabel")]
    [True, True, True, True, False]
    >>> is_named(AuditPolicy(user_format="${user.name}@x.org"), "anna", "anna")
    False
    """
    if policy.user_format is not None:
        return given == policy.user_format.replace(_FIELD, name)
    if given.casefold() == name.casefold():
        return True
    forms = {given.partition("@")[0], given.rpartition("\\")[2], given.rpartition(":")[2], given.rpartition("/")[2]}
    return (
        name.casefold() in {form.casefold() for form in forms} or given.casefold() == name.partition("@")[0].casefold()
    )


def judge_user(policy: AuditPolicy, pairs: Sequence[tuple[ExpectedEvent, list[AuditEntry]]]) -> Finding:
    """Return `audit.wrong_user`: the entry on a request names another user than the one who sent it.

    Where no entry of a kind of event bears a name of ours, users go by ids of the target. That one id goes to two of
    our users is wrong then; one id for each, always the same, is not.
    """
    rule = "audit.wrong_user"
    kinds: dict[str, list[_Naming]] = defaultdict(list)
    for one, found in pairs:
        for entry in found:
            given = text_of(policy, entry, "user")
            if one.user and given:
                kinds[one.event].append(_Naming(one, entry, one.user, given))
    examined = sum(map(len, kinds.values()))
    wrong: list[_Naming] = []
    unsure: list[_Naming] = []
    for namings in kinds.values():
        other = [naming for naming in namings if not is_named(policy, naming.meant, naming.given)]
        if len(other) < len(namings) or policy.user_format is not None:
            wrong += other
        else:
            mixed, unclear = _by_id(other)
            wrong += mixed
            unsure += unclear
    if wrong:
        return _wrong(rule, "user", wrong, examined, "context kept in a global or reused between requests")
    if unsure:
        says = f"users are not named as ours are ({unsure[0].given!r} for {unsure[0].meant!r}), nor by one id for each"
        shown = tuple(str(one) for one in unsure[:_NAMED])
        says += ": declare policies.audit.user_format"
        return Finding(rule, Outcome.INCONCLUSIVE, says, examined, shown=shown, look_at="policies.audit.user_format")
    if not any(one.user for one, _ in pairs):
        return Finding(rule, Outcome.SKIPPED, "no user was expected in any entry")
    return held(rule, "every entry names the right user", examined=examined)


def _by_id(namings: Sequence[_Naming]) -> tuple[list[_Naming], list[_Naming]]:
    """Return the entries that give one id to two users, and those that can't be told: many ids for one, or one user."""
    meant_by: dict[str, Counter[str]] = defaultdict(Counter)
    given_to: dict[str, set[str]] = defaultdict(set)
    for one in namings:
        meant_by[one.given][one.meant] += 1
        given_to[one.meant].add(one.given)
    shared = [one for one in namings if len(meant_by[one.given]) > 1]
    # Where a user has an id of its own, the entries that bear it are right, and the stray ones are wrong.
    owner = {given: users.most_common(1)[0][0] for given, users in meant_by.items()}
    tied = {given for given, users in meant_by.items() if len(set(users.values())) == 1}
    mixed = [one for one in shared if one.given in tied or owner[one.given] != one.meant]
    if len(given_to) < 2:
        # No id of the target begins like our users' own names: that is another user.
        mixed = [one for one in namings if one.given[:_LIKE] == one.meant[:_LIKE] and len(one.given) > _LIKE]
    unclear = len(given_to) < 2 or any(len(ids) > 1 for ids in given_to.values())
    return mixed, list(namings) if unclear and not mixed else []


def judge_address(policy: AuditPolicy, pairs: Sequence[tuple[ExpectedEvent, list[AuditEntry]]]) -> Finding:
    """Return `audit.wrong_ip`: the entry on a request names another address than the one that sent it."""
    rule = "audit.wrong_ip"
    examined, wrong, unread = 0, [], []
    for one, found in pairs:
        meant = parse_address(one.ip)
        for entry in found if meant is not None else ():
            given = text_of(policy, entry, "ip")
            if not given:
                continue
            address = parse_address(given)
            naming = _Naming(one, entry, str(one.ip), given)
            examined += address is not None
            if address is None:
                unread.append(naming)
            elif address != meant:
                wrong.append(naming)
    if wrong:
        return _wrong(rule, "ip", wrong, examined, "the proxy's address taken")
    if unread:
        says = f"{len(unread)} entries hold {unread[0].given!r} as the ip: check policies.audit.fields"
        shown = tuple(str(one) for one in unread[:_NAMED])
        return Finding(rule, Outcome.INCONCLUSIVE, says, examined, shown=shown, look_at="policies.audit.fields")
    if not any(one.ip for one, _ in pairs):
        return Finding(rule, Outcome.SKIPPED, "no ip was expected in any entry")
    return held(rule, "every entry names the right ip", examined=examined)


def _wrong(rule: str, what: str, wrong: Sequence[_Naming], examined: int, look_at: str) -> Finding:
    return Finding(
        rule,
        Outcome.FAIL,
        f"{len(wrong)} of {examined} entries name the wrong {what}",
        examined,
        rows=tuple(naming.one.row for naming in wrong[:10]),
        shown=tuple(str(naming) for naming in wrong[:_NAMED]),
        look_at=look_at,
        figures={"count": len(wrong)},
    )
