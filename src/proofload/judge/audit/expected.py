"""What an audit log should hold after a run, and what a case knows that the log must not give away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from proofload.core.clock import Anchor
from proofload.judge.reconcile.request_ids import request_ids
from proofload.record.exchange import Ending
from proofload.record.history import History


@dataclass(frozen=True, slots=True)
class ExpectedEvent:
    """One security event that an exchange of ours brought about."""

    row: int
    event: str
    """In our words (`login_failed`); the policy knows the target's."""
    request_id: str
    sent_ns: int
    done_ns: int
    user: str | None = None
    """The user that the entry must name; None where it is not known."""
    ip: str | None = None
    certain: bool = True
    """False where the request was never answered: the event may be there or not."""
    sent_id: str = ""
    """The id that we sent, where the answer bears another one: the log may hold either."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids under which its entry may stand."""
        return tuple(dict.fromkeys(one for one in (self.request_id, self.sent_id) if one))


@dataclass(frozen=True, slots=True)
class Forgery:
    r"""An attempt to write a line of one's own: what was sent held `head`, a line end, and `tail` (both unique)."""

    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class AuditEvidence:
    """What else the judge must know of a run."""

    read_ns: int
    """When the log was last read to its end; what is not there by then was not there."""
    anchor: Anchor | None = None
    """Tells times in the log from our own; without it they are not compared."""
    secrets: tuple[str, ...] = ()
    """Passwords and tokens that were sent or received."""
    forgeries: tuple[Forgery, ...] = ()
    digests: tuple[str, ...] = ()
    """Secrets that must not be kept, as `digests_of` made them while they were known."""


def expect(
    history: History, rows: Iterable[int], event: str, *, users: Mapping[int, str] | None = None, ip: bool = False
) -> list[ExpectedEvent]:
    """Return the event `event` for each of the exchanges `rows` that reached the target.

    `users` name the user of each user number; with `ip`, the entry must name the address that we sent from.
    """
    chosen = np.array(sorted(int(row) for row in rows), dtype=np.int64)
    endings = history.numbers("ending")[chosen]
    chosen = chosen[np.isin(endings, (Ending.ANSWERED, Ending.UNKNOWN))]
    columns = history.frame[chosen].select(
        pl.Series("row", chosen),
        request_ids(history, chosen).fill_null("").alias("id"),
        pl.col("request_id").fill_null("").alias("sent_id"),
        "sent_ns",
        "done_ns",
        pl.col("user").cast(pl.Int64),
        pl.col("source").cast(pl.String),
        (pl.col("ending") == int(Ending.ANSWERED)).alias("answered"),
    )
    names = users or {}
    return [
        ExpectedEvent(
            *(row, event, request, sent, done, names.get(user), source if ip else None, answered),
            sent_id="" if own == request else own,
        )
        for row, request, own, sent, done, user, source, answered in columns.iter_rows()
    ]
