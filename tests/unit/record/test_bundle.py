"""A bundle is sealed, and opening it proves that nothing in it was changed."""

from pathlib import Path

import pytest

from proofload.core.errors import ToolError
from proofload.record.bundle import Bundle, BundleWriter, dump_json, new_bundle_path
from proofload.record.history import History


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    writer = BundleWriter(tmp_path / "runs" / "one")
    writer.write_json("plan.json", {"b": 1, "a": [1, 2]})
    writer.write_history("history/TC-RL-001.parquet", History.empty())
    writer.seal()
    return writer.path


def test_what_was_written_is_read_back(sealed: Path) -> None:
    bundle = Bundle(sealed)
    assert bundle.names() == ["history/TC-RL-001.parquet", "plan.json"]
    assert bundle.names("history/") == ["history/TC-RL-001.parquet"]
    assert bundle.read_json("plan.json") == {"a": [1, 2], "b": 1}
    assert len(bundle.read_history("history/TC-RL-001.parquet")) == 0


@pytest.mark.parametrize("name", ["plan.json", "history/TC-RL-001.parquet"])
def test_one_changed_byte_is_refused_and_the_file_is_named(sealed: Path, name: str) -> None:
    place = sealed / name
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    with pytest.raises(ToolError, match=rf"{name}: changed"):
        Bundle(sealed)


def test_a_missing_an_added_and_an_unsealed_file_are_refused(sealed: Path) -> None:
    (sealed / "more.json").write_text("{}")
    with pytest.raises(ToolError, match=r"more\.json: not in the manifest"):
        Bundle(sealed)
    (sealed / "more.json").unlink()
    (sealed / "plan.json").unlink()
    with pytest.raises(ToolError, match=r"plan\.json: missing"):
        Bundle(sealed)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema_version": 1, "files": 3}', b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused(sealed: Path, content: bytes) -> None:
    (sealed / "manifest.json").write_bytes(content)
    with pytest.raises(ToolError, match="manifest"):
        Bundle(sealed)


def test_a_newer_schema_is_refused(sealed: Path) -> None:
    (sealed / "manifest.json").write_bytes(dump_json({"schema_version": 99, "files": {}}))
    with pytest.raises(ToolError, match="schema version 99"):
        Bundle(sealed)


def test_no_manifest_means_unfinished(sealed: Path) -> None:
    (sealed / "manifest.json").unlink()
    with pytest.raises(ToolError, match="was the run killed"):
        Bundle(sealed)


def test_a_bundle_is_never_written_over_another(sealed: Path) -> None:
    with pytest.raises(ToolError, match="expected a new folder"):
        BundleWriter(sealed)


def test_sealing_again_takes_in_what_changed(sealed: Path) -> None:
    writer = BundleWriter(sealed.parent / "two")
    writer.write_json("a.json", 1)
    writer.seal()
    writer.write_json("a.json", 2)
    writer.seal()
    assert Bundle(writer.path).read_json("a.json") == 2


def test_the_path_tells_time_and_run() -> None:
    assert new_bundle_path(Path("runs"), 1_790_000_000_000_000_000, "ab12") == Path("runs/20260921T141320Z-ab12")
