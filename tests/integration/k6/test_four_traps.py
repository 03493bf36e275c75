"""Four situations that a real k6 passes with exit status 0; proofload never does."""

from pathlib import Path

import pytest
from scripts.why import PAGE, SITUATIONS, Ran, Situation, run_k6, run_ours, served

pytestmark = pytest.mark.xdist_group("k6")

_EXPECTED = {
    "no-check-made": (10, "nothing was measured"),
    "no-sample": (12, "checkout"),
    "all-failed": (11, "INCONCLUSIVE"),
    "not-delivered": (11, "not delivered as asked"),
}


def _both(situation: Situation, folder: Path) -> tuple[Ran, Ran]:
    with served() as address:
        return run_k6(situation, address, folder), run_ours(situation, address, folder)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
def test_k6_passes_and_proofload_does_not(situation: Situation, tmp_path: Path) -> None:
    theirs, ours = _both(situation, tmp_path)
    assert theirs.status == 0, theirs.printed
    assert "http_reqs" in theirs.printed, "k6 sent nothing: " + theirs.printed
    status, says = _EXPECTED[situation.name]
    assert ours.status == status, ours.printed
    assert says in ours.printed
    assert "PASS " not in ours.printed
    assert "Traceback" not in ours.printed


def test_k6_is_not_blind_by_itself(tmp_path: Path) -> None:
    """The same k6 fails a threshold that is broken: its passes above are no accident of how it is called."""
    broken = Situation(
        "",
        "",
        "",
        SITUATIONS[2].script.replace("http_req_duration", "http_req_failed").replace("p(95)<200", "rate<0.01"),
        (),
    )
    with served() as address:
        assert run_k6(broken, address, tmp_path).status == 99


def test_the_page_shows_every_situation_with_both_exit_statuses() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for situation in SITUATIONS:
        _, _, section = text.partition(f"## {situation.title}\n")
        section = section.partition("\n## ")[0]
        ended = [part.split()[0] for part in section.split("$ echo $?\n")[1:]]
        assert ended == ["0", str(_EXPECTED[situation.name][0])], situation.name
    assert "127.0.0.1" not in text
    assert "/tmp/" not in text
