"""Simulated books of a target: request counters scraped with requests in flight, and audit logs written by workers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from proofload.core.seeds import stream
from proofload.judge.audit import AuditEvidence, expect, judge_audit
from proofload.judge.reconcile import Foreign, Route, judge_metrics
from proofload.judge.verdict import Outcome
from proofload.plan.policies import AuditPolicy, MetricsPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.record.ledger import AuditEntry, Ledgers, Reading, Sample

MS, S = 1_000_000, 1_000_000_000
OPERATIONS = {"read": Route("/balance", "GET"), "login": Route("/login", "POST")}
POLICY = MetricsPolicy()
AUDIT = AuditPolicy(arrives_within="1s")
REQUEST_ID = "run7-TC-r{}"
"""As the engine makes them: all of a run begin alike, so that an id of ours is known for one."""


@dataclass
class Event:
    """One request at the server: when it was counted, and as what."""

    row: int
    at: int
    operation: str
    status: int
    worker: int


def traffic(dice, count):
    """Return exchanges and what the server did: some answers are lost on the way, some requests never arrive."""
    loss, spread = dice.choice([0.0, 0.0, 0.01]), dice.choice([1, 5]) * MS
    exchanges, events = [], []
    for row in range(count):
        operation = dice.choice(list(OPERATIONS))
        status = dice.choices([200, 401, 429, 503], [80, 8, 10, 2])[0]
        sent = 10 * S + row * 2 * MS + dice.randrange(MS)
        arrived = sent + int(dice.expovariate(1 / spread))
        counted = arrived + int(dice.expovariate(1 / spread))
        done = counted + int(dice.expovariate(1 / spread)) - dice.randrange(MS)
        reached, answered = dice.random() >= loss, dice.random() >= loss
        if reached:
            events.append(Event(row, counted, operation, status, dice.randrange(2)))
        ok = reached and answered
        ending, fault = (Ending.ANSWERED, Fault.NONE) if ok else (Ending.UNKNOWN, Fault.TIMEOUT)
        times = (sent, sent, max(sent, done) if ok else sent + S, max(sent, done) if ok else sent + S)
        rest = (ending, fault, status if ok else 0, 1, 1, REQUEST_ID.format(row))
        exchanges.append(Exchange(row, "w", operation, row % 7, "127.0.0.9", 1, *times, *rest))
    return exchanges, events


def counted(events, defect, dice):
    """Return the labelled increments that the server makes, with their instants."""
    made = []
    for event in events:
        route, status, times = OPERATIONS[event.operation], str(event.status), 1
        if defect == "mon.rejected_not_counted" and event.status == 429:
            times = 0
        if defect == "mon.errors_not_counted" and event.status == 503:
            times = 0
        if defect == "mon.double_counted":
            times = 2
        if defect == "mon.lost_under_concurrency" and dice.random() < 0.03:
            times = 0
        if defect == "mon.wrong_status_label" and event.status == 429:
            status = "200"
        path = f"/balance/{event.row}" if defect == "mon.raw_path_label" and event.operation == "read" else route.route
        made += [(event.at, path, route.method, status, event.worker)] * times
    return made


def scrape(made, at, dice, defect, foreign):
    """Return a reading at `at`; the values held at one instant inside its interval."""
    inside = at + dice.randrange(5 * MS)
    worker = dice.randrange(2) if defect == "mon.per_worker_registry" else None
    counts = {}
    for when, route, method, status, of_worker in made + foreign:
        reset = defect == "mon.reset_on_reload" and inside > 10 * S + 300 * MS > when
        if when <= inside and worker in (None, of_worker) and not reset:
            counts[route, method, status] = counts.get((route, method, status), 0) + 1
    samples = tuple(
        Sample("http_requests_total", {"route": route, "method": method, "status": status}, float(n))
        for (route, method, status), n in counts.items()
    )
    return Reading("gateway", "x", at, at + 5 * MS, samples)


METRIC_DEFECTS = (
    "mon.rejected_not_counted",
    "mon.errors_not_counted",
    "mon.double_counted",
    "mon.lost_under_concurrency",
    "mon.wrong_status_label",
    "mon.per_worker_registry",
    "mon.reset_on_reload",
    "mon.raw_path_label",
)


def metrics_world(seed, defect="", count=500):
    """Return the findings of one world, and whether someone who knew all true counts could tell a defect."""
    dice = stream(seed, "metrics", defect, count)
    exchanges, events = traffic(dice, count)
    shared = dice.random() < 0.3 and not defect
    rate = dice.choice([1, 20]) if shared else 0
    foreign = [(dice.randrange(30 * S), "/balance", "GET", "200", 0) for _ in range(30 * rate)]
    made = counted(events, defect, dice)
    end = exchanges[-1].sent_ns
    # Before and after are mostly taken in quiet, and now and then while requests are in flight.
    first = 8 * S if dice.random() < 0.7 else 10 * S + dice.randrange(100 * MS)
    last = end + 4 * S if dice.random() < 0.7 else end + dice.randrange(1, 1_200) * MS
    instants = sorted({first, *(dice.randrange(first, last) for _ in range(dice.randrange(3))), last})
    readings = [scrape(made, at, dice, defect, foreign) for at in instants]
    quiet = (scrape([], 2 * S, dice, "", foreign), scrape([], 7 * S, dice, "", foreign)) if shared else None
    who = Foreign(exclusive=not shared, quiet=quiet)
    findings = judge_metrics(POLICY, History.of(exchanges), readings, operations=OPERATIONS, foreign=who)
    right = counted(events, "", dice)
    # What only the page does wrong is not seen in what was counted.
    at_page = defect in ("mon.per_worker_registry", "mon.reset_on_reload")
    return findings, at_page or differs(right, made, POLICY.error_bound)


def differs(right, made, bound):
    """Say whether the increments differ from the right ones by more than the bound, in any series."""
    series = [*{one[1:4] for one in right + made}]
    for key in series:
        true, theirs = (sum(one[1:4] == key for one in side) for side in (right, made))
        if abs(true - theirs) > bound * max(1, true):
            return True
    return False


AUDIT_DEFECTS = (
    "audit.dropped_when_busy",
    "audit.sampled_0_1_percent",
    "audit.duplicated",
    "audit.failed_login_missing",
    "audit.wrong_user",
    "audit.no_request_id",
    "audit.wrong_ip",
    "audit.interleaved",
    "audit.token_logged",
    "audit.clock_local_time",
    "audit.lost_on_kill",
)
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyMSJ9.c2lnbmF0dXJlMTIz"


def audit_world(seed, defect="", count=500):
    """Return the findings of one world, and whether the log differs from an honest one in what the defect changes."""
    dice = stream(seed, "audit", defect, count)
    exchanges, events = traffic(dice, count)
    history = History.of(exchanges)
    wanted = {200: "login_ok", 401: "login_failed", 429: "rate_limited"}
    lines, hit = [], 0
    for event in sorted(events, key=lambda one: one.at + dice.randrange(20 * MS)):
        if event.status not in wanted or event.operation != "login":
            continue
        fields = {
            "time": event.at / 1e9,
            "event": wanted[event.status],
            "user": f"u{exchanges[event.row].user}",
            "ip": "127.0.0.9",
            "request_id": REQUEST_ID.format(event.row),
            "service": "auth",
        }
        before, copies = dict(fields), 1
        spoil(fields, defect, dice)
        if defect in ("audit.dropped_when_busy", "audit.sampled_0_1_percent"):
            copies = int(dice.random() >= (0.05 if defect == "audit.dropped_when_busy" else 0.001))
        if defect == "audit.failed_login_missing" and event.status == 401:
            copies = 0
        if defect == "audit.duplicated" and dice.random() < 0.02:
            copies = 2
        if defect == "audit.lost_on_kill" and event.at > exchanges[-1].sent_ns - 50 * MS:
            copies = 0
        hit += copies != 1 or fields != before
        lines += [json.dumps(fields)] * copies
    if defect == "audit.interleaved":
        for at in range(0, len(lines) - 2, 50):
            lines[at : at + 2] = [lines[at][:40] + lines[at + 1], lines[at][40:]]
            hit += 1
    read = exchanges[-1].sent_ns + 10 * S
    entries = tuple(AuditEntry("audit.log", number, text, parsed(text), read) for number, text in enumerate(lines, 1))
    rows = {event: [] for event in wanted.values()}
    for one in history:
        if one.operation == "login" and one.status in wanted:
            rows[wanted[one.status]].append(one.row)
    users = {number: f"u{number}" for number in range(7)}
    expected = [one for event in rows for one in expect(history, rows[event], event, users=users, ip=True)]
    answered = {one.row for one in expected}
    evidence = AuditEvidence(read_ns=read, anchor=ZERO, secrets=("hunter2hunter2",))
    findings = judge_audit(AUDIT, Ledgers(audit=entries), expected, evidence)
    return findings, bool(hit) and bool(answered)


def spoil(fields, defect, dice):
    if defect == "audit.wrong_user" and dice.random() < 0.05:
        fields["user"] = "u99"
    if defect == "audit.no_request_id":
        del fields["request_id"]
    if defect == "audit.wrong_ip":
        fields["ip"] = "10.0.0.1"
    if defect == "audit.token_logged" and dice.random() < 0.1:
        fields["details"] = f"Bearer {TOKEN}"
    if defect == "audit.clock_local_time":
        fields["time"] += 3_600


def parsed(text):
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def failed(findings):
    return sorted({one.rule for one in findings if one.outcome >= Outcome.FAIL})


def detection(world, defect, count, worlds):
    could = found = 0
    for seed in range(worlds):
        findings, told = world(seed, defect, count)
        could += told
        found += told and bool(failed(findings))
    return could, found


class _Zero:
    """An anchor between clocks that agree."""

    def to_wall_ns(self, at):
        return at


ZERO = _Zero()
