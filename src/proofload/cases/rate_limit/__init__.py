"""TC-RL: rate limits. `driving` says what is sent, `judging` what is asked of the judges, `keys` who is limited."""

from proofload.cases.case import Case, Category, Priority
from proofload.cases.rate_limit.driving import (
    drive_enforcement,
    drive_headers,
    missing,
    missing_headers,
    one_window_and,
)
from proofload.cases.rate_limit.judging import judge_enforcement, judge_header_truth
from proofload.cases.rate_limit.keys import (
    drive_clients,
    drive_services,
    judge_clients,
    judge_services,
    missing_clients,
    missing_service,
)
from proofload.core.units import NS_PER_SECOND

CASES = (
    Case(
        id="TC-RL-001",
        title="Gateway rate limit enforcement",
        category=Category.RATE_LIMIT,
        priority=Priority.CRITICAL,
        phase=2,
        purpose="The gateway admits exactly its limit for each client, and nothing gets round it.",
        sends="the limit and a few more one by one from one address; half as many again, all at once, from another; "
        "forged forwarding headers, queries and new connections from the limited address; a client below the limit; "
        "knocks until the window ends, and requests after it",
        passes_when="never more than the limit was admitted in a window, no request below it was rejected, other "
        "clients were served meanwhile, nothing opened a new allowance, exempt paths stayed exempt, and no rejected "
        "request reached the backend",
        read_fail="the finding shows the smallest set of requests that breaks the promise, such as the 101st admitted "
        "one with its times; rows are line numbers of history/TC-RL-001.parquet",
        least_evidence="more requests than the limit surely decided inside one window",
        needs=("policies.rate_limit",),
        missing=missing,
        expected_ns=one_window_and(4),
        drive=drive_enforcement,
        judge=judge_enforcement,
    ),
    Case(
        id="TC-RL-002",
        title="Rate limit headers",
        category=Category.RATE_LIMIT,
        priority=Priority.HIGH,
        phase=2,
        purpose="What the headers tell a client about its allowance is true.",
        sends="two whole allowances and three requests more, from two addresses; a burst from a third; and requests at "
        "the instants that Reset and Retry-After named",
        passes_when="every answer carries the declared headers; the limit is the limit; Remaining goes down by one to "
        "0 and never repeats; Reset is in its unit, and a request at that instant is admitted; so with Retry-After",
        read_fail="the finding names the first answer whose header is absent or wrong, and what it should have said",
        least_evidence="as many answers as the limit, and one request sent at the announced reset",
        needs=("policies.rate_limit", "policies.rate_limit.headers"),
        missing=missing_headers,
        expected_ns=one_window_and(3),
        drive=drive_headers,
        judge=judge_header_truth,
    ),
    Case(
        id="TC-RL-003",
        title="Rate limits of single services",
        category=Category.RATE_LIMIT,
        priority=Priority.HIGH,
        phase=2,
        purpose="A service's own limit holds beside the gateway's, for each client, and for that service only.",
        sends="for each service with a limit of its own, that limit and a few requests more: one by one from one "
        "address, all at once from another; then requests of another service from the limited address",
        passes_when="exactly the service's limit was admitted from each address, other clients were served meanwhile, "
        "and so was the limited client by the other service",
        read_fail="the finding names the service's limit and shows the request that was admitted or rejected wrongly",
        least_evidence="more requests than the service's limit surely decided inside one window",
        needs=("policies.rate_limit with a service, below the gateway's limit", "several client addresses"),
        missing=missing_service,
        expected_ns=lambda _: 3 * NS_PER_SECOND,
        drive=drive_services,
        judge=judge_services,
        uses=frozenset({"service:user"}),
    ),
    Case(
        id="TC-RL-004",
        title="Clients in parallel, each limited on its own",
        category=Category.RATE_LIMIT,
        priority=Priority.HIGH,
        phase=2,
        purpose="Under load from many addresses each has its own allowance: no leak between keys, in either direction.",
        sends="the limit and a few more from each of six addresses, side by side, and half of it from each of three",
        passes_when="each of the six was admitted exactly the limit, and nobody below it was rejected",
        read_fail="the finding names the address, and the request that was admitted or rejected wrongly",
        least_evidence="six clients that met their limit, and more requests than the limit inside one window",
        needs=("policies.rate_limit", "several client addresses"),
        missing=missing_clients,
        expected_ns=lambda _: 4 * NS_PER_SECOND,
        drive=drive_clients,
        judge=judge_clients,
    ),
)
