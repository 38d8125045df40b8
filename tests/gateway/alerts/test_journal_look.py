"""A journal that is looked at, and not one byte of it changed."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.alerts.journal import Journal
from gateway.alerts.journal_look import look
from gateway.errors import ConfigError
from tests.gateway.alerts.test_call_index import CALL, version_1
from tests.gateway.commands.test_doctor import found


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files but the one that SQLite shares memory with."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


def test_an_old_layout_is_reported_and_stays(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    version_1(journals / "j", CALL)
    before = contents(journals)
    assert look(journals / "j").version == 1
    state, detail = found(tmp_path, f'port = 0\njournal = "{journals / "j"}"')["journal"]
    assert (state, detail) == (
        "note",
        f"{journals / 'j'} can be written; `serve` will migrate its layout, of version 1",
    )
    assert contents(journals) == before
    with closing(Journal(journals / "j", 10)):
        pass
    assert look(journals / "j").is_current


def test_a_journal_that_was_not_closed_is_read_to_its_end(tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with closing(Journal(tmp_path / "j", 10)) as journal:
        with pytest.raises(ConfigError, match="used by another gateway"):
            look(tmp_path / "j")
        journal._writer.execute("INSERT INTO events VALUES (1, 'x', NULL, NULL, 'the last one')")
        journal._writer.commit()
        for name in ("j", "j-wal"):
            shutil.copy(tmp_path / name, crashed / name)
    before = contents(crashed)
    assert look(crashed / "j").newest == "the last one"
    assert contents(crashed) == before


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no database at all, and longer than a header of one hundred bytes" * 3)
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE theirs (a)")
    before = contents(tmp_path)
    assert look(tmp_path / "empty") == (None, None)
    for name, why in (("text", "not a database"), ("other", "the database of another program")):
        with pytest.raises(ConfigError, match=why):
            look(tmp_path / name)
    assert contents(tmp_path) == before
