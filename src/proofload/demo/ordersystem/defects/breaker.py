"""Circuit breakers gone wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from proofload.demo.ordersystem.common.store import Script, Store
from proofload.demo.ordersystem.defects.defect import Defect, gateway
from proofload.demo.ordersystem.gateway.breaker import (
    CLOSED,
    ENTER,
    HALF_OPEN,
    LEAVE,
    OPEN,
    BreakerRules,
    Move,
    Permit,
    RedisBreaker,
)
from proofload.demo.ordersystem.gateway.call import Answer, Call
from proofload.demo.ordersystem.gateway.protecting import Breaking, FailureRules


def rewritten(*, enter: tuple[str, str] = ("", ""), leave: tuple[str, str] = ("", "")) -> Callable[..., RedisBreaker]:
    """Return a breaker whose scripts differ from the honest ones in one place each."""
    assert enter[0] in ENTER
    assert leave[0] in LEAVE

    def make(store: Store, rules: BreakerRules) -> RedisBreaker:
        breaker = RedisBreaker(store, rules)
        breaker.enter_script = Script(ENTER.replace(*enter) if enter[0] else ENTER)
        breaker.leave_script = Script(LEAVE.replace(*leave) if leave[0] else LEAVE)
        return breaker

    return make


def ruled(change: Callable[[BreakerRules], BreakerRules]) -> Callable[[Store, BreakerRules], RedisBreaker]:
    """Return an honest breaker with other rules."""
    return lambda store, rules: RedisBreaker(store, change(rules))


class OneForAll(RedisBreaker):
    """Forgets to say whose circuit it is."""

    def key(self, service: str) -> str:
        """Return the same for all."""
        return "circuit:all"


class ForgetsAtTheStart(RedisBreaker):
    """Begins with closed circuits whenever a worker begins."""

    def __init__(self, store: Store, rules: BreakerRules) -> None:
        super().__init__(store, rules)
        self._begun: set[str] = set()

    async def enter(self, service: str) -> Permit:
        """Throw away what the other workers know."""
        if service not in self._begun:
            self._begun.add(service)
            await self.store.command("DEL", self.key(service))
        return await super().enter(service)


class InThisProcess:
    """Keeps the state in the memory of the worker."""

    def __init__(self, _store: Store, rules: BreakerRules) -> None:
        self._rules = rules
        self._state: dict[str, str] = {}
        self._failures: dict[str, int] = {}
        self._until_s: dict[str, float] = {}

    async def enter(self, service: str) -> Permit:
        """Ask the own memory."""
        if self._state.get(service, CLOSED) != OPEN:
            return Permit(True, 0)
        left_s = self._until_s[service] - time.monotonic()
        if left_s > 0:
            return Permit(False, 0, round(left_s * 1_000_000))
        self._state[service], self._failures[service] = HALF_OPEN, 0
        return Permit(True, 0, 0, Move(OPEN, HALF_OPEN))

    async def leave(self, service: str, _permit: Permit, outcome: str) -> Move | None:
        """Tell the own memory."""
        state = self._state.get(service, CLOSED)
        sign = 1 if outcome == "failure" else -1
        count = self._failures.get(service, 0) + sign if state == HALF_OPEN or sign > 0 else 0
        self._failures[service] = count
        if sign > 0 and (state == HALF_OPEN or count >= self._rules.failures):
            self._state[service] = OPEN
            self._until_s[service] = time.monotonic() + self._rules.open_us / 1_000_000
            return Move(state, OPEN)
        if state == HALF_OPEN and -count >= self._rules.successes:
            self._state[service], self._failures[service] = CLOSED, 0
            return Move(HALF_OPEN, CLOSED)
        return None

    async def states(self, services: tuple[str, ...]) -> dict[str, str]:
        """Return the states that this worker knows."""
        return {service: self._state.get(service, CLOSED) for service in services}


class StillCallsTheBackend(Breaking):
    """Decides first and calls nevertheless."""

    async def __call__(self, call: Call) -> Answer:
        """Answer CIRCUIT_OPEN only after the backend has answered, too."""
        answer = await super().__call__(call)
        if answer.code == "CIRCUIT_OPEN":
            await self.inner(call)
        return answer


class WrongStatus(Breaking):
    """Calls an open circuit an error of its own."""

    def reject(self, call: Call, service: str, permit: Permit) -> Answer:
        """Answer 500."""
        return replace(super().reject(call, service, permit), status=500)


class OkayWithAnError(Breaking):
    """Answers 200 and hides the error in the body."""

    def reject(self, call: Call, service: str, permit: Permit) -> Answer:
        """Answer 200."""
        return replace(super().reject(call, service, permit), status=200)


def _counts_client_errors(_ignored: tuple[str, ...]) -> Callable[[Answer], bool]:
    return lambda answer: answer.status >= 400


def _ignores_timeouts(ignored: tuple[str, ...]) -> Callable[[Answer], bool]:
    return FailureRules((*ignored, "UPSTREAM_TIMEOUT"))


def _counts_contention(_ignored: tuple[str, ...]) -> Callable[[Answer], bool]:
    return FailureRules(())


_TRIP, _RECOVERY, _ALONE = "TC-CB-001", "TC-CB-002", "TC-CB-004"
_HANGING, _TRIALS, _RESTARTED = "TC-CB-005", "TC-CB-006", "TC-CB-007"

DEFECTS = (
    Defect(
        "cb.never_opens",
        "Failures are not recorded.",
        "Breakers wrapped around a client that turns errors into answers, which then count as successes.",
        "Every request reaches the dead backend.",
        _TRIP,
        gateway(is_failure=lambda _ignored: lambda _answer: False),
    ),
    Defect(
        "cb.threshold_off_by_one",
        "The circuit opens with the 6th failure.",
        "> where >= is meant.",
        "The backend has 6 hits before the first rejection.",
        _TRIP,
        gateway(breaker=ruled(lambda rules: replace(rules, failures=rules.failures + 1))),
    ),
    Defect(
        "cb.threshold_too_low",
        "The circuit opens with the 4th failure.",
        "The same comparison, the other way.",
        "The 5th request in a row of failures is rejected already.",
        _TRIP,
        gateway(breaker=ruled(lambda rules: replace(rules, failures=max(1, rules.failures - 1)))),
    ),
    Defect(
        "cb.counts_non_consecutive",
        "A success does not start the count again.",
        "Counters of failures without a window and without a reset.",
        "5 failures among any number of successes open the circuit.",
        "TC-NEG-005",
        gateway(
            breaker=rewritten(leave=("elseif outcome == 'success' and failures > 0 then", "elseif false then")),
        ),
    ),
    Defect(
        "cb.counts_client_errors",
        "4xx counts as a failure of the service.",
        "Clients that raise for every status from 400 on.",
        "Five 404s open the circuit.",
        "TC-NEG-004",
        gateway(is_failure=_counts_client_errors),
    ),
    Defect(
        "cb.counts_contention",
        "A 503 that says LOCK_CONTENTION counts as a failure.",
        "Rules on the status alone.",
        "Contention of one user takes the service away from all.",
        "TC-INT-004",
        gateway(is_failure=_counts_contention),
    ),
    Defect(
        "cb.ignores_timeouts",
        "Only answers count; a backend that hangs gives none.",
        "Timeouts raised in another layer than the breaker's.",
        "A hanging backend never opens the circuit: every request takes the whole timeout.",
        _HANGING,
        gateway(is_failure=_ignores_timeouts),
    ),
    Defect(
        "cb.no_fast_fail",
        "While open, the backend is called all the same.",
        "Fallbacks computed after the call.",
        "The backend has hits while the circuit is open, and rejections are slow.",
        _HANGING,
        gateway(breaking=StillCallsTheBackend),
    ),
    Defect(
        "cb.wrong_status_when_open",
        "An open circuit answers 500.",
        "The breaker's own exception reaches the framework's handler.",
        "500 instead of 503 while open.",
        _TRIP,
        gateway(breaking=WrongStatus),
    ),
    Defect(
        "cb.ok_when_open",
        "An open circuit answers 200 with an error in the body.",
        "Fallback answers that look like success.",
        "200 with code CIRCUIT_OPEN.",
        _TRIP,
        gateway(breaking=OkayWithAnError),
    ),
    Defect(
        "cb.shared_across_services",
        "One circuit for all services.",
        "A breaker around the shared client, in place of one for each target.",
        "When one service fails, the others answer 503.",
        _ALONE,
        gateway(breaker=OneForAll),
    ),
    Defect(
        "cb.per_worker_state",
        "Each worker has circuits of its own.",
        "In-process breaker libraries behind several workers.",
        "It takes 5 failures for each worker; meanwhile answers are mixed.",
        _TRIP,
        gateway(breaker=InThisProcess),
    ),
    Defect(
        "cb.never_half_opens",
        "The period never ends.",
        "The timer is lost with the task that held it.",
        "No recovery: the service is back and every answer stays 503.",
        _RECOVERY,
        gateway(breaker=rewritten(enter=("if now < till then return", "if true then return"))),
    ),
    Defect(
        "cb.timer_restarted_by_rejects",
        "Each rejection begins the period anew.",
        "The time of the last failure is written for rejections, too.",
        "No recovery as long as there is traffic.",
        _RECOVERY,
        gateway(
            breaker=rewritten(
                enter=(
                    "if now < till then return",
                    "if now < till then redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + "
                    "(tonumber(redis.call('HGET', KEYS[1], 'period')) or 0))) return",
                ),
                leave=("'successes', 0, 'trial', 0,", "'successes', 0, 'trial', 0, 'period', open_us,"),
            )
        ),
    ),
    Defect(
        "cb.half_open_flood",
        "Half-open lets everything through.",
        "Half-open as a state with no limit of its own.",
        "A burst hits the recovering backend at once.",
        _TRIALS,
        gateway(breaker=rewritten(enter=("if now < trial then return", "if false then return"))),
    ),
    Defect(
        "cb.closes_after_one",
        "One success closes the circuit, where three are promised.",
        "The default of several libraries.",
        "After one success further failures are let through again, up to the threshold.",
        _TRIALS,
        gateway(breaker=ruled(lambda rules: replace(rules, successes=1))),
    ),
    Defect(
        "cb.reopens_without_period",
        "A failed trial opens the circuit for no time.",
        "The end of the period is computed once and kept.",
        "Trials follow one another without a pause.",
        _TRIALS,
        gateway(
            breaker=rewritten(
                leave=(
                    "if outcome == 'failure' then return open() end",
                    "if outcome == 'failure' then open_us = 0 return open() end",
                )
            )
        ),
    ),
    Defect(
        "cb.success_count_kept",
        "Successes of an earlier half-open phase still count.",
        "A counter that only closing resets.",
        "The second recovery needs fewer than 3 successes.",
        _TRIALS,
        gateway(
            breaker=rewritten(
                enter=("'state', state, 'successes', 0,", "'state', state,"),
                leave=("    'successes', 0, 'trial', 0,", "    'trial', 0,"),
            ),
        ),
    ),
    Defect(
        "cb.lost_on_restart_of_worker",
        "A worker that starts closes all circuits.",
        "State initialised by whoever comes up.",
        "An open circuit is closed again when a worker is restarted.",
        _RESTARTED,
        gateway(breaker=ForgetsAtTheStart),
    ),
)
