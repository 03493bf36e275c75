"""The HTML report: verdicts first, nothing of a target's text becomes markup, and no script and no request at all."""

import re

import pytest
from tests.golden.report.results import EMPTY, LIMIT, RESULT

from proofload.core.clock import Anchor
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.plan.reader import parse_target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.report.charts import choose
from proofload.report.charts.picture import Picture
from proofload.report.charts.rate_window import rate_window
from proofload.report.charts.schedule import Phase, Turn, schedule
from proofload.report.html.page import page, standalone
from proofload.report.report_data import Link, Story
from proofload.report.result import CaseInfo, RunResult

EVIL = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'\""
TARGET = """\
version: 1
name: shop
address: http://127.0.0.1:1
operations:
  profile: {path: /profile}
policies:
  rate_limit:
    - {limit: 3, window: 5s, probe: profile}
"""


def evidence(count: int = 6, *, operation: str = "profile", source: str = "127.0.0.9") -> Evidence:
    rows = [
        Exchange(
            i, "TC-RL-001/sequence", operation, 0, source, 0, i * 1000, i * 1000, i * 1000 + 500, i * 1000 + 900,
            Ending.ANSWERED, Fault.NONE, 200 if i < 4 else 429, 10, 10, f"r{i}",
        )
        for i in range(count)
    ]  # fmt: skip
    return Evidence("TC-RL-001", parse_target(TARGET, "t", {}), History.of(rows), Anchor(0, 10**18, 1), ())


def story(verdict: Verdict, of: Evidence, **more: object) -> Story:
    info = CaseInfo(EVIL, EVIL, "critical", 5)
    result = RunResult((verdict,), {verdict.case: info}, EVIL, EVIL, "0", 10, 1, 10**18, (EVIL,))
    return Story(result, {verdict.case: of}, **more)  # type: ignore[arg-type]


def test_what_a_target_says_stays_text_wherever_it_lands() -> None:
    finding = Finding("rl." + EVIL, Outcome.FAIL, EVIL, 5, 1, (0, 3), (EVIL, EVIL), EVIL, {EVIL: EVIL})
    turns = (Turn("TC-RL-001", Outcome.FAIL, 0, 10**9, (Phase(EVIL, 0, 10**9),)),)
    told = page(
        story(
            Verdict.of("TC-RL-001", [finding]),
            evidence(operation=EVIL, source=EVIL),
            turns=turns,
            environment={EVIL: {"a": EVIL}},
            plan={"x": EVIL},
            again=(EVIL,),
            links={"TC-RL-001": (Link(EVIL, "javascript:alert(1)#" + EVIL),), "": ()},
        )
    )
    assert "<script" not in told
    assert "<img" not in told
    assert "\u202e" not in told
    assert "&lt;script&gt;" in told
    assert re.search(r'<rect [^>]*class="mark-bad"', told)


def test_the_page_forbids_itself_every_request_and_script() -> None:
    told = page(Story(RESULT))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', told)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "script" not in policy[1]
    # No attribute style either: the policy allows the one style sheet by its sum.
    assert not re.search(r'<[^>]+ style="', told)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', told)


def test_verdicts_come_first_and_fails_before_what_held() -> None:
    told = page(Story(RESULT))
    places = [
        told.index(text) for text in ('id="h-verdicts"', 'id="h-fail"', 'id="h-error"', 'id="h-pass"', 'id="h-skipped"')
    ]
    assert places == sorted(places)
    assert "1 case proven broken" in told
    for verdict in RESULT.verdicts:
        assert f'id="case-{verdict.case}"' in told
        assert f'href="#case-{verdict.case}"' in told
    assert LIMIT.shown[1] in told.replace("&lt;", "<").replace("&gt;", ">")


def test_no_verdict_proves_nothing() -> None:
    assert "No case was judged, so nothing is proven" in page(Story(EMPTY))


def test_a_picture_that_breaks_takes_no_verdict_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Picture]:
        raise ZeroDivisionError

    monkeypatch.setitem(choose._OF_FINDING, "rl", broken)
    finding = Finding("rl.over_admission", Outcome.FAIL, "four were admitted", rows=(0, 3))
    told = page(story(Verdict.of("TC-RL-001", [finding]), evidence()))
    assert "four were admitted" in told
    assert "could not be drawn (ZeroDivisionError" in told


def test_the_window_shows_each_request_once_and_the_one_beyond_in_red() -> None:
    finding = Finding("rl.over_admission", Outcome.FAIL, "four", rows=(0, 1, 2, 3))
    (picture,) = rate_window(evidence(), finding)
    drawn = {look: len(re.findall(f'class="{look}"[^>]*><title>', picture.svg)) for look in ("mark-good", "mark-bad")}
    assert drawn == {"mark-good": 3, "mark-bad": 1}
    assert picture.svg.count("429 at") >= 1
    assert "number 4: row 3, answered 200" in picture.svg


def test_a_million_requests_make_a_small_page() -> None:
    of = evidence()
    frame = of.history.frame
    for _ in range(15):
        frame = frame.vstack(frame)
    many = Evidence(of.case, of.target, History(frame), of.anchor, ())
    finding = Finding("rl.over_admission", Outcome.FAIL, "four", rows=tuple(range(200_000)))
    assert len(page(story(Verdict.of("TC-RL-001", [finding]), many))) < 400_000


def test_the_schedule_is_a_file_of_its_own_too() -> None:
    turns = (
        Turn("TC-B", Outcome.PASS, 10, 50, (Phase("waiting", 10, 30), Phase("sending", 30, 50)), ((35, 45),)),
        Turn("TC-A", Outcome.FAIL, 0, 20),
        Turn("TC-C", Outcome.SKIPPED, 0, 0),
    )
    picture = schedule(turns)
    assert picture is not None
    assert [line[0] for line in picture.table] == ["TC-A", "TC-B"]
    text = standalone(picture)
    assert text.startswith("<?xml")
    assert "prefers-color-scheme: dark" in text
    assert schedule(turns[2:]) is None
