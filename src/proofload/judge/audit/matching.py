"""Matches expected events with entries: by request id, and by user, address and order where ids are not to be had."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from proofload.judge.audit.expected import AuditEvidence, ExpectedEvent
from proofload.judge.audit.fields import named, parse_address, parse_time_ns, text_of
from proofload.judge.audit.users import is_named
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry, value_at

Pair = tuple[ExpectedEvent, list[AuditEntry]]
_Slot = list[AuditEntry]

_LEAST_PREFIX = 6
UNTOLD = "no entry bears a request id of ours, so that events of one kind can't be told apart"
_MOST_PAIRS = 1_000_000


@dataclass(slots=True)
class Match:
    """Expected events with the entries that tell of them, and the entries of our requests."""

    pairs: list[Pair] = field(default_factory=list)
    by_request: dict[str, list[AuditEntry]] = field(default_factory=dict)
    entries: int = 0
    without_id: int = 0
    """Expected events that were only found by other fields, since their entries have no request id."""
    doubtful: list[Pair] = field(default_factory=list)
    """Those without an entry of their own, while one of their kind and user bears the id of no request of ours."""
    other_id: list[Pair] = field(default_factory=list)
    """Those whose entries have ids that are not ours."""
    loose: list[Pair] = field(default_factory=list)
    """Those that were not found by their own id, if at all."""
    exact: list[Pair] = field(default_factory=list)
    """Those matched by their own request id: of the others it is not certain that each has its own entry."""

    @property
    def found(self) -> bool:
        """Return whether any event was found."""
        return any(entries for _, entries in self.pairs)

    def named(self, policy: AuditPolicy, *, rightly: bool = False) -> list[Pair]:
        """Return the pairs by which it can be judged whom an entry names: by id, or where it names a user of ours.

        With `rightly`, without an id, only those that name the very user who sent the request.
        """
        users = sorted({one.user for one, _ in self.pairs if one.user})
        others = [(pair, text_of(policy, pair[1][0], "user")) for pair in self.loose if pair[1]]
        every = {given for _, given in others if given}
        ours = {given for given in every if any(is_named(policy, name, given) for name in users)}
        return [
            *self.exact,
            *(
                pair
                for pair, given in others
                if given in ours and (not rightly or is_named(policy, pair[0].user or "", given))
            ),
        ]


def match(
    policy: AuditPolicy,
    entries: Sequence[AuditEntry],
    expected: Sequence[ExpectedEvent],
    evidence: AuditEvidence | None = None,
) -> Match:
    """Return the match; an entry under another id than ours stands for one event of its kind at the most.

    Entries with ids that are not ours are only taken where not one event of that kind is found by its id.
    """
    by_key: dict[tuple[str, str], list[AuditEntry]] = defaultdict(list)
    found = Match(entries=len(entries))
    by_request: dict[str, list[AuditEntry]] = defaultdict(list)
    for entry in entries:
        if entry.fields is not None and (request := text_of(policy, entry, "request_id")):
            by_key[request, text_of(policy, entry, "event")].append(entry)
            by_request[request].append(entry)
    found.by_request = by_request
    held: dict[int, list[AuditEntry]] = {}
    for place, one in enumerate(expected):
        event = policy.events.get(one.event, one.event)
        by_id = next((by_key[name, event] for name in one.ids if (name, event) in by_key), None)
        if by_id:
            held[place] = by_id
    exact = set(held)
    aliases = {
        text_of(policy, entry, "user"): name
        for place, some in held.items()
        if (name := expected[place].user)
        for entry in some
    }
    for place, some, is_sure in _by_other_fields(policy, entries, expected, exact, aliases, evidence):
        if is_sure:
            held.setdefault(place, []).extend(some)
        else:
            found.doubtful.append((expected[place], some))
    for place, one in enumerate(expected):
        pair = (one, held.get(place, []))
        found.pairs.append(pair)
        if place in exact:
            found.exact.append(pair)
            continue
        found.loose.append(pair)
        if pair[1] and text_of(policy, pair[1][0], "request_id"):
            found.other_id.append(pair)
        elif pair[1]:
            found.without_id += 1
    return found


def _by_other_fields(
    policy: AuditPolicy,
    entries: Sequence[AuditEntry],
    expected: Sequence[ExpectedEvent],
    exact: Set[int],
    aliases: Mapping[str, str],
    evidence: AuditEvidence | None,
) -> Iterator[tuple[int, _Slot, bool]]:
    """Yield places of expected events with the entries that tell of them, kind by kind, and whether that is sure.

    Where some events of a kind are found by their ids, ids are kept: an entry under another id is hardly ours then.
    """
    kinds: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(expected):
        kinds[policy.events.get(one.event, one.event)].append(place)
    loose: dict[str, list[AuditEntry]] = defaultdict(list)
    for entry in _not_of_ours(policy, entries, expected):
        loose[text_of(policy, entry, "event")].append(entry)
    for kind, found in loose.items():
        wanted = [place for place in kinds.get(kind, ()) if place not in exact]
        if not wanted:
            continue
        if len(wanted) == len(kinds[kind]):
            for place, slot in _Fallback(policy, found, expected, wanted, aliases, evidence).run():
                yield place, slot, True
            continue
        bare = [entry for entry in found if not text_of(policy, entry, "request_id")]
        rest = dict.fromkeys(wanted)
        for place, slot in _Fallback(policy, bare, expected, wanted, aliases, evidence).run():
            del rest[place]
            yield place, slot, True
        others = [entry for entry in found if text_of(policy, entry, "request_id")]
        for place, slot in _Fallback(policy, others, expected, list(rest), aliases, evidence).by_user():
            yield place, slot, False


def _not_of_ours(
    policy: AuditPolicy, entries: Sequence[AuditEntry], expected: Sequence[ExpectedEvent]
) -> Iterator[AuditEntry]:
    """Yield the entries that bear no id of ours: what bears one tells of that request, and of no other."""
    ours = {name for one in expected for name in one.ids}
    prefix = _common_prefix(ours)
    for entry in entries:
        request = text_of(policy, entry, "request_id") if entry.fields is not None else ""
        like_ours = len(prefix) >= _LEAST_PREFIX and request.startswith(prefix)
        if entry.fields is not None and request not in ours and not like_ours:
            yield entry


def _common_prefix(texts: Set[str]) -> str:
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)
    same = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:same]


class _Fallback:
    """Events of one kind that have no entry under their ids, and what is told of that kind under others."""

    def __init__(
        self,
        policy: AuditPolicy,
        entries: Sequence[AuditEntry],
        expected: Sequence[ExpectedEvent],
        wanted: Sequence[int],
        aliases: Mapping[str, str],
        evidence: AuditEvidence | None,
    ) -> None:
        self._policy = policy
        self._expected = expected
        self._evidence = evidence
        self._open = dict.fromkeys(sorted(wanted, key=lambda place: expected[place].sent_ns))
        self._left = {id(entry): entry for entry in _in_time(policy, entries)}
        names = sorted({name for place in wanted if (name := expected[place].user)})
        given = {text_of(policy, entry, "user") for entry in entries}
        called = {
            text: next((name for name in names if is_named(policy, name, text)), aliases.get(text, ""))
            for text in given
            if text
        }
        self._called = {id(entry): called.get(text_of(policy, entry, "user"), "") for entry in entries}

    def run(self) -> Iterator[tuple[int, _Slot]]:
        """Yield what belongs together: by user and address, by user, by address, and at last by order alone."""
        yield from self.by_user()
        telling = any(self._called.values())
        # Without the right name, an entry is only ours where no stranger's name says otherwise.
        for key, entry in list(self._left.items()):
            if telling and not self._called[key] and text_of(self._policy, entry, "user"):
                del self._left[key]
        yield from self._stage(lambda one: parse_address(one.ip), self._address)
        yield from self._stage(lambda one: True, lambda entry: True)

    def by_user(self) -> Iterator[tuple[int, _Slot]]:
        """Yield what belongs together by user and address, and by user."""
        yield from self._stage(
            lambda one: (one.user, parse_address(one.ip)) if one.user and one.ip else None,
            lambda entry: (self._called[id(entry)], self._address(entry)) if self._called[id(entry)] else None,
        )
        yield from self._stage(lambda one: one.user, lambda entry: self._called[id(entry)] or None)

    def _address(self, entry: AuditEntry) -> object:
        return parse_address(entry.value(named(self._policy, "ip")))

    def _stage(
        self, of_event: Callable[[ExpectedEvent], object], of_entry: Callable[[AuditEntry], object]
    ) -> Iterator[tuple[int, _Slot]]:
        places: dict[object, list[int]] = defaultdict(list)
        found: dict[object, list[AuditEntry]] = defaultdict(list)
        for place in self._open:
            if (key := of_event(self._expected[place])) is not None:
                places[key].append(place)
        for entry in self._left.values():
            if (key := of_entry(entry)) is not None:
                found[key].append(entry)
        for key, some in places.items():
            slots = _merged(self._policy, found.get(key, ()), len(some))
            for place, slot in _in_order(self._policy, slots, self._expected, some, self._evidence):
                del self._open[place]
                for entry in slot:
                    del self._left[id(entry)]
                yield place, slot


def _in_time(policy: AuditPolicy, entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    times = [parse_time_ns(entry.value(named(policy, "time"))) for entry in entries]
    order = range(len(entries))
    if all(time is not None for time in times):
        return [entries[place] for place in sorted(order, key=lambda place: (times[place] or 0, place))]
    return list(entries)


def _merged(policy: AuditPolicy, entries: Sequence[AuditEntry], needed: int) -> list[_Slot]:
    """Return the entries, those of one id together: the same event told twice, unless ids are too few to be ids."""
    by_id: dict[str, _Slot] = {}
    for number, entry in enumerate(entries):
        by_id.setdefault(text_of(policy, entry, "request_id") or f"#{number}", []).append(entry)
    return list(by_id.values()) if len(by_id) >= needed else [[entry] for entry in entries]


def _in_order(
    policy: AuditPolicy,
    slots: Sequence[_Slot],
    expected: Sequence[ExpectedEvent],
    places: Sequence[int],
    evidence: AuditEvidence | None,
) -> list[tuple[int, _Slot]]:
    """Return events and entries in the order of their times; where some are missing, those with the nearest times.

    How many are missing is certain then, and which ones is as likely as can be.
    """
    few = len(slots) < len(places) and len(slots) * len(places) <= _MOST_PAIRS
    if not few or evidence is None or evidence.anchor is None:
        return list(zip(places, slots, strict=False))
    times = [parse_time_ns(slot[0].value(named(policy, "time"))) for slot in slots]
    wall = [evidence.anchor.to_wall_ns(expected[place].sent_ns) for place in places]
    apart = sorted(
        (abs(time - sent), number, at)
        for number, time in enumerate(times)
        if time is not None
        for at, sent in enumerate(wall)
    )
    free, left, found = set(range(len(places))), set(range(len(slots))), []
    for _, number, at in apart:
        if number in left and at in free:
            left.remove(number)
            free.remove(at)
            found.append((places[at], slots[number]))
    rest = zip(sorted(free), sorted(left), strict=False)
    return found + [(places[at], slots[number]) for at, number in rest]


def writer(entry: AuditEntry) -> str:
    """Return which service wrote an entry, or the file that it is in."""
    return str(
        value_at(entry.fields, "service") or value_at(entry.fields, ".".join(("service", "name"))) or entry.source
    )
