"""`make prove` writes what it found, and its exit status says whether an honest system was accused."""

import sys

import pytest
from tests.prove import proof


def test_a_section_is_written_with_its_shares(tmp_path, monkeypatch):
    out = tmp_path / "proof.md"
    asked = ["proof.py", "--only", "overload", "--honest", "4", "--scale", "10", "--jobs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", asked)
    assert proof.main() == 0
    text = out.read_text()
    assert "## Overload" in text
    assert "4 histories, 0 accused" in text
    assert "| res.unbounded_queue | 10 | 10 | 10 | 100% |" in text


def test_tables_share_only_what_could_be_told():
    lines = proof.table(
        [{"defect": "a", "could be told": 0, "found": 0}, {"defect": "b", "could be told": 4, "found": 3}]
    )
    assert lines[0].endswith("| share |")
    assert lines[2:] == ["| a | 0 | 0 | nothing to tell |", "| b | 4 | 3 | 75% |"]
    assert proof.table([]) == []


@pytest.mark.parametrize("name", sorted(path.stem for path in proof.HERE.glob("section_*.py")))
def test_every_section_offers_what_the_proof_asks_for(name):
    module = proof.importlib.import_module(f"tests.prove.{name}")
    assert module.TITLE
    assert module.TEXT
    assert callable(module.honest)
    assert callable(module.rows)
