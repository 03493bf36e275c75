"""The live writer of a run: its metrics, events and annotations, to whichever servers are declared.

A server that is down or refuses never stops a run: it is said once while it runs, counted, and told at the end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from proofload import __version__
from proofload.cases.case import AnyCase
from proofload.cases.progress import Audience
from proofload.core.clock import Anchor, Clock
from proofload.core.errors import ToolError
from proofload.drive.engine import Engine
from proofload.judge.verdict import Verdict
from proofload.observe.loki import Line, Loki
from proofload.plan.target import Target
from proofload.record.pulse import Pulse
from proofload.telemetry.grafana import Grafana
from proofload.telemetry.push import Page, Pushgateway
from proofload.telemetry.remote_write import RemoteWrite
from proofload.telemetry.run_metrics import RunMetrics, exposition

_LAST_WORDS_S = 15.0
"""How long the end of a run waits for servers that are slow to take the last writes."""


@dataclass(slots=True)
class Tally:
    """How writing to one server went."""

    told: str
    written: int = 0
    failed: int = 0
    skipped: int = 0
    """Writes left out because the one before was still on its way."""
    first: str = ""

    def note(self, name: str) -> str:
        """Return what has to be said of it, or nothing."""
        if not self.failed and not self.skipped:
            return ""
        tried = self.written + self.failed
        late = f"; {self.skipped} were left out, for it was slow" if self.skipped else ""
        said = f", the first time: {self.first}" if self.first else ""
        return f"monitoring: {name} did not take {self.failed} of {tried} writes{said}{late}"


class Observing:
    """Watches a run and writes of it: `async with Observing(...) as observing`, and `finish` before it ends."""

    def __init__(self, target: Target, run: str, cases: Sequence[AnyCase], clock: Clock, audience: Audience) -> None:
        declared = target.monitoring
        self.tallies: dict[str, Tally] = {}
        self.metrics = RunMetrics(run, target.name, __version__, [case.id for case in cases], clock.now_ns)
        self._run = run
        self._target = target.name
        self._clock = clock
        self._anchor = Anchor.take(clock)
        self._audience = audience
        self._every_ns = declared.every
        self._delete = declared.at_the_end == "delete"
        self._pushgateway = Pushgateway(declared.pushgateway, run) if declared.pushgateway else None
        self._remote = RemoteWrite(declared.remote_write, run) if declared.remote_write else None
        self._loki = Loki(declared.loki, clock, waits_s=(0.5, 1.0)) if declared.loki else None
        grafana = declared.grafana
        token = grafana.token.get_secret_value() if grafana and grafana.token else None
        self._grafana = Grafana(grafana.url, token) if grafana else None
        self._listen = declared.listen
        self._phase_of = {case.id: case.phase for case in cases}
        self._began: dict[str, int] = {}
        self._phases: dict[int, tuple[int, int]] = {}
        self._faults: dict[tuple[str, str], int] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    @property
    def active(self) -> bool:
        """Return whether anything is declared that a run writes to."""
        return any((self._pushgateway, self._remote, self._loki, self._grafana, self._listen))

    async def __aenter__(self) -> Observing:
        """Begin to write."""
        if not self.active:
            return self
        if self._listen:
            page = Page(self._listen, lambda: exposition(self.metrics.families()))
            try:
                await self._stack.enter_async_context(page)
            except ToolError as error:
                self._fail("page", self._listen, str(error))
        self._ticking = asyncio.create_task(self._tick())
        self._stack.callback(self._ticking.cancel)
        self._event("run begins", {})
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; what is still on its way is given up."""
        for task in [task for tasks in self._tasks.values() for task in tasks]:
            task.cancel()
        await self._stack.aclose()

    def watch(self, case: str, engine: Engine) -> None:
        """Count what this engine sends for a case."""
        if self.active:
            self.metrics.watch(case, engine)

    # -- the audience of the cases ------------------------------------------------------------------------------------

    def doing(self, case_id: str, what: str, until_ns: int | None = None) -> None:
        """Hear that a case does or waits for something."""
        self._began.setdefault(case_id, self._clock.now_ns())
        self.metrics.doing(case_id)
        self._audience.doing(case_id, what, until_ns)

    def sent(self, case_id: str, requests: int) -> None:
        """Hear how many requests a case has sent."""
        self._audience.sent(case_id, requests)

    def pulse(self, case_id: str, pulse: Pulse) -> None:
        """Hear how a running case's load stands."""
        self._audience.pulse(case_id, pulse)

    def ended(self, case_id: str, outcome: str) -> None:
        """Hear that a case has ended: its range is marked, its verdict is told."""
        self.metrics.ended(case_id, outcome)
        now_ns = self._clock.now_ns()
        from_ns = self._began.get(case_id, now_ns)
        phase = self._phase_of.get(case_id, 0)
        first_ns, _ = self._phases.get(phase, (from_ns, now_ns))
        self._phases[phase] = (min(first_ns, from_ns), now_ns)
        self._mark(f"{case_id}: {outcome}", ("case", case_id, outcome), from_ns, now_ns)
        self._event("case ended", {"case": case_id, "outcome": outcome})
        self._audience.ended(case_id, outcome)

    def fault(self, case_id: str, service: str, kind: str, held: bool) -> None:
        """Hear that a fault holds, or no longer."""
        self.metrics.fault(service, kind, held)
        self._event("fault holds" if held else "fault mended", {"case": case_id, "service": service, "kind": kind})
        if held:
            self._faults[service, kind] = self._clock.now_ns()
        elif (from_ns := self._faults.pop((service, kind), None)) is not None:
            self._mark(f"{kind} {service} ({case_id})", ("fault", service, kind), from_ns, self._clock.now_ns())

    # -- writing -------------------------------------------------------------------------------------------------------

    async def finish(self, verdicts: Iterable[Verdict]) -> Mapping[str, Any]:
        """Write the last of it; return what is kept with the evidence: notes for people, and the counts."""
        if not self.active:
            return {}
        if self._ticking is not None:
            # A regular write that sets out now would have the last one left out: a sink has one on its way at a time.
            self._ticking.cancel()
        for verdict in verdicts:
            self.metrics.ended(verdict.case, verdict.outcome.name)
            for finding in verdict.findings:
                self.metrics.found(finding.rule, finding.outcome.name)
        for phase, (from_ns, to_ns) in sorted(self._phases.items()):
            self._mark(f"phase {phase}", ("phase", str(phase)), from_ns, to_ns)
        self._event("run ends", {"verdicts": {one.case: one.outcome.name for one in verdicts}})
        await self._settle()
        self.metrics.finished = True
        self._write_metrics()
        await self._settle()
        if self._pushgateway is not None and self._delete:
            await self._attempt(self._pushgateway.name, self._pushgateway.told, self._pushgateway.delete())
        if self._loki is not None and self._loki.pushed.refused:
            said = self._loki.pushed.kept[0].why if self._loki.pushed.kept else ""
            for _ in range(self._loki.pushed.refused):
                self._fail("loki", self._loki.told, said)
        notes = [note for name, tally in self.tallies.items() if (note := tally.note(f"{name} {tally.told}"))]
        counts = {
            name: {"written": one.written, "failed": one.failed, "skipped": one.skipped}
            for name, one in self.tallies.items()
        }
        return {"notes": notes, "counts": counts}

    async def _tick(self) -> None:
        due_ns = self._clock.now_ns()
        while True:
            due_ns += self._every_ns
            await self._clock.sleep_until_ns(due_ns)
            due_ns = max(due_ns, self._clock.now_ns())
            self._write_metrics()

    def _write_metrics(self) -> None:
        self.metrics.look()
        families, wall_ns = self.metrics.families(), self._clock.wall_ns()
        for sink in (self._pushgateway, self._remote):
            if sink is None:
                continue
            if self._tasks.get(sink.name):
                self._tally(sink.name, sink.told).skipped += 1
                continue
            self._spawn(sink.name, sink.told, sink.write(families, wall_ns))

    def _event(self, event: str, more: Mapping[str, Any]) -> None:
        if self._loki is None:
            return
        text = json.dumps({"event": event, "run": self._run, "target": self._target, **more})
        line = Line({"job": "proofload", "target": self._target}, self._clock.wall_ns(), text)
        self._spawn("loki", self._loki.told, self._push(self._loki, line))

    async def _push(self, loki: Loki, line: Line) -> None:
        # Loki's own count of what it refused is told at the end; here it is only waited for.
        await loki.push([line])

    def _mark(self, text: str, tags: Sequence[str], from_ns: int, to_ns: int) -> None:
        if self._grafana is not None:
            walls = (self._anchor.to_wall_ns(from_ns), self._anchor.to_wall_ns(to_ns))
            marking = self._grafana.annotate(text, ("proofload", f"run:{self._run}", *tags), *walls)
            self._spawn("grafana", self._grafana.told, marking)

    def _spawn(self, name: str, told: str, work: Awaitable[None]) -> None:
        self._tally(name, told)  # there from the first write on, so that one that hangs has its own
        task = asyncio.ensure_future(self._attempt(name, told, work))
        tasks = self._tasks.setdefault(name, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _attempt(self, name: str, told: str, work: Awaitable[None]) -> None:
        try:
            await work
        except ToolError as error:
            self._fail(name, told, str(error))
        else:
            self._tally(name, told).written += 1

    def _fail(self, name: str, told: str, why: str) -> None:
        tally = self._tally(name, told)
        tally.failed += 1
        self.metrics.failed_writes[name] = tally.failed
        if tally.failed == 1:
            tally.first = why
            self._audience.doing("monitoring", f"{name} does not take what is written: {why}")

    def _tally(self, name: str, told: str) -> Tally:
        return self.tallies.setdefault(name, Tally(told))

    async def _settle(self) -> None:
        """Wait for what is on its way; what takes too long is given up and told, so that nothing stands in the way."""
        pending = {task: name for name, tasks in self._tasks.items() for task in tasks}
        if not pending:
            return
        _, late = await asyncio.wait(pending, timeout=_LAST_WORDS_S)
        for task in late:
            task.cancel()
            name = pending[task]
            self._tasks[name].discard(task)
            why = f"no answer within {_LAST_WORDS_S:g} s at the end of the run"
            self._fail(name, self.tallies[name].told, why)
