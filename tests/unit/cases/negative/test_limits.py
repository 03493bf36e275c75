"""TC-NEG-001, 002, 003 and 009: each says PASS, FAIL and INCONCLUSIVE, and SKIPPED where there is nothing to test."""

from __future__ import annotations

import pytest
from tests.prove.rate_limit.limiters import FixedWindowServer, TokenBucketServer
from tests.unit.cases.rate_limit.worlds import Send, answered, by, steady, target_of
from tests.unit.cases.tape import S, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.cases.addresses import has_many
from proofload.cases.negative import limits
from proofload.judge.verdict import Outcome
from proofload.plan.policies import Policies

TARGET = preset()
A, B, C, D = (f"127.64.0.{i}" for i in range(1, 5))


def under(*, rejected: int = 0, each: int = 100) -> Tape:
    tape = Tape("TC-NEG-001")
    for source in (A, B):
        tape.add("one by one", 200, each - rejected, source=source)
        tape.add("one by one", 429, rejected, source=source)
    tape.add("mixed", 200, each * 4 // 5, source=C)
    tape.add("at once", 200, each, source=D, together=True)
    return tape


def test_traffic_under_the_limit() -> None:
    assert outcome(case_findings("TC-NEG-001", under().evidence(TARGET))) is Outcome.PASS
    broken = case_findings("TC-NEG-001", under(rejected=1).evidence(TARGET))
    assert rules(broken) == {"rl.wrongful_rejection"}
    assert outcome(case_findings("TC-NEG-001", under(each=20).evidence(TARGET))) is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-NEG-001", nothing("TC-NEG-001", TARGET))) is Outcome.INCONCLUSIVE


def excess(*, leaks: bool = False, limited: bool = True) -> Tape:
    tape = Tape("TC-NEG-002")
    tape.add("excess", 200, 100 if limited else 50, source=A)
    tape.add("excess", 429, 100 if limited else 0, source=A)
    for source in (B, C):
        tape.add("quiet", 429 if leaks else 200, 25, source=source)
        tape.add("quiet after", 429 if leaks else 200, 25, source=source)
    return tape


def test_one_clients_excess() -> None:
    assert outcome(case_findings("TC-NEG-002", excess().evidence(TARGET))) is Outcome.PASS
    broken = case_findings("TC-NEG-002", excess(leaks=True).evidence(TARGET))
    assert {"rl.key_leak", "rl.wrongful_rejection"} == rules(broken)
    assert outcome(case_findings("TC-NEG-002", excess(limited=False).evidence(TARGET))) is Outcome.INCONCLUSIVE


def forged(header: str = "", *, opened: int = 0, victim: int = 100, spent: int = 100) -> Tape:
    tape = Tape("TC-NEG-003")
    tape.add("forged", 200, spent, source=A)
    tape.add("forged", 429, 3 if spent == 100 else 0, source=A)
    for each in limits.FORGED:
        through = opened if each == header else 0
        tape.add("forged", 200, through, source=A, tag=each)
        tape.add("forged", 429, 4 - through, source=A, tag=each)
    tape.add("in its name", 200, 20, source=B)
    tape.add("victim", 200, victim, source=C)
    tape.add("victim", 429, 100 - victim, source=C)
    return tape


def test_forged_headers() -> None:
    assert outcome(case_findings("TC-NEG-003", forged().evidence(TARGET))) is Outcome.PASS
    for header in ("X-Forwarded-For", "Forwarded"):
        broken = case_findings("TC-NEG-003", forged(header, opened=2).evidence(TARGET))
        assert rules(broken) == {"rl.evasion"}
        assert any(f"{header} header" in one.look_at for one in broken)
    spent_by_others = case_findings("TC-NEG-003", forged(victim=80).evidence(TARGET))
    assert rules(spent_by_others) == {"rl.wrongful_rejection"}
    starved = case_findings("TC-NEG-003", forged("Forwarded", opened=4, spent=60).evidence(TARGET))
    assert outcome(starved) is not Outcome.PASS


def test_nothing_sent_is_no_pass() -> None:
    for case in ("TC-NEG-002", "TC-NEG-003", "TC-NEG-009"):
        assert outcome(case_findings(case, nothing(case, TARGET))) is Outcome.INCONCLUSIVE


def limited(*, exempt: int = 200, after: int = 429) -> Tape:
    tape = Tape("TC-NEG-009")
    tape.add("limited", 200, 100)
    tape.add("limited", 429, 3)
    tape.add("limited", exempt, 20, operation="/health", tag="exempt")
    tape.add("limited", after, 3, tag="after")
    return tape


def test_health_under_a_limit() -> None:
    assert outcome(case_findings("TC-NEG-009", limited().evidence(TARGET))) is Outcome.PASS
    assert rules(case_findings("TC-NEG-009", limited(exempt=429).evidence(TARGET))) == {"rl.exempt_limited"}
    assert outcome(case_findings("TC-NEG-009", limited(exempt=503).evidence(TARGET))) is Outcome.INCONCLUSIVE
    # The window was over before the last exempt request: the client was not surely limited when it asked.
    assert outcome(case_findings("TC-NEG-009", limited(after=200).evidence(TARGET))) is Outcome.INCONCLUSIVE


def test_without_a_limit_or_addresses_they_are_skipped() -> None:
    bare = TARGET.model_copy(update={"policies": Policies()})
    far = TARGET.model_copy(update={"address": "http://gateway.example"})
    for case in ("TC-NEG-001", "TC-NEG-002", "TC-NEG-003", "TC-NEG-009"):
        assert "no rate limit" in why_missing(case, bare)
        assert "one address only" in why_missing(case, far)
        assert why_missing(case, TARGET) == ""
    assert has_many(far.model_copy(update={"sources": ("10.0.0.1",)}))
    no_exempt = TARGET.policies.rate_limit[0].model_copy(update={"exempt": ()})
    policies = TARGET.policies.model_copy(update={"rate_limit": (no_exempt,)})
    assert "no exempt path" in why_missing("TC-NEG-009", TARGET.model_copy(update={"policies": policies}))


@pytest.mark.parametrize(
    ("header", "address", "told"),
    [
        ("X-Real-IP", "10.0.0.1", "10.0.0.1"),
        ("Forwarded", "10.0.0.1", "for=10.0.0.1"),
        ("Forwarded", "10.0.0.1, 10.0.0.2", "for=10.0.0.1, for=10.0.0.2"),
        ("Forwarded", "2001:db8::7", 'for="[2001:db8::7]"'),
    ],
)
def test_each_header_is_forged_in_its_own_form(header: str, address: str, told: str) -> None:
    assert limits._told(header, address) == told


NGINX = "limit: 5, window: 1s, burst: 20, algorithm: leaky_bucket, probe: read"
SMALL = "limit: 5, window: 60s, burst: 2, algorithm: token_bucket, probe: read"


@pytest.mark.parametrize(("declared", "size", "refill_ns"), [(NGINX, 20, S // 5), (SMALL, 2, 12 * S)])
def test_a_bucket_of_another_size_than_its_limit(declared: str, size: int, refill_ns: int) -> None:
    """B18: where the burst is not the limit, these stayed INCONCLUSIVE for ever, or a whole bucket was not spent."""
    target = target_of(declared)
    (policy,) = target.policies.rate_limit
    assert policy.allowance == size

    def seen(case: str, sends: list[Send], held: int) -> Outcome:
        server = TokenBucketServer(1, refill_ns, held)
        return outcome(case_findings(case, answered(case, target, sends, by((server, "")))))

    quiet = [one for ip in "234" for one in steady(max(1, size // 4), "quiet", at_ms=1_000, ip=ip)]
    quiet += [one for ip in "234" for one in steady(max(1, size // 4), "quiet after", at_ms=1_200, ip=ip)]
    excess = [*steady(size + max(size, policy.limit), "excess"), *quiet]
    assert seen("TC-NEG-002", excess, size) is Outcome.PASS
    owed = [*steady(size, "one by one", ip="5"), *steady(size, "one by one", ip="6"), *steady(size, "at once", ip="7")]
    assert seen("TC-NEG-001", owed, size) is Outcome.PASS
    assert seen("TC-NEG-001", owed, size - 1) is Outcome.FAIL
    assert seen("TC-NEG-001", owed[: size // 2], size) is Outcome.INCONCLUSIVE


def test_another_limits_rejections_are_not_this_ones() -> None:
    """A5: 20 in 5 s on /api/* and 3 in 5 s on /api/other: whoever keeps below the first was told to be wronged."""
    wide = "name: wide, limit: 20, window: 5s, probe: read, applies_to: ['/api/*']"
    narrow = "name: narrow, limit: 3, window: 5s, probe: other, applies_to: [/api/other]"
    target = target_of(wide, narrow)
    (policy, _) = target.policies.rate_limit
    assert limits._reads(target, policy) == ["read"]
    mixed = [*steady(8, "mixed", gap_ms=4), *steady(8, "mixed", gap_ms=4, at_ms=1_002, op="other")]
    sends = [*mixed, *steady(20, "one by one", ip="2"), *steady(20, "at once", ip="3")]

    def seen(size: int) -> Outcome:
        servers = (FixedWindowServer(3, 5 * S), "other"), (FixedWindowServer(size, 5 * S), "")
        return outcome(case_findings("TC-NEG-001", answered("TC-NEG-001", target, sends, by(*servers))))

    assert seen(20) is Outcome.PASS
    assert seen(19) is Outcome.FAIL


def test_one_counter_for_all_clients_gives_none_of_them_an_allowance_of_its_own() -> None:
    """B21: what is promised to each client is not promised under `scope: global`."""
    shared = target_of("scope: global, limit: 5, window: 60s, probe: read, exempt: [/health]")
    for case in ("TC-NEG-001", "TC-NEG-002", "TC-NEG-003", "TC-NEG-009", "TC-RL-004"):
        assert "scope: global" in why_missing(case, shared)
    assert why_missing("TC-RL-001", shared) == ""
