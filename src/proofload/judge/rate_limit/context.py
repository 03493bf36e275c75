"""From rows of a history to attempts on keys: which requests count, against which key, and what was decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from proofload.core.clock import Anchor
from proofload.judge.models.attempts import AttemptKind, Attempts, Flags, Ints, Slack
from proofload.judge.rate_limit.fields import Fields
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import NEVER_NS, Ending
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import CLOCK_COLUMN, History


@dataclass(frozen=True, slots=True)
class RateLimitContext:
    """Everything that the judges of a rate limit share: the promise, what happened, and how exact either is."""

    policy: RateLimitPolicy
    history: History
    anchor: Anchor | None = None
    """Ties the monotonic clock to the wall clock; needed for `Reset` and for windows aligned to the clock."""
    slack: Slack | None = None
    """How far an honest limiter may stray; None: `Slack.of_window`."""
    clock_skew_ns: int = 0
    """How far the target's wall clock may be off ours; 0 on one machine."""
    fresh: bool = True
    """The keys had spent nothing before their first row; false where earlier traffic is not among the rows."""
    admitted_statuses: frozenset[int] = field(default_factory=frozenset)
    """Answers from 400 up that come from behind the limiter, such as the 401 of a login with a wrong password."""
    excused: tuple[FaultSpan, ...] = ()
    """Spans in which the limiter could not work (its store was down): what was decided there may not be counted."""
    also: tuple[RateLimitPolicy, ...] = ()
    """The other limits that are declared: a rejection may be theirs, where they cover the request."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """The path of each operation, by which limits are told that cover it; an unknown one is covered by all."""
    unsure: Ints | None = None
    """Rows that may have counted against the limit or not, whatever they were answered."""
    accounts: Ints | None = None
    """For each row of the history a number of the account that sent it; None: each virtual user has its own."""
    fields: Fields = field(init=False, repr=False, compare=False)
    """The header fields of the history, each read once."""

    def __post_init__(self) -> None:
        """Make a reader of header fields for the history."""
        object.__setattr__(self, "fields", Fields(self.history))

    @property
    def leeway(self) -> Slack:
        """Return the slack in force."""
        return self.slack or Slack.of_window(self.policy.window)

    @property
    def wall_error_ns(self) -> int:
        """Return how far an instant of ours, told as the target's wall-clock time, may be off."""
        return self.clock_skew_ns + (self.anchor.uncertainty_ns if self.anchor else 0)

    def with_policy(self, **changes: object) -> RateLimitContext:
        """Return the same scene under a promise with other values."""
        return replace(self, policy=self.policy.model_copy(update=changes))


def kinds(scene: RateLimitContext, rows: Ints) -> NDArray[np.uint8]:
    """Return the `AttemptKind` of each row: what a client can tell of the limiter's decision."""
    status = scene.history.numbers("status")[rows]
    answered = scene.history.numbers("ending")[rows] == Ending.ANSWERED
    kind = np.full(len(rows), AttemptKind.UNSURE, dtype=np.uint8)
    admitted = (status >= 200) & (status < 400)
    if scene.admitted_statuses:
        admitted |= np.isin(status, list(scene.admitted_statuses))
    kind[answered & admitted] = AttemptKind.ADMITTED
    kind[answered & (status == scene.policy.status)] = AttemptKind.REJECTED
    if scene.excused:
        sent, done = scene.history.numbers("sent_ns")[rows], scene.history.numbers("done_ns")[rows]
        for span in scene.excused:
            kind[(done >= span.wide_from_ns) & (sent <= span.wide_to_ns)] = AttemptKind.UNSURE
    if scene.unsure is not None:
        kind[np.isin(rows, scene.unsure)] = AttemptKind.UNSURE
    return kind


def attempts_of(scene: RateLimitContext, rows: ArrayLike) -> Attempts:
    """Return the attempts that `rows` made, all on one key; what never left us is no attempt."""
    chosen = np.asarray(rows, dtype=np.int64)
    ending = scene.history.numbers("ending")[chosen]
    sent = scene.history.numbers("sent_ns")[chosen]
    went = ((ending == Ending.ANSWERED) | (ending == Ending.UNKNOWN)) & (sent != NEVER_NS)
    chosen, ending, sent = chosen[went], ending[went], sent[went].astype(np.int64)
    done = np.maximum(scene.history.numbers("done_ns")[chosen].astype(np.int64), sent)
    done[ending == Ending.UNKNOWN] += scene.leeway.linger_ns
    if CLOCK_COLUMN in scene.history.frame.columns:
        doubt = scene.history.clock_uncertainty_ns()[chosen]
        sent, done = sent - doubt, done + doubt
    return Attempts.make(chosen, sent, done, kinds(scene, chosen), fresh=scene.fresh)


@dataclass(frozen=True, slots=True)
class Keyed:
    """The attempts on one key, and what a person calls it."""

    key: str
    attempts: Attempts


def key_codes(scene: RateLimitContext, rows: Ints) -> Ints:
    """Return a number for the key of each row, under the scope that the policy declares."""
    if scene.policy.scope == "client_ip":
        return scene.history.frame["source"].to_physical().to_numpy()[rows].astype(np.int64)
    if scene.policy.scope == "user":
        accounts = scene.history.numbers("user") if scene.accounts is None else scene.accounts
        return np.asarray(accounts[rows], dtype=np.int64)
    return np.zeros(len(rows), dtype=np.int64)


def covered(scene: RateLimitContext, policy: RateLimitPolicy, rows: Ints) -> Flags:
    """Return which rows a limit may count, by the paths of their operations."""
    operations = scene.history.frame["operation"].cast(pl.String).gather(rows)
    names = {name for name in operations.unique().to_list() if name is not None}
    out = [name for name in names if name in scene.paths and not policy.covers(scene.paths[name])]
    return np.asarray(~operations.is_in(out).fill_null(value=False).to_numpy(), dtype=np.bool_)


def key_name(scene: RateLimitContext, row: int) -> str:
    """Return what a person calls the key that a row counts against."""
    if scene.policy.scope == "client_ip":
        return str(scene.history.frame["source"][row])
    if scene.policy.scope == "global":
        return "all clients"
    return f"user {scene.history.frame['user'][row] if scene.accounts is None else scene.accounts[row]}"


def by_key(scene: RateLimitContext, rows: ArrayLike, *, interesting: bool = False) -> Iterator[Keyed]:
    """Yield the attempts of each key that the policy tells apart.

    With `interesting`, keys are left out that can't break a limit: nothing rejected, no more sent than the allowance.
    """
    chosen = np.asarray(rows, dtype=np.int64)
    if not len(chosen):
        return
    keys = key_codes(scene, chosen)
    order = np.argsort(keys, kind="stable")
    chosen, keys = chosen[order], keys[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    sizes = np.diff(np.append(starts, len(keys)))
    wanted = np.ones(len(starts), dtype=np.bool_)
    if interesting:
        rejected = np.add.reduceat(kinds(scene, chosen) == AttemptKind.REJECTED, starts)
        wanted = (sizes > scene.policy.allowance) | (rejected > 0)
    for start, size in zip(starts[wanted].tolist(), sizes[wanted].tolist(), strict=True):
        mine = chosen[start : start + size]
        attempts = attempts_of(scene, mine)
        if len(attempts):
            yield Keyed(key_name(scene, int(mine[0])), attempts)
