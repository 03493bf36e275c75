"""TC-INT: controls beside each other. Each may be right by itself, and wrong where it meets another."""

from collections.abc import Callable
from functools import partial

from proofload.cases.case import Case, Category, Priority
from proofload.cases.circuit_breaker.calls import BROKEN, restore
from proofload.cases.interaction import circuits, limits, store
from proofload.core.units import NS_PER_SECOND
from proofload.plan.target import Target

_EVERYTHING = "everything"
"""Disturbing this disturbs every other case (suite/schedule.py): it runs alone."""


def _takes(seconds: int, *, arrival: bool = False) -> Callable[[Target], int]:
    def expected_ns(target: Target) -> int:
        audit = target.policies.audit
        return seconds * NS_PER_SECOND + (audit.arrives_within if arrival and audit else 0)

    return expected_ns


_case = partial(Case, category=Category.INTERACTION, priority=Priority.HIGH)

CASES = (
    _case(
        id="TC-INT-001",
        title="Failing requests are not free of the limit",
        phase=2,
        purpose="Who guesses passwords or asks for what is not there spends its allowance like anybody else.",
        sends="more requests than the limit from one address, all of which fail behind the limiter",
        passes_when="exactly the allowed number got through to fail, and every further one was rejected",
        read_fail="the finding shows the failing request that was admitted beyond the limit",
        least_evidence="half the limit of failures, and more requests than the limit inside one window",
        needs=("policies.rate_limit", "users.login or an operation that accepts 4xx"),
        missing=limits.missing_failures,
        expected_ns=_takes(3),
        drive=limits.drive_failures,
        judge=limits.judge_failures,
    ),
    _case(
        id="TC-INT-002",
        title="Rejections are counted and on record",
        phase=5,
        purpose="A rate-limited request leaves its mark in the metrics and in the audit log.",
        sends="two clients well beyond their limit, one by one and all at once, in silence between two readings",
        passes_when="each 429 was counted under its route and status, and each left its event in the audit log",
        read_fail="the finding names the series or the requests that are missing",
        least_evidence="ten rejections",
        needs=("policies.rate_limit", "policies.metrics.url", "policies.audit.events.rate_limited"),
        missing=limits.missing_books,
        expected_ns=_takes(3, arrival=True),
        drive=limits.drive_books,
        judge=limits.judge_books,
    ),
    _case(
        id="TC-INT-003",
        title="Rejections open no circuit",
        phase=3,
        purpose="That a client is over its limit is no failure of the service that it asked for.",
        sends="one client far beyond its limit on an operation behind a circuit, then another client",
        passes_when="the circuit stayed closed and the other client was served",
        read_fail="the finding shows the call that met an open circuit, and what came before it",
        least_evidence="twice as many rejections as failures open the circuit",
        needs=("policies.rate_limit", "policies.circuit_breaker"),
        missing=circuits.missing_limited,
        expected_ns=_takes(3),
        drive=circuits.drive_rejections,
        judge=circuits.judge_rejections,
        uses=BROKEN,
    ),
    _case(
        id="TC-INT-004",
        title="Lock contention opens no circuit",
        phase=7,
        purpose="That a user's lock is held is no failure of the service.",
        sends="one user many times at once against its own lock, three times, then another user",
        passes_when="the circuit stayed closed however often contention was answered",
        read_fail="the finding shows the call that met an open circuit, and what came before it",
        least_evidence="twice as many contention answers as failures open the circuit",
        needs=("policies.locks", "policies.circuit_breaker"),
        missing=circuits.missing_locked,
        expected_ns=_takes(3),
        drive=circuits.drive_contention,
        judge=circuits.judge_contention,
    ),
    _case(
        id="TC-INT-005",
        title="An open circuit is seen by the other controls",
        phase=5,
        purpose="What an open circuit answers is counted, its opening is on record, and it neither costs nor saves "
        "allowance beyond what any answer does.",
        sends="a stopped service's circuit is opened, then called beyond a client's whole allowance between two "
        "readings",
        passes_when="each answer was counted, the opening stands in the audit log, and the limit came at its number",
        read_fail="the finding names the missing series, the missing event, or the request limited too early or late",
        least_evidence="a fault that was seen to hold, and half the limit of calls that met the open circuit",
        needs=(
            "policies.circuit_breaker",
            "faults",
            "policies.rate_limit",
            "policies.metrics.url",
            f"policies.audit.events.{circuits.OPENED}",
        ),
        missing=circuits.missing_open,
        expected_ns=_takes(6, arrival=True),
        drive=circuits.drive_open,
        judge=circuits.judge_open,
        disturbs=BROKEN,
        restore=restore,
    ),
    _case(
        id="TC-INT-006",
        title="The store of the limits goes and comes back",
        phase=6,
        purpose="Without its store the limiter does as promised; once it is back, limits and locks hold again.",
        sends="a few calls, the store is stopped on a lease and proven by a probe, calls meanwhile; then a whole "
        "allowance and a burst against a lock",
        passes_when="nothing was admitted uncounted where the policy says closed, and all works again afterwards",
        read_fail="the finding shows the call that was admitted without the store, or what stayed broken afterwards",
        least_evidence="a fault that was seen to hold and to be mended, and calls surely inside it",
        needs=("policies.rate_limit[].when_store_is_down", "faults.redis", "services.redis.health"),
        missing=store.missing,
        expected_ns=_takes(8),
        drive=store.drive_store,
        judge=store.judge_store,
        disturbs=frozenset({_EVERYTHING}),
    ),
    _case(
        id="TC-INT-007",
        title="Nobody spends another's allowance unauthenticated",
        phase=2,
        purpose="What a stranger sends in a user's name, with a token that nobody signed, costs that user nothing.",
        sends="a flood beyond the limit with a forged token from one address, then half the limit by the user itself",
        passes_when="the flood was refused, and no request of the user was rejected",
        read_fail="the finding shows the user's request that was rejected, and how little it had sent",
        least_evidence="ten forged requests that were refused, and half the limit of the user's own",
        needs=("policies.rate_limit", "users.login", "several client addresses"),
        missing=limits.missing_tokens,
        expected_ns=_takes(3),
        drive=limits.drive_forged,
        judge=limits.judge_forged,
    ),
)
