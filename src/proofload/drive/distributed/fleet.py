"""N generator processes that split a plan exactly, start at one instant, share barriers and make one history."""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proofload.core.clock import Clock, SystemClock
from proofload.core.errors import PlanError, Problem, ProofloadError
from proofload.core.units import NS_PER_SECOND
from proofload.drive.distributed import generator
from proofload.drive.distributed.clock_sync import Offset, Shipment
from proofload.drive.distributed.spawn import Generator, Places, ThisMachine
from proofload.drive.engine import VettedOnly, loopback_only, vetted_addresses
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.measure import DeliveryParts, RunnerReport, asked_per_second, generator_of
from proofload.drive.rows import Rows
from proofload.drive.stats import Progress, Standing, Stats
from proofload.plan import workload as plan
from proofload.plan.arrivals import count
from proofload.plan.operation import Operation
from proofload.record.delivery import Delivery, GeneratorDelivery
from proofload.record.history import History

_HEAD_START_NS = 50_000_000
_FAR_HEAD_START_NS = 400_000_000
"""Where generators have clocks of their own, the start has to travel first."""
_LEAST_PATIENCE_S = 30.0
_SILENT_S = 10.0
"""A generator elsewhere that says nothing for so long is lost: a machine that vanishes sends no last word."""
_PINGS = 20
_PING_EVERY_S = 0.5


class _Member:
    """One generator, and what it has told so far."""

    def __init__(self, number: int, generator: Generator, folder: Path) -> None:
        self.number = number
        self.generator = generator
        self.folder = folder
        self.alive = True
        self.ready = False
        self.at_barrier: set[str] = set()
        self.standing: Standing | None = None
        self.account: DeliveryParts | None = None
        self.side: dict[str, Any] | None = None
        self.error: ProofloadError | None = None
        self.died = ""
        self.clock = Offset()
        self.shipment = Shipment(folder)
        self.source = ""
        self.heard_ns = 0
        self.asked = 0

    def tell(self, *message: Any) -> None:
        """Send a message; a member that is gone no longer needs it."""
        self.generator.tell(*message)

    @property
    def name(self) -> str:
        """Return what people call it."""
        where = self.generator.where
        return f"generator {self.number}{f' on {where}' if where else ''}"


class Fleet:
    """Like an engine, of several processes. `options` are those of Engine and go to each; all must be picklable.

    Rows lie in a folder of its own inside `folder`, or with `keep` in `folder` itself, where they stay.
    """

    def __init__(
        self,
        processes: int,
        endpoint: Endpoint,
        operations: Mapping[str, Operation] | None = None,
        *,
        clock: Clock | None = None,
        folder: Path | None = None,
        keep: bool = False,
        places: Places | None = None,
        **options: Any,
    ) -> None:
        self.processes = processes
        self._places: Places = places or ThisMachine()
        self.endpoint = endpoint
        self.operations = dict(operations or {})
        self.options = options
        self.seed: int = options.get("seed", 0)
        self.clock = clock or SystemClock()
        self._keep = keep and folder is not None
        own = folder if keep else None
        self._folder = own or Path(tempfile.mkdtemp(prefix="proofload-fleet-", dir=folder))
        self._members: list[_Member] = []
        self._workloads: tuple[plan.AnyWorkload, ...] = ()
        self._started = False
        self._stopped = False
        self._reasons: list[str] = []
        self._over = asyncio.Event()

    async def run(self, *workloads: plan.AnyWorkload) -> None:
        """Run the workloads, split over the processes, until all have ended or died. Once for each fleet.

        Raises what an engine raises, where a member could not even begin.
        """
        plan.check(workloads, self.operations)
        self._check_split(workloads)
        self._workloads = workloads
        if self.endpoint.unix_socket is None:
            # Vetting may rest on what only this process knows; the members get its result.
            found = await vetted_addresses(self.endpoint, self.options.get("vet", loopback_only))
            self.options["vet"] = VettedOnly(frozenset(str(address[0]) for _, address in found))
        pinging: asyncio.Task[None] | None = None
        try:
            launching = (self._launch(number) for number in range(self.processes))
            launched = await asyncio.gather(*launching, return_exceptions=True)
            # All of them first: one that could not begin must not leave the others behind.
            self._members += [one for one in launched if isinstance(one, _Member)]
            for refused in launched:
                if isinstance(refused, BaseException):
                    raise refused
            for member in self._members:
                member.heard_ns = self.clock.now_ns()
                member.generator.listen(functools.partial(self._hear, member))
            pinging = asyncio.create_task(self._keep_pinging())
            patience_s = _LEAST_PATIENCE_S + max(
                (one.start_after_ns + plan.span_ns(one) + one.graceful_ns) / NS_PER_SECOND for one in workloads
            )
            try:
                async with asyncio.timeout(patience_s):
                    await self._over.wait()
            except TimeoutError:
                self._give_up([one for one in self._members if one.alive], "did not end in time")
        finally:
            if pinging is not None:
                pinging.cancel()
            self._close()
        for member in self._members:
            if member.error is not None:
                raise member.error

    def stop(self, *, at_once: bool = False, reason: str = "") -> None:
        """End the run in every process: what is under way may finish within its grace, or is cut `at_once`."""
        self._stopped = True
        if reason and reason not in self._reasons:
            self._reasons.append(reason)
        for member in self._members:
            member.tell("stop", at_once)

    def progress(self) -> Progress:
        """Return how the run stands, up to the half second at which the members tell."""
        stats = Stats()
        made = users = errors = elapsed_ns = 0
        checks: dict[str, tuple[int, int]] = {}
        for standing in (member.standing for member in self._members):
            if standing is None:
                continue
            stats.merge(standing.stats)
            made += standing.made
            users += standing.users
            errors += standing.user_errors
            elapsed_ns = max(elapsed_ns, standing.elapsed_ns)
            for name, (held, broken) in standing.checks.items():
                before = checks.get(name, (0, 0))
                checks[name] = (before[0] + held, before[1] + broken)
        return Standing(stats, made, users, elapsed_ns, checks, errors).progress()

    def history(self) -> History:
        """Return one history of all rows, in the order of their intended instants."""
        parts = list(self.history_parts())
        if not parts:
            return History.empty()
        return History(History.concat(parts).frame.sort("intended_ns", maintain_order=True))

    def history_parts(self) -> Iterator[History]:
        """Yield the history in parts, generator by generator."""
        for member in self._members:
            for part in self._rows(member).parts():
                yield member.clock.here(part) if member.generator.own_clock else part

    def account(self) -> DeliveryParts:
        """Return everything that the delivery is made from, of those that died as well."""
        accounts = [
            (member.account or self._account_of_the_dead(member)).moved(-member.clock.offset_ns)
            for member in self._members
        ]
        return DeliveryParts.merged(accounts, tuple(self._reasons), stopped=self._stopped)

    def delivery(self) -> Delivery:
        """Return what the generators think of their work, and what became of those that died."""
        whole = self.account().delivery()
        return replace(whole, generators=tuple(self._placed(one) for one in whole.generators))

    def _placed(self, told: GeneratorDelivery) -> GeneratorDelivery:
        member = self._members[told.number]
        if not member.generator.own_clock:
            return told
        return replace(
            told,
            where=member.generator.where,
            source=member.source,
            clock_offset_ns=member.clock.offset_ns,
            clock_uncertainty_ns=member.clock.uncertainty_ns,
        )

    def close(self) -> None:
        """Remove the files of the rows, unless they are to be kept."""
        if not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- the members -------------------------------------------------------------------------------------------------

    def _check_split(self, workloads: tuple[plan.AnyWorkload, ...]) -> None:
        problems = [
            Problem(
                f"workload {one.name}.max_users", str(one.max_users), f"at least {self.processes}, one in each process"
            )
            for one in workloads
            if isinstance(one, plan.OpenWorkload) and one.max_users < self.processes
        ]
        if problems:
            raise PlanError(problems)

    async def _launch(self, number: int) -> _Member:
        folder = self._folder / f"generator-{number:03d}"
        folder.mkdir()
        order = generator.GeneratorOrder(
            self.endpoint, self.operations, self._options(number), self._workloads, number, self.processes, folder
        )
        return _Member(number, await self._places.start(order), folder)

    def _options(self, number: int) -> dict[str, Any]:
        options = dict(self.options)
        # One prefix for the run, one letter more for each generator: request ids never meet.
        options["id_prefix"] = f"{options.get('id_prefix') or f'pl{self.seed:08x}-'}{number:x}-"
        ceilings = options.get("ceilings")
        if ceilings is not None:
            options["ceilings"] = _share(ceilings, number, self.processes)
        return options

    def _hear(self, member: _Member, message: Sequence[Any] | None) -> None:
        member.heard_ns = self.clock.now_ns()
        if message is None:
            self._leave(member, died=member.account is None and member.error is None)
        else:
            kind, *rest = message
            self._note(member, kind, rest)
        self._release()

    def _note(self, member: _Member, kind: str, rest: list[Any]) -> None:
        match kind:
            case "ready":
                member.ready = True
                member.source = rest[0] if rest else ""
            case "barrier":
                member.at_barrier.add(rest[0])
            case "standing":
                member.standing = rest[0]
            case "pong":
                member.clock.add(rest[0], rest[1], member.heard_ns)
            case "rows":
                member.shipment.take(*rest)
            case "done":
                member.account, member.standing, member.side = rest
            case "refused":
                kind_of_error, about = rest
                member.error = kind_of_error(about)

    def _leave(self, member: _Member, *, died: bool) -> None:
        if not member.alive:
            return
        member.alive = False
        if died:
            member.died = member.generator.how_it_ended()
        if member.error is not None:
            self.stop(at_once=True)

    def _release(self) -> None:
        """Start, and open barriers, once everyone who is still alive has come to them."""
        alive = [member for member in self._members if member.alive]
        if not alive:
            self._over.set()
            return
        far = any(member.generator.own_clock for member in alive)
        at_ns = self.clock.now_ns() + (_FAR_HEAD_START_NS if far else _HEAD_START_NS)
        if not self._started and all(member.ready and self._synchronous(member) for member in alive):
            self._started = True
            for member in alive:
                member.tell("start", member.clock.there_ns(at_ns))
        for name in set.union(*(member.at_barrier for member in alive)):
            waiting = [member for member in alive if member.account is None]
            if waiting and all(name in member.at_barrier for member in waiting):
                for member in waiting:
                    member.at_barrier.discard(name)
                    member.tell("release", name, member.clock.there_ns(at_ns))

    def _synchronous(self, member: _Member) -> bool:
        """Return whether a member's clock is known well enough to agree on an instant; ask it once more otherwise."""
        if not member.generator.own_clock or member.clock.samples >= _PINGS:
            return True
        # One question at a time: what waits in a queue behind others would look like a slow way.
        if member.clock.samples == member.asked:
            member.asked += 1
            member.tell("ping", self.clock.now_ns())
        return False

    async def _keep_pinging(self) -> None:
        """Follow the clocks of generators elsewhere, and give up on those that fell silent."""
        while True:
            await asyncio.sleep(_PING_EVERY_S)
            now_ns = self.clock.now_ns()
            far = [one for one in self._members if one.alive and one.generator.own_clock]
            for member in far:
                if self._started:
                    member.tell("ping", now_ns)
            silent = [one for one in far if now_ns - one.heard_ns > _SILENT_S * NS_PER_SECOND]
            if silent:
                self._give_up(silent, f"silent for {_SILENT_S:.0f} s")
                self._release()

    def _give_up(self, members: Sequence[_Member], why: str) -> None:
        for member in members:
            member.alive = False
            member.died = member.died or why
            member.generator.end(kill=True)

    def _close(self) -> None:
        for member in self._members:
            member.generator.end(kill=member.account is None)
            if member.account is None and member.error is None and not member.died:
                member.died = "ended before it could tell"
        self._places.close()

    # -- what they leave ---------------------------------------------------------------------------------------------

    def _rows(self, member: _Member) -> Rows:
        keep = tuple(self.options.get("keep_headers", ()))
        side = member.side or {
            "workloads": [one.name for one in self._workloads],
            "operations": list(self.operations),
            "sources": [""],
            "tags": [""],
            "made": -1,
        }
        return Rows.adopt(keep, str(self._options(member.number)["id_prefix"]), member.folder, side)

    def _account_of_the_dead(self, member: _Member) -> DeliveryParts:
        stats = Stats()
        rows = self._rows(member)
        for table in rows.tables():
            stats.add_rows(table)
        wall_ns = member.standing.elapsed_ns if member.standing else 0
        reports = tuple(
            self._report_of_the_dead(number, one, stats, member) for number, one in enumerate(self._workloads)
        )
        unmade = sum(report.unmade for report in reports)
        lost = f"1 of {self.processes} generators, {unmade:,} requests of the plan never begun"
        return DeliveryParts(
            stats,
            reports,
            (generator_of(member.number, rows.made, 0, 0, wall_ns, stats, member.died),),
            wall_ns,
            (f"{member.name} was lost with its share of the load: {lost} ({member.died})",),
            stopped=True,
            errors={},
            checks=member.standing.checks if member.standing else {},
        )

    def _report_of_the_dead(self, number: int, load: plan.AnyWorkload, stats: Stats, member: _Member) -> RunnerReport:
        share = range(member.number, _planned(load, self.seed), self.processes)
        unmade = max(0, len(share) - int(stats.endings[number].sum()))
        asked = asked_per_second(load, self.seed)
        return RunnerReport(load.name, type(load).__name__, number, asked, unmade, None, None)


def _planned(load: plan.AnyWorkload, seed: int) -> int:
    """Return how many iterations the plan has; 0 where it does not say."""
    match load:
        case plan.ConstantRate() | plan.RampingRate() | plan.PoissonArrivals():
            return count(load, seed)
        case plan.SharedIterations():
            return load.iterations
        case plan.PerUserIterations():
            return load.iterations * load.users
        case plan.Burst() | plan.Sequence():
            return load.n
        case _:
            return 0


def _share(ceilings: plan.Ceilings, number: int, processes: int) -> plan.Ceilings:
    """Return the part of the ceilings that is this generator's: together they are the whole, never more."""

    def part(whole: int | None) -> int | None:
        return None if whole is None else len(range(number, whole, processes))

    return plan.Ceilings(part(ceilings.rate_per_second), part(ceilings.total_requests), ceilings.duration_ns)


__all__ = ["Fleet"]
