"""Limit headers are read in every form that servers write them, and only what is certainly untrue is FAIL."""

import datetime
import email.utils

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.prove.rate_limit.limiters import FixedWindowServer, ResetUntrue, TokenBucketServer
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND, simulate

from proofload.judge.rate_limit import RateLimitContext, judge_headers, judge_promised_reset
from proofload.judge.rate_limit.header_values import (
    HeaderTime,
    read_number,
    read_quotas,
    read_retry_after,
    read_time,
    read_whole,
    unit_of,
)
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import RateLimitPolicy
from proofload.record.history import History

LIMIT, WINDOW = 10, 60 * SECOND
RESET, RETRY = "header:x-ratelimit-reset", "header:retry-after"


def http_date(epoch_s):
    return email.utils.formatdate(epoch_s, usegmt=True)


def rfc_850(epoch_s):
    return datetime.datetime.fromtimestamp(epoch_s, datetime.UTC).strftime("%A, %d-%b-%y %H:%M:%S GMT")


def asctime(epoch_s):
    return datetime.datetime.fromtimestamp(epoch_s, datetime.UTC).strftime("%a %b %e %H:%M:%S %Y")


def javascript(epoch_s):
    moment = datetime.datetime.fromtimestamp(epoch_s, datetime.UTC)
    return moment.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")


def iso(epoch_s):
    return datetime.datetime.fromtimestamp(epoch_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


WALL = {
    "epoch seconds": ("epoch_seconds", str),
    "epoch seconds as a decimal": ("epoch_seconds", lambda s: f"{s}.680"),
    "epoch milliseconds": ("epoch_milliseconds", lambda s: f"{s}123"),
    "epoch milliseconds as a decimal": ("epoch_milliseconds", lambda s: f"{s}123.5"),
    "HTTP date": ("http_date", http_date),
    "RFC 850 date": ("http_date", rfc_850),
    "asctime date": ("http_date", asctime),
    "JavaScript date": ("http_date", javascript),
    "ISO 8601": ("iso8601", iso),
}
DELTA = {
    "seconds": str,
    "decimal seconds": lambda s: f"{s}.0",
    "duration": lambda s: f"{s}s",
    "minutes and seconds": lambda s: f"{s // 60}m{s % 60}s",
    "policy appended": lambda s: f"{s}, {s};w=60",
}


def policy(**headers):
    return RateLimitPolicy(limit=LIMIT, window="60s", probe="read", headers=headers)


def rewritten(server=FixedWindowServer, pattern="sequence_then_reset", **columns):
    """Return a world whose headers are made of epoch seconds by functions, column by column."""
    world = simulate(3, server(LIMIT, WINDOW), pattern, LIMIT, WINDOW, loss=0).history
    made = {}
    for name, write in columns.items():
        texts = [
            None if text is None else write(int(text), done)
            for text, done in zip(world.frame[name], world.numbers("done_ns"), strict=True)
        ]
        made[name] = pl.Series(name, texts, dtype=pl.String)
    return History(world.frame.with_columns(**made))


def outcome(history, declared, rule, **context):
    on, rows = RateLimitContext(declared, history, ANCHOR, **context), np.arange(len(history))
    found = [*judge_headers(on, rows), *judge_promised_reset(on, rows)]
    return worst(one.outcome for one in found if one.rule == rule)


@pytest.mark.parametrize("form", WALL)
@pytest.mark.parametrize("auto", [False, True])
def test_a_true_reset_passes_in_every_form_of_an_instant(form, auto):
    unit, write = WALL[form]
    declared = policy(reset_unit="auto" if auto else unit)
    honest = rewritten(**{RESET: lambda s, _: write(s)})
    assert outcome(honest, declared, "rl.reset_wrong_unit") is Outcome.PASS
    assert outcome(honest, declared, "rl.reset_untrue") is Outcome.PASS
    untrue = rewritten(ResetUntrue, "sequence", **{RESET: lambda s, _: write(s)})
    assert outcome(untrue, declared, "rl.reset_untrue") is Outcome.FAIL
    assert unit_of(write(1_795_818_093)) == unit


def left(epoch_s, done_ns):
    return max(0, epoch_s - ANCHOR.to_wall_ns(done_ns) // SECOND)


@pytest.mark.parametrize("form", DELTA)
@pytest.mark.parametrize("auto", [False, True])
def test_a_true_reset_passes_in_every_form_of_a_delay(form, auto):
    declared = policy(reset_unit="auto" if auto else "delta_seconds")
    honest = rewritten(**{RESET: lambda s, done: DELTA[form](left(s, done))})
    assert outcome(honest, declared, "rl.reset_wrong_unit") is Outcome.PASS
    assert outcome(honest, declared, "rl.reset_untrue") is Outcome.PASS
    untrue = rewritten(ResetUntrue, "sequence", **{RESET: lambda s, done: DELTA[form](left(s, done))})
    assert outcome(untrue, declared, "rl.reset_untrue") is Outcome.FAIL


@pytest.mark.parametrize("form", WALL)
@pytest.mark.parametrize("declared", sorted({unit for unit, _ in WALL.values()} | {"delta_seconds"}))
def test_a_reset_in_another_unit_than_declared_is_told_by_its_name(form, declared):
    unit, write = WALL[form]
    found = outcome(rewritten(**{RESET: lambda s, _: write(s)}), policy(reset_unit=declared), "rl.reset_wrong_unit")
    assert found is (Outcome.PASS if unit == declared else Outcome.FAIL)


def test_what_no_unit_fits_is_a_fail_only_where_a_unit_is_promised():
    odd = rewritten(**{RESET: lambda *_: "tomorrow"})
    assert outcome(odd, policy(), "rl.reset_wrong_unit") is Outcome.FAIL
    assert outcome(odd, policy(reset_unit="auto"), "rl.reset_wrong_unit") is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("write", [http_date, rfc_850, asctime, iso])
def test_a_retry_after_that_is_a_date_is_held_to_its_word(write):
    """B21: a date alone left the announced reset unjudged for ever."""
    declared = policy(reset=None)

    def dated(shift_s):
        return lambda wait_s, done: write(ANCHOR.to_wall_ns(done) // SECOND + wait_s + shift_s)

    honest = rewritten(**{RETRY: dated(0)})
    assert outcome(honest, declared, "rl.retry_after_missing") is Outcome.PASS
    assert outcome(honest, declared, "rl.retry_after_untrue") is Outcome.PASS
    assert outcome(honest, declared, "rl.reset_untrue") is Outcome.PASS
    assert outcome(rewritten(**{RETRY: dated(-30)}), declared, "rl.retry_after_untrue") is Outcome.FAIL
    assert outcome(rewritten(**{RETRY: dated(30)}), declared, "rl.retry_after_untrue") is Outcome.FAIL


@pytest.mark.parametrize("form", DELTA)
def test_a_retry_after_is_read_in_every_form_of_a_delay(form):
    honest = rewritten(**{RETRY: lambda s, _: DELTA[form](s)})
    assert outcome(honest, policy(), "rl.retry_after_untrue") is Outcome.PASS
    short = rewritten(**{RETRY: lambda s, _: DELTA[form](s // 2)})
    assert outcome(short, policy(), "rl.retry_after_untrue") is Outcome.FAIL


@pytest.mark.parametrize("text", ["soon", "", "-1", "1795818093"])
def test_a_retry_after_that_no_client_can_use_is_missing(text):
    assert outcome(rewritten(**{RETRY: lambda *_: text}), policy(), "rl.retry_after_missing") is Outcome.FAIL


@pytest.mark.parametrize(("off_ms", "expected"), [(-2_050, "PASS"), (2_050, "PASS"), (-3_200, "FAIL"), (3_200, "FAIL")])
def test_a_reset_worked_out_anywhere_inside_a_slow_answer_is_no_lie(off_ms, expected):
    """A10: now + time to live by a server that took 1.05 s, its clock and store read at different ends of it."""
    slow_ns = 1_050 * MS
    world = rewritten(pattern="sequence")
    sent = pl.lit(5 * SECOND) + pl.int_range(pl.len(), dtype=pl.Int64) * 2 * SECOND
    # The first answer's end is where the window can begin at the latest, its sending at the earliest.
    edge_ns = 5 * SECOND + (0 if off_ms < 0 else slow_ns) + WINDOW
    end_ns = ANCHOR.to_wall_ns(edge_ns) + off_ms * MS
    told = f"{end_ns // SECOND}.{end_ns % SECOND // MS:03}"
    frame = world.frame.with_columns(sent_ns=sent, done_ns=sent + slow_ns, **{RESET: pl.lit(told)})
    found = judge_headers(RateLimitContext(policy(), History(frame), ANCHOR), np.arange(LIMIT))
    assert worst(one.outcome for one in found if one.rule == "rl.reset_untrue") is Outcome[expected]


def test_a_limit_with_its_policies_appended_names_the_one_of_the_window():
    honest = rewritten(**{"header:x-ratelimit-limit": lambda *_: "3, 3;w=1, 10;window=60;comment=x"})
    assert outcome(honest, policy(), "rl.limit_header_wrong") is Outcome.PASS
    other = rewritten(**{"header:x-ratelimit-limit": lambda *_: "10, 10;w=1, 11;window=60"})
    assert outcome(other, policy(), "rl.limit_header_wrong") is Outcome.FAIL


@pytest.mark.parametrize(
    ("tells", "burst", "told", "expected"),
    [
        (None, 20, "20", Outcome.PASS),
        (None, 20, "10", Outcome.PASS),
        (None, 20, "15", Outcome.FAIL),
        ("burst", 20, "20", Outcome.PASS),
        ("burst", 20, "10", Outcome.FAIL),
        ("limit", 20, "20", Outcome.FAIL),
        ("limit", 20, "10", Outcome.PASS),
        (None, None, "20", Outcome.FAIL),
    ],
)
def test_the_limit_header_may_tell_the_burst(tells, burst, told, expected):
    """A9: with a burst declared, either number is honest unless one of them is declared."""
    server = TokenBucketServer(LIMIT, WINDOW, burst or LIMIT)
    world = simulate(3, server, "sequence", burst or LIMIT, WINDOW, loss=0).history
    history = History(world.frame.with_columns(**{"header:x-ratelimit-limit": pl.lit(told)}))
    declared = RateLimitPolicy(
        limit=LIMIT, window="60s", burst=burst, probe="read", algorithm="token_bucket", headers={"limit_tells": tells}
    )
    assert outcome(history, declared, "rl.limit_header_wrong") is expected


@pytest.mark.parametrize("text", ["9.7", "9.0", '"9"', " 9 ", "9;w=60"])
def test_a_number_is_read_with_what_surrounds_it(text):
    assert read_whole(text) == 9


def test_the_instant_that_a_header_means():
    wall = read_time("1700000010")
    assert ANCHOR.to_wall_ns(wall.instant_ns(77, ANCHOR)) == 1_700_000_010 * SECOND
    assert read_time("1.5s").instant_ns(77, ANCHOR) == 77 + 1_500 * MS


def test_quotas_by_window():
    assert read_quotas("100, 100;w=60, 1000;w=3600") == {60: 100, 3600: 1000}
    assert read_quotas("100") == {}


@given(st.text(max_size=100))
def test_no_text_is_a_crash(text):
    for read in (read_time, read_retry_after, read_number, read_whole, read_quotas, unit_of):
        read(text)
    for unit in ("epoch_seconds", "epoch_milliseconds", "delta_seconds", "http_date", "iso8601"):
        found = read_time(text, unit)
        assert found is None or (found.unit == unit and abs(found.ns) <= 2**62)


@given(st.integers(500_000_000, 4_000_000_000), st.integers(0, 999_999_999))
def test_decimals_are_exact(seconds, ns):
    assert read_time(f"{seconds}.{ns:09}") == HeaderTime(seconds * SECOND + ns, is_wall=True, unit="epoch_seconds")
