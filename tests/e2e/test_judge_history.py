"""`proofload judge --model` on histories in Jepsen's text form."""

from pathlib import Path

from tests.e2e.cli import proofload

FINE = "0\t:invoke\t:write\t1\n1\t:invoke\t:read\tnil\n0\t:ok\t:write\t1\n1\t:ok\t:read\t1\n"
LOST = "0\t:invoke\t:write\t1\n0\t:ok\t:write\t1\n1\t:invoke\t:read\tnil\n1\t:ok\t:read\tnil\n"


def test_a_linearizable_history_is_0_and_a_lost_write_is_10_with_its_counterexample(tmp_path: Path) -> None:
    (tmp_path / "fine.txt").write_text(FINE)
    (tmp_path / "lost.txt").write_text(LOST)
    assert proofload("judge", "--model", "register", "fine.txt", cwd=tmp_path).status == 0
    broken = proofload("judge", "--model", "register", "lost.txt", cwd=tmp_path)
    assert broken.status == 10
    assert "FAIL" in broken.out
    assert len(broken.out.splitlines()) > 1
    assert (
        proofload("judge", "--model", "register", "lost.txt", "--json", cwd=tmp_path).json["finding"]["outcome"]
        == "FAIL"
    )


def test_what_is_no_history_or_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("hello\n")
    wrong = proofload("judge", "--model", "register", "none.txt", cwd=tmp_path)
    assert wrong.status == 12
    assert "none.txt:1" in wrong.err
    unknown = proofload("judge", "--model", "nosuch", "none.txt", cwd=tmp_path)
    assert unknown.status == 12
    assert "got 'nosuch', expected one of" in unknown.err
    assert proofload("judge", "--model", "register", "absent.txt", cwd=tmp_path).status == 12
