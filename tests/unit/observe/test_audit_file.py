"""Tests of reading audit logs that grow, rotate and lose files while they are read."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from proofload.core.errors import ToolError
from proofload.observe.audit_file import AuditFiles

LONG = "x" * 600


def texts(files: AuditFiles) -> list[str]:
    return sorted(entry.text for entry in files.read(1))


def test_only_what_is_written_after_the_beginning_counts_wherever_rotation_puts_it(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("before\n")
    files = AuditFiles([str(log)])
    files.begin()
    with log.open("a") as file:
        file.write("one\n")
    log.rename(tmp_path / "audit.jsonl.1")
    log.write_text("two\n")
    assert texts(files) == ["one", "two"]


def test_a_line_that_is_not_yet_whole_is_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    files = AuditFiles([str(log)])
    files.begin()
    log.write_text('{"event":"a"}\n{"event":')
    (entry,) = files.read(7)
    assert (entry.source, entry.line, entry.fields, entry.read_ns) == ("audit.jsonl", 1, {"event": "a"}, 7)


def test_a_new_file_that_got_the_inode_of_a_deleted_one_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(f"old {LONG}\n")
    files = AuditFiles([str(log)])
    files.begin()
    # As deletion and reuse of the inode look from outside: same inode, other content from the first byte on.
    log.write_text(f"new {LONG} {LONG}\n")
    assert texts(files) == [f"new {LONG} {LONG}"]


def test_no_file_is_an_error_that_names_the_pattern(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="nowhere"):
        AuditFiles([str(tmp_path / "nowhere.jsonl")]).read(1)


def test_a_file_that_rotates_while_it_is_read_is_read_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("one\n")
    files = AuditFiles([str(log)])
    listed = files._places
    looks: list[int] = []

    def places_then_rotation() -> list[Path]:
        found = listed()
        looks.append(len(found))
        if len(looks) == 1:
            log.rename(tmp_path / "audit.jsonl.1")
            log.write_text("two\n")
        return found

    monkeypatch.setattr(files, "_places", places_then_rotation)
    assert texts(files) == ["one", "two"]


def test_nothing_is_lost_or_doubled_while_a_writer_rotates_all_the_time(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.touch()
    files = AuditFiles([str(log)])
    files.begin()
    lines = 600
    written = threading.Event()

    def write() -> None:
        for number in range(lines):
            with log.open("a") as file:
                file.write(f"{number}\n")
            if number % 5 == 4:
                log.rename(tmp_path / f"audit.jsonl.{number}")
                log.touch()
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not written.is_set():
        seen = texts(files)
        assert len(seen) == len(set(seen))
    writer.join()
    assert sorted(map(int, texts(files))) == list(range(lines))


def test_what_is_no_regular_file_is_never_opened_for_long(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("old\n")
    os.mkfifo(tmp_path / "audit.jsonl.1")
    (tmp_path / "audit.jsonl.2").symlink_to("/dev/zero")
    (tmp_path / "audit.jsonl.3").mkdir()
    files = AuditFiles([str(log)])
    files.begin()
    with log.open("a") as file:
        file.write("new\n")
    assert texts(files) == ["new"]
    with pytest.raises(ToolError, match="no regular file"):
        AuditFiles([str(tmp_path / "audit.jsonl.1")]).read(1)


def test_what_was_there_before_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("old\n" * 100_000)
    files = AuditFiles([str(log)])
    read: list[int] = []
    pread = os.pread

    def counting(file: int, count: int, offset: int) -> bytes:
        found = pread(file, count, offset)
        read.append(len(found))
        return found

    monkeypatch.setattr(os, "pread", counting)
    files.begin()
    with log.open("a") as file:
        file.write("new\n")
    assert texts(files) == ["new"]
    assert sum(read) < 5_000


def test_a_file_that_is_copied_and_emptied_is_read_from_where_it_stood(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(f"old {LONG}\n")
    files = AuditFiles([str(log)])
    files.begin()
    with log.open("a") as file:
        file.write("one\n")
    shutil.copy(log, tmp_path / "audit.jsonl.1")
    log.write_text("two\n")
    assert texts(files) == ["one", "two"]


def test_too_much_is_an_error_that_says_so_and_never_a_cut_line(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("x" * 50 + "\n" + "y" * 200 + "\n")
    with pytest.raises(ToolError, match="a line of more than 100 bytes"):
        AuditFiles([str(log)], most_line_bytes=100).read(1)
    with pytest.raises(ToolError, match="were written during the run"):
        AuditFiles([str(log)], most_bytes=100).read(1)
    log.write_text("z" * 200)
    with pytest.raises(ToolError, match="a line of more than 100 bytes"):
        AuditFiles([str(log)], most_line_bytes=100).read(1)
    assert len(texts(AuditFiles([str(log)], most_line_bytes=200))) == 0


def test_json_that_is_nested_too_deep_is_kept_as_text(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("[" * 100_000 + "\n")
    (entry,) = AuditFiles([str(log)]).read(1)
    assert entry.fields is None
