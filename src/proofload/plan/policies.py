"""What each control promises, as the target file declares it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import Field, model_validator

from proofload.core.units import NS_PER_SECOND
from proofload.plan.faults import Switch
from proofload.plan.values import Declared, DurationNs, HttpUrl

ResetUnit = Literal["epoch_seconds", "epoch_milliseconds", "delta_seconds", "http_date", "iso8601", "auto"]
Algorithm = Literal["fixed_window", "sliding_log", "sliding_window_counter", "token_bucket", "gcra", "leaky_bucket"]


class RateLimitHeaders(Declared):
    """The names of the headers that tell a client its allowance, and the units they are in. Null: not promised."""

    limit: str | None = "X-RateLimit-Limit"
    """Holds the limit."""
    limit_tells: Literal["limit", "burst"] | None = None
    """Which number `limit` holds: the limit, or a bucket's `burst`; null: either, where a burst is declared."""
    remaining: str | None = "X-RateLimit-Remaining"
    """Holds how many requests are left."""
    reset: str | None = "X-RateLimit-Reset"
    """Holds when the window ends."""
    reset_unit: ResetUnit = "epoch_seconds"
    """What `reset` is written in, decimals included; `auto` is any unit that its values are unambiguously in."""
    retry_after: str | None = "Retry-After"
    """On rejections only; seconds or a date."""
    ietf: bool = False
    """The draft's structured fields `RateLimit` and `RateLimit-Policy` are promised as well."""


class RateLimitPolicy(Declared):
    """A promise to admit no more than `limit` requests in each `window` for each key."""

    name: str = "gateway"
    """What reports call the limit."""
    scope: Literal["client_ip", "user", "global"] = "client_ip"
    """What a key is: each client address, each authenticated user, or one key for all."""
    limit: int = Field(ge=1, le=1_000_000)
    """Requests that each window admits; for a bucket, the requests that flow in over one window."""
    window: DurationNs = Field(ge=NS_PER_SECOND // 100)
    """How long a window lasts."""
    algorithm: Algorithm = "fixed_window"
    """How the limiter counts."""
    alignment: Literal["first_request", "clock"] = "first_request"
    """Where windows (fixed ones, or a counter's) begin: at a key's first request, or on whole windows of the clock."""
    burst: int | None = Field(default=None, ge=0)
    """Bucket size of token_bucket, gcra and leaky_bucket, in requests; null means `limit`."""
    applies_to: tuple[str, ...] = ("/*",)
    """Path globs that the limit covers."""
    exempt: tuple[str, ...] = ()
    """Paths that are never limited."""
    probe: str
    """The operation that spends the allowance in a test: cheap, and without effects that matter."""
    status: int = Field(default=429, ge=400, le=599)
    """The status of a rejection."""
    code: str | None = None
    """The stable error code in the JSON body of a rejection, where there is one."""
    headers: RateLimitHeaders = RateLimitHeaders()
    """The headers that are promised: those of `X-RateLimit-*` unless said otherwise."""
    when_store_is_down: Literal["open", "closed"] | None = None
    """What the limiter promises when it cannot reach its store; null where it promises nothing."""
    service: str | None = None
    """The service whose own limit this is; null for the gateway's limit over all of them."""

    @property
    def is_bucket(self) -> bool:
        """Return whether the allowance flows in all the time, in place of coming back when a window ends."""
        return self.algorithm in ("token_bucket", "gcra", "leaky_bucket")

    @property
    def allowance(self) -> int:
        """Return how many requests a client that has sent nothing may send at once: a bucket's size, or the limit."""
        return max(1, self.burst) if self.is_bucket and self.burst is not None else self.limit

    @property
    def told_limits(self) -> tuple[int, ...]:
        """Return the numbers that an honest limit header may hold; the first is the likeliest."""
        tells = self.headers.limit_tells
        if tells is None:
            return tuple(dict.fromkeys((self.limit, self.allowance)))
        return (self.allowance if tells == "burst" else self.limit,)

    def covers(self, path: str) -> bool:
        """Return whether the limit counts requests of this path; what is exempt it does not count."""
        return _matches(path, self.applies_to) and not self.exempts(path)

    def exempts(self, path: str) -> bool:
        """Return whether the path is declared as never limited."""
        return _matches(path, self.exempt)


class CircuitState(Declared):
    """The gauge on the gateway's metrics page that tells the state of a circuit."""

    gauge: str
    """Its name, such as circuit_breaker_state."""
    only: dict[str, str] = Field(default_factory=dict)
    """Labels that select the series of this circuit, such as `service: order`."""
    closed: float = 0
    """Its value while the circuit is closed."""
    open: float = 1
    """Its value while the circuit is open; any other is half-open."""


class CircuitBreakerPolicy(Declared):
    """A promise to stop calling a failing service, to answer at once meanwhile, and to try again later."""

    service: str
    """The service that the circuit protects."""
    operation: str
    """An operation that reaches the service through the gateway and normally succeeds."""
    failing_operation: str | None = None
    """An operation that the service answers with a 4xx; it must never count as a failure."""
    failures: int = Field(default=5, ge=1)
    """Consecutive failures that open the circuit."""
    ratio: float | None = Field(default=None, gt=0, le=1)
    """Share of failures in `ratio_window` that opens the circuit, in place of a consecutive count."""
    ratio_window: DurationNs | None = None
    """The span over which `ratio` is counted."""
    minimum_calls: int = Field(default=1, ge=1)
    """Calls in the window below which the ratio is not looked at."""
    ratio_calls: int | None = Field(default=None, ge=1)
    """The number of latest calls over which `ratio` is counted, for a breaker that counts calls and not time."""
    tripping_call: Literal["service", "circuit"] | None = None
    """Who answers the call whose failure opens the circuit: the service, or already the circuit, as pybreaker does.
    Null accepts either, and then one failure too few can be told only by the service's own count."""
    open_for: DurationNs = 60 * NS_PER_SECOND
    """How long the circuit stays open before it tries again."""
    half_open_trials: int = Field(default=1, ge=1)
    """Trial requests that half-open lets through at one time."""
    successes: int = Field(default=3, ge=1)
    """Successful trials that close the circuit."""
    status_when_open: int = Field(default=503, ge=400, le=599)
    """The status of a rejection while the circuit is open."""
    code_when_open: str | None = "CIRCUIT_OPEN"
    """The stable error code in its JSON body; null where none is promised."""
    retry_after: str | None = "Retry-After"
    """The header that tells when to come back; null where none is promised."""
    fail_fast_within: DurationNs = NS_PER_SECOND // 4
    """How long a rejection may take at the most."""
    state: CircuitState | None = None
    """The gauge of its state; null where there is none."""


class LockMetrics(Declared):
    """Under which names the service of a lock counts what happens to it, on its own metrics page."""

    contended: str | None = None
    """The counter of refusals because the lock was taken; null where there is none."""
    acquired: str | None = None
    """The counter of locks taken; null where there is none."""
    only: dict[str, str] = Field(default_factory=dict)
    """Labels that select the series of this lock, such as `operation: deposit`."""


class LockPolicy(Declared):
    """A promise that operations on one user happen one at a time."""

    name: str
    """What reports call the lock."""
    operation: str
    """The operation that takes the lock."""
    kind: Literal["deposit", "withdraw", "order", "other"] = "other"
    """What the operation does to the user's balance."""
    on_contention: Literal["reject", "wait"] = "reject"
    """What happens to an operation that finds the lock taken."""
    status: int = Field(default=503, ge=400, le=599)
    """The status of a rejection."""
    code: str | None = "LOCK_CONTENTION"
    """The stable error code in its JSON body; null where none is promised."""
    code_field: str | None = None
    """Where the body tells the code: names joined by dots, such as `errors.0.code`; null looks for it anywhere."""
    expires_after: DurationNs = 5 * NS_PER_SECOND
    """When the lock of a dead holder is free again."""
    holds_at_least: DurationNs | None = None
    """How long the operation surely holds the lock; without it exactly-one-of-N may not be told."""
    concurrency: int = Field(default=10, ge=2, le=200)
    """How many requests a test releases at once."""
    amount: int | None = Field(default=None, ge=1)
    """What the operation moves, in the currency's smallest unit; without it money is not reckoned."""
    balance: str | None = None
    """The operation that reads the user's balance."""
    balance_field: str = "balance"
    """Where the balance is in JSON answers: names joined by dots. A number, or a text such as "997.00"."""
    balance_decimals: int = Field(default=0, ge=0, le=18)
    """Digits after the point of the balances that answers tell: with 2, 997.00 is 99,700 of the smallest unit."""
    metrics: LockMetrics | None = None
    """The counters of this lock; null where it has none."""


class MetricsPolicy(Declared):
    """Where the target counts its requests, and under which names."""

    url: HttpUrl | None = None
    """The /metrics endpoint of the gateway."""
    prometheus: HttpUrl | None = None
    """A Prometheus server that scrapes the target, to be asked as well."""
    requests_total: str = "http_requests_total"
    """The counter of answered requests."""
    labels: dict[str, str] = Field(default={"route": "route", "method": "method", "status": "status"})
    """What we call a label, to what the target calls it."""
    only: dict[str, str] = Field(default_factory=dict)
    """Labels, in the target's words, that select the series to compare, such as `service: gateway`."""
    uncounted: tuple[str, ...] = ()
    """Routes that are no traffic and must not be counted, such as /health."""
    survives_restart: bool = False
    """Counts outlive a restart of the gateway, as those of several workers do that keep them in shared files."""
    exclusive: bool = False
    """Nobody else sends requests to the target during a run, so every count beyond ours is wrong."""
    durations: str | None = None
    """The histogram of request durations in seconds, labelled with route and method; null where there is none."""
    open_files: str | None = None
    """The gauge of a process's open files and connections, such as process_open_fds; null where there is none."""
    memory: str | None = None
    """The gauge of the memory it has in use, such as process_resident_memory_bytes."""
    cpu: str | None = None
    """The counter of its CPU seconds, such as process_cpu_seconds_total."""
    audit_events: str | None = None
    """The counter of security events, labelled with event, such as audit_events_total; null where there is none."""
    error_bound: float = Field(default=0.01, gt=0, lt=1)
    """The declared bound on the error of a count; 0 is expected."""
    switch: Switch | None = None
    """What switches the metrics off for a moment, declared like a fault, so that their cost can be measured."""
    overhead_at_most: float = Field(default=0.05, gt=0, lt=1)
    """The share that metrics may add to the time of a request."""


class AuditPolicy(Declared):
    """Where the target writes its security events, and what each entry must hold."""

    files: tuple[str, ...] = ()
    """Paths or globs of log files, rotated ones included."""
    format: Literal["json", "logfmt", "rfc5424", "text"] = "json"
    """What a line is, inside the envelope that Docker, Kubernetes or journald may have put it into."""
    pattern: str | None = None
    """For `text`: a regular expression whose named groups are fields, such as `(?P<time>\\S+) (?P<event>\\w+)`."""
    loki: HttpUrl | None = None
    """Address of a Loki server that receives the log."""
    loki_query: str | None = None
    """The LogQL query that finds the entries."""
    required_fields: tuple[str, ...] = ("time", "event", "user", "ip", "request_id")
    """What every entry must hold, in our words; `fields` maps them to the target's."""
    fields: dict[str, str] = Field(default_factory=dict)
    """What we call a field, to what the target calls it."""
    events: dict[str, str] = Field(default_factory=dict)
    """What we call an event (login_failed), to what the target calls it."""
    user_format: str | None = Field(default=None, pattern=r"\$\{user\.name\}")
    """How entries name a user, such as `${user.name}@example.com`; null where they may name it in any one way."""
    request_ids: Literal["ours", "theirs"] | None = None
    """Whose request ids are promised in entries: those that clients send, or the target's own; null for no promise."""
    tells: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """An operation, to the events (in our words) that its success leaves, over all services, under one request id."""
    arrives_within: DurationNs = 5 * NS_PER_SECOND
    """How long an event may take to be found in the log."""
    switch: Switch | None = None
    """What switches the log off for a moment, declared like a fault, so that its cost can be measured."""
    overhead_at_most: float = Field(default=0.05, gt=0, lt=1)
    """The share that the log may add to the time of an operation that leaves an event."""

    @model_validator(mode="after")
    def _has_pattern(self) -> Self:
        if (self.format == "text") != (self.pattern is not None):
            raise ValueError("`pattern` belongs to `format: text`, and `format: text` needs it")
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groupindex
            except re.error as error:
                raise ValueError(f"`pattern` is no regular expression: {error}") from error
            if not groups:
                raise ValueError("`pattern` has no named group, such as (?P<event>...)")
        return self

    @property
    def is_readable(self) -> bool:
        """Return whether the log can be read at all: from files, or from Loki."""
        return bool(self.files or (self.loki and self.loki_query))


class LatencyPolicy(Declared):
    """What is promised of response times; without bounds the figures become a baseline."""

    operations: tuple[str, ...] = ()
    """The operations to measure; empty means every operation that has no lasting effect."""
    p90_within: DurationNs | None = None
    """What 90 % of the responses keep within."""
    p99_within: DurationNs | None = None
    """What 99 % of the responses keep within."""
    levels: tuple[int, ...] = Field(default=(10, 40, 100), min_length=2, max_length=6)
    """Loads to compare, in requests a second to each service: at ease, moderate, high."""
    routing_within: DurationNs | None = None
    """What the gateway adds to the time of its services at the most, in the mean."""


class OverloadPolicy(Declared):
    """What is promised beyond capacity."""

    operation: str
    """The operation that is sent beyond capacity."""
    health: str
    """The operation that must stay answerable, or its path, such as `/health`."""
    starts_at: int = Field(default=20, ge=1, le=100_000)
    """Requests a second that the target carries with ease: the baseline, from which the load climbs."""
    most: int = Field(default=2_000, ge=2, le=1_000_000)
    """Requests a second beyond which capacity is not looked for."""
    keeps: float = Field(default=0.7, gt=0, le=1)
    """Share of the peak goodput that must remain at twice the capacity."""
    rejects_with: tuple[int, ...] = (429, 503)
    """Statuses by which an overloaded target may refuse."""
    recovers_within: DurationNs = 30 * NS_PER_SECOND
    """When latency and errors are back to normal after the load has gone."""
    error_marks: tuple[str, ...] = ()
    """What the body of an error holds, whatever its status, such as `"code":`: an error that says 200 is one too."""


class OrdersPolicy(Declared):
    """A promise that an order and its payment both stand, or neither, whatever dies in between."""

    order: str
    """The operation that buys, for `price`."""
    price: int = Field(ge=1)
    """What one order costs, in the currency's smallest unit."""
    book: str
    """The operation that lists a user's orders."""
    book_field: str = "orders"
    """Where the list stands in its JSON answer: names joined by dots."""
    amount_field: str = "total_cents"
    """What an order of the list costs."""
    status_field: str = "status"
    """What has become of it."""
    paid: tuple[str, ...] = ("confirmed",)
    """The statuses of orders that were paid."""
    pending: tuple[str, ...] = ("pending",)
    """The statuses of orders that are not settled yet."""
    deposit: str
    """The operation that puts `deposited` on a user's account."""
    deposited: int = Field(ge=1)
    """What one deposit adds, in the currency's smallest unit."""
    balance: str
    """The operation that reads the user's balance."""
    balance_field: str = "balance"
    """Where the balance stands in its JSON answer: names joined by dots."""
    idempotency_key: str | None = None
    """The header by which a repeated order is known to be the same one; null where none is promised."""
    id_field: str = "order_id"
    """Where an order's answer tells which order it made: names joined by dots."""
    settles_within: DurationNs = 20 * NS_PER_SECOND
    """When nothing is pending any more, once the service is back."""


class Policies(Declared):
    """All controls that the target declares; what is absent is not tested, and said to be SKIPPED."""

    rate_limit: tuple[RateLimitPolicy, ...] = ()
    """Limits on the rate of requests."""
    circuit_breaker: tuple[CircuitBreakerPolicy, ...] = ()
    """Circuit breakers, one for each service at the most."""
    locks: tuple[LockPolicy, ...] = ()
    """Operations that exclude one another for each user."""
    metrics: MetricsPolicy | None = None
    """The target's own count of its requests."""
    audit: AuditPolicy | None = None
    """The target's log of security events."""
    latency: LatencyPolicy | None = None
    """Response times."""
    orders: OrdersPolicy | None = None
    """Orders and the money for them."""
    overload: OverloadPolicy | None = None
    """Behaviour beyond capacity."""


def _matches(path: str, globs: Iterable[str]) -> bool:
    bare = path.split("?", 1)[0]
    return any(fnmatchcase(bare, glob) for glob in globs)
