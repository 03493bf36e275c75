"""How well the generator did its own work: what was planned and sent, how late, and whether it was itself the limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Lag:
    """Nearest-rank percentiles of a delay in nanoseconds; all zero where `samples` is 0."""

    samples: int = 0
    p50_ns: int = 0
    p90_ns: int = 0
    p99_ns: int = 0
    max_ns: int = 0


@dataclass(frozen=True, slots=True)
class WorkloadDelivery:
    """What became of one workload."""

    name: str
    kind: str
    planned: int
    """Rows, and the arrivals of the plan that a stop left unmade."""
    sent: int
    answered: int
    not_sent: int
    unknown: int
    dropped: int
    unmade: int = 0
    """Arrivals that were not yet due when the run was stopped, or that a dead generator never came to."""
    asked_per_second: float | None = None
    """Mean of an open workload's plan; closed workloads ask for no rate."""
    achieved_per_second: float = 0.0
    """Requests sent, over the time from the first to the last."""
    skew_ns: int | None = None
    """Bursts: from the first to the last first byte sent."""
    opened: int | None = None
    """Bursts: connections that stood open when the burst was released."""


@dataclass(frozen=True, slots=True)
class GeneratorDelivery:
    """One generator process."""

    number: int
    rows: int
    cpu_share: float
    """CPU time over wall time of the run."""
    spin_share: float
    """Part of the wall time that went into waiting awake for the next arrival: CPU that was free for work."""
    loop_lag: Lag
    died: str = ""
    """How it died, where it did."""
    where: str = ""
    """The node that it ran on; empty on this machine."""
    source: str = ""
    """The address that its requests came from, where that is not this machine's own."""
    clock_offset_ns: int = 0
    """Its monotonic clock minus ours; its instants in the history have been brought to ours."""
    clock_uncertainty_ns: int = 0
    """How far its instants may still be off."""


@dataclass(frozen=True, slots=True)
class UserError:
    """An exception that a script raised, by place; it ended that iteration only."""

    workload: str
    place: str
    text: str
    count: int

    @property
    def is_ours(self) -> bool:
        """Whether the script asked for what our stand-in for another tool lacks."""
        return self.text.startswith("NotSupportedError: ")


@dataclass(frozen=True, slots=True)
class Delivery:
    """The engine's judgement of itself. Where `bottleneck` is true, nothing that rests on the run can be certain."""

    planned: int = 0
    sent: int = 0
    answered: int = 0
    not_sent: int = 0
    unknown: int = 0
    dropped: int = 0
    late: int = 0
    """Arrivals begun more than 10 ms after they were due."""
    send_lag: Lag = Lag()
    """Sent − intended of arrivals that had an open connection: the generator's own delay."""
    service: Lag = Lag()
    """Done − sent of what was answered."""
    response: Lag = Lag()
    """Done − intended of what was answered."""
    loop_lag: Lag = Lag()
    wall_ns: int = 0
    cpu_share: float = 0.0
    """The greatest of all generators."""
    bottleneck: bool = False
    reasons: tuple[str, ...] = ()
    """Why the generator was the bottleneck, or the load was not what was asked for."""
    stopped: bool = False
    """Somebody ended the run before its plan was through."""
    workloads: tuple[WorkloadDelivery, ...] = ()
    generators: tuple[GeneratorDelivery, ...] = ()
    user_errors: tuple[UserError, ...] = ()
    stalled: bool = False
    """The generator's own loop was held up so long and so often that latencies tell nothing of the target."""
    checks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By name: how often the check held, and how often not."""
    ran_out: int = 0
    """Connections that were not made because this machine had no descriptor, port or address left."""

    def workload(self, name: str) -> WorkloadDelivery | None:
        """Return what became of the workload `name`, None where there was none."""
        return next((one for one in self.workloads if one.name == name), None)

    def to_json(self) -> str:
        """Return the delivery as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Delivery:
        """Return the delivery that `to_json` wrote.

        >>> Delivery.from_json(Delivery(sent=3, checks={"a": (1, 0)}).to_json()).checks
        {'a': (1, 0)}
        """
        raw: dict[str, Any] = json.loads(text)
        raw["workloads"] = tuple(WorkloadDelivery(**one) for one in raw["workloads"])
        raw["generators"] = tuple(
            GeneratorDelivery(**{**one, "loop_lag": Lag(**one["loop_lag"])}) for one in raw["generators"]
        )
        raw["user_errors"] = tuple(UserError(**one) for one in raw["user_errors"])
        raw["checks"] = {name: (held, broken) for name, (held, broken) in raw["checks"].items()}
        raw["reasons"] = tuple(raw["reasons"])
        lags = {one.name: Lag(**raw[one.name]) for one in fields(cls) if one.type == "Lag"}
        return cls(**{**raw, **lags})
