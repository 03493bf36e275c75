"""TC-NEG: what must not happen. Controls that strike the innocent, can be talked round, or give secrets away."""

from collections.abc import Callable, Sequence
from functools import partial

from proofload.cases.case import Case, Category, Priority
from proofload.cases.circuit_breaker.calls import BROKEN, restore
from proofload.cases.circuit_breaker.independence import APART
from proofload.cases.negative import breakers, health, ledgers, limits, secrets, users
from proofload.core.units import NS_PER_SECOND
from proofload.plan.target import Target


def _takes(seconds: int, periods: Callable[[Target], int] = lambda _: 0) -> Callable[[Target], int]:
    return lambda target: seconds * NS_PER_SECOND + periods(target)


def _arrival(target: Target) -> int:
    return target.policies.audit.arrives_within if target.policies.audit else 0


_negative = partial(Case, category=Category.NEGATIVE, priority=Priority.NEGATIVE)

_LIMITED: Sequence[Case] = (
    _negative(
        id="TC-NEG-001",
        title="Traffic under the limit is never rejected",
        phase=2,
        purpose="Whoever keeps to the limit never meets it, to the last request that is allowed.",
        sends="exactly the allowed number of requests from several fresh addresses: one by one, all at once, and over "
        "every operation of the probe's service that can be repeated",
        passes_when="none of them was rejected",
        read_fail="the finding shows the rejected request and how few could count against its client by then",
        least_evidence="twice the limit, all of it sent",
        needs=("policies.rate_limit", "several client addresses"),
        missing=limits.missing,
        expected_ns=_takes(3),
        drive=limits.drive_under,
        judge=limits.judge_under,
    ),
    _negative(
        id="TC-NEG-002",
        title="One client's excess does not touch another",
        phase=2,
        purpose="The allowance belongs to the client: a greedy one takes nothing from a quiet one.",
        sends="twice the limit from one address, and a quarter of it from each of three others, beside it and after it",
        passes_when="the greedy client was limited and no request of the quiet ones was rejected",
        read_fail="the finding names the quiet client, the rejected request, and how little it had sent",
        least_evidence="one client that surely used up its limit, and others that were served meanwhile",
        needs=("policies.rate_limit", "several client addresses"),
        missing=limits.missing,
        expected_ns=_takes(3),
        drive=limits.drive_excess,
        judge=limits.judge_excess,
    ),
    _negative(
        id="TC-NEG-003",
        title="A forged X-Forwarded-For opens nothing",
        phase=2,
        purpose="Who a client is follows from its connection, never from what it says of itself.",
        sends=f"the limit and three more from one address, then {len(limits.FORGED)} kinds of forwarding headers from "
        "it, each with four addresses; then requests from elsewhere in another client's name, and that client's own",
        passes_when="every forged request of the limited client was rejected, and the client whose name was used still "
        "had its whole allowance",
        read_fail="the finding names the header, and the request that it opened the way for",
        least_evidence="a client that surely used up its limit, and as many requests of the other as it is owed",
        needs=("policies.rate_limit", "several client addresses"),
        missing=limits.missing,
        expected_ns=_takes(3),
        drive=limits.drive_forged,
        judge=limits.judge_forged,
    ),
)

_CIRCUITS: Sequence[Case] = (
    _negative(
        id="TC-NEG-004",
        title="4xx never trips a circuit",
        phase=3,
        purpose="That a client asks for what isn't there is no failure of the service.",
        sends="four times as many requests that the service answers 4xx as failures would open its circuit, one by one "
        "and all at once, and two good ones",
        passes_when="no request was rejected by the circuit",
        read_fail="the finding shows the rejected call and the 4xx before it",
        least_evidence="twice as many 4xx as failures would open the circuit",
        needs=("policies.circuit_breaker.failing_operation",),
        missing=breakers.missing_client_error,
        expected_ns=_takes(2),
        drive=breakers.drive_client_errors,
        judge=breakers.judge_client_errors,
        uses=BROKEN,
    ),
    _negative(
        id="TC-NEG-005",
        title="Four failures and a success never trip a circuit",
        phase=3,
        purpose="Only failures in a row open a circuit: a success starts the count again.",
        sends="one failure less than opens the circuit, while the service is stopped, and then two successes; three "
        "times",
        passes_when="the failures came through, and no call was rejected by the circuit",
        read_fail="the finding shows the rejected call, and the failures and successes before it",
        least_evidence="failures of two rounds while a probe saw the service down",
        needs=("policies.circuit_breaker", "faults", "services.<name>.health"),
        missing=breakers.missing_failures_apart,
        expected_ns=_takes(8),
        drive=breakers.drive_failures_apart,
        judge=breakers.judge_failures_apart,
        disturbs=BROKEN,
        restore=restore,
    ),
    _negative(
        id="TC-NEG-006",
        title="A healthy service stays served while another's circuit is open",
        phase=3,
        purpose="Whoever does not need the failing service does not notice that it fails.",
        sends=f"nothing of its own: it looks at the calls of healthy services that {APART} made before and after "
        "the other's circuit opened; that case asks whether circuits count by themselves, this one what users got",
        passes_when="every one of these calls was served",
        read_fail="the finding names the service and the call that was not served",
        least_evidence="five calls of each healthy service",
        needs=("policies.circuit_breaker of two services", "faults", "services.<name>.health"),
        missing=breakers.missing_healthy,
        expected_ns=lambda _: 0,
        drive=breakers.drive_nothing,
        judge=breakers.judge_healthy_served,
        prerequisites=(APART,),
    ),
)

_OTHERS: Sequence[Case] = (
    _negative(
        id="TC-NEG-007",
        title="Different users never contend",
        phase=7,
        purpose="A lock on a user is nobody else's business.",
        sends="every locking operation by eight users at the same instant, twice, each on its own account only",
        passes_when="nobody was refused for contention",
        read_fail="the finding shows the refused operation and whose operation was under way at that time",
        least_evidence="operations of two users that overlap",
        needs=("policies.locks",),
        missing=users.missing,
        expected_ns=_takes(4),
        drive=users.drive_strangers,
        judge=users.judge_strangers,
        uses=frozenset({"service:order", "service:user"}),
    ),
    _negative(
        id="TC-NEG-008",
        title="No secret in the audit log or in an error",
        phase=5,
        purpose="What a client confides to the target is told to nobody, least of all when something goes wrong.",
        sends="log-ins with wrong passwords and malformed bodies, worthless tokens, and requests beyond the limit with "
        "a good token; each holds a secret that can be looked for",
        passes_when="no line of the audit log and no error's body holds a password or a token, plain or encoded",
        read_fail="the finding names the line, or the row of the answer; the secret itself is never shown",
        least_evidence="five errors with their bodies, and five lines of the log where one is declared",
        needs=("users.login", "policies.audit for the log"),
        missing=secrets.missing,
        expected_ns=_takes(2, _arrival),
        drive=secrets.drive_errors,
        judge=secrets.judge_kept_secret,
    ),
    _negative(
        id="TC-NEG-009",
        title="Health stays answerable under a limit",
        phase=2,
        purpose="Whoever watches the target's health is never told that it asks too often.",
        sends="the limit and a few more from one address; then every exempt path ten times from it, and a few more of "
        "the limited requests",
        passes_when="no exempt path was limited, though everything else of that client was, before and after",
        read_fail="the finding shows the exempt path that was answered with the limiter's rejection",
        least_evidence="ten requests of each exempt path by a client that was being limited",
        needs=("policies.rate_limit.exempt", "several client addresses"),
        missing=health.missing,
        expected_ns=_takes(2),
        drive=health.drive_limited,
        judge=health.judge_limited,
    ),
    _negative(
        id="TC-NEG-010",
        title="Whoever is served is counted and on record",
        phase=5,
        purpose="That others are being rejected is no reason to lose a legitimate request from the books.",
        sends="log-ins and reads by five polite users, beside a client that goes far beyond its limit, in silence",
        passes_when="each answer is counted, and each log-in stands in the audit log with its user and address",
        read_fail="the finding names the counter and what it lacks, or the log-in without an entry",
        least_evidence="100 answers between the two readings, and 15 log-ins",
        needs=("policies.metrics.url", "policies.audit.events.login_succeeded", "policies.rate_limit", "users.login"),
        missing=ledgers.missing,
        expected_ns=_takes(5, _arrival),
        drive=ledgers.drive_served,
        judge=ledgers.judge_served,
    ),
)

CASES = (*_LIMITED, *_CIRCUITS, *_OTHERS)
