"""The response times that a history holds, by operation or service, from the instant each request was due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.record.exchange import NOT_THE_TARGETS, Ending
from proofload.record.history import History

_LEAST_FAILED_STATUS = 400


@dataclass(frozen=True, slots=True)
class Samples:
    """Response times of one operation or service, in the order in which the requests were due."""

    name: str
    rows: NDArray[np.int64]
    due_ns: NDArray[np.int64]
    response_ns: NDArray[np.int64]
    """Done − intended. Of a request that was never answered: how long it was waited for, a lower bound."""
    answered: NDArray[np.bool_]
    failed: int
    """Answered with an error status, or never sent: not samples, since a quick error is no quick service."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)

    @property
    def unanswered(self) -> int:
        """Return how many of the samples are lower bounds."""
        return len(self) - int(self.answered.sum())


def gather(
    history: History,
    *,
    rows: NDArray[np.int64] | None = None,
    services: Mapping[str, str] | None = None,
) -> list[Samples]:
    """Return the samples of each operation and then of each service that more than one operation belongs to.

    `services` names the service of an operation. Dropped requests are no samples: the delivery judge speaks of them.
    """
    chosen = np.arange(len(history)) if rows is None else np.sort(rows)
    operations = history.frame["operation"]
    codes = operations.to_physical().to_numpy()[chosen]
    kinds = operations.unique()
    texts = dict(zip(kinds.to_physical().to_list(), kinds.cast(pl.String).to_list(), strict=True))
    present = sorted((texts[int(code)], int(code)) for code in np.unique(codes))
    found = [_samples(history, name, chosen[codes == code]) for name, code in present]
    members: dict[str, list[int]] = {}
    for name, code in present:
        if services and name in services:
            members.setdefault(services[name], []).append(code)
    for service, of_service in sorted(members.items()):
        if len(of_service) > 1:
            found.append(_samples(history, f"service {service}", chosen[np.isin(codes, of_service)]))
    return found


def _samples(history: History, name: str, rows: NDArray[np.int64]) -> Samples:
    endings = history.numbers("ending")[rows]
    answered = endings == Ending.ANSWERED
    served = answered & (history.numbers("status")[rows] < _LEAST_FAILED_STATUS)
    ours = np.isin(history.numbers("fault")[rows], [int(one) for one in NOT_THE_TARGETS])
    kept = served | ((endings == Ending.UNKNOWN) & ~ours)
    failed = int(((answered & ~served) | (endings == Ending.NOT_SENT)).sum())
    due = history.numbers("intended_ns")[rows]
    if len(due) > 1 and bool((due[1:] < due[:-1]).any()):
        order = np.argsort(due, kind="stable")
        rows, due, kept, answered = rows[order], due[order], kept[order], answered[order]
    rows, due = rows[kept], due[kept]
    response = np.maximum(history.numbers("done_ns")[rows] - due, 0)
    return Samples(name, rows, due, response, answered[kept], failed)
