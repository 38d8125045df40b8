"""The tables of a journal: creates them, checks them, and migrates those of an older version.  [IO]"""

from __future__ import annotations

import re
import secrets
import sqlite3

from gateway.alerts import call_index

_APPLICATION_ID = 0x63736A6C
"""``csjl`` in the file's header (PRAGMA application_id) identifies our files."""
VERSION = 2
"""1 had no `call_index`; such a file is migrated when it is opened."""
_SCHEMA = f"""
    BEGIN;
    CREATE TABLE journal (id TEXT, events INTEGER, events_after INTEGER, scores_after INTEGER);
    CREATE TABLE events (seq INTEGER PRIMARY KEY, type TEXT NOT NULL, call_id TEXT, leg TEXT, text TEXT NOT NULL);
    -- What has started and not ended. Its own table, because a long call outlives its pruned `call.started`.
    CREATE TABLE open (call_id TEXT, leg TEXT, text TEXT NOT NULL, PRIMARY KEY (call_id, leg));
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {VERSION};
    {";".join(call_index.STATEMENTS)};
"""


def prepare(writer: sqlite3.Connection) -> None:
    """Check that the file is a sound, writable journal; create the tables in an empty file. Raises ValueError."""
    version = check(writer)
    if version is None:
        writer.execute("PRAGMA auto_vacuum = INCREMENTAL")  # possible only while the file is empty; see `shrink`
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executescript(_SCHEMA)
        writer.execute("INSERT INTO journal VALUES (?, 0, 0, 0)", (secrets.token_hex(6),))
        writer.commit()
    elif version < VERSION:
        writer.execute("BEGIN")
        call_index.build(writer)
        writer.execute(f"PRAGMA user_version = {VERSION}")
        writer.commit()
    writer.execute("PRAGMA synchronous = NORMAL")
    writer.execute("UPDATE journal SET id = id")  # fails now rather than later if the file cannot be written
    writer.commit()


def check(reader: sqlite3.Connection) -> int | None:
    """Return the schema version, None of an empty file; nothing is written. Raises ValueError."""
    (application_id,) = reader.execute("PRAGMA application_id").fetchone()
    (version,) = reader.execute("PRAGMA user_version").fetchone()
    if application_id != _APPLICATION_ID:
        if reader.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise ValueError("it is the database of another program")
        return None
    if version not in (1, VERSION):
        raise ValueError(f"schema version: expected {VERSION}, got {version}")
    (fault,) = reader.execute("PRAGMA quick_check(1)").fetchone()
    if fault != "ok":
        raise ValueError(f"it is damaged: {' '.join(fault.split())}")
    return int(version)


def check_row(row: tuple[object, ...] | None, newest: int | None) -> None:
    """Check the row of the table `journal`. Raises ValueError."""
    journal_id, *marks = row or (None,)
    if not isinstance(journal_id, str) or not re.fullmatch(r"[0-9a-f]{12}", journal_id):
        raise ValueError("it is damaged: it has no id")
    if not all(isinstance(mark, int) and mark >= 0 for mark in (*marks, newest or 0)):
        raise ValueError("it is damaged: its counters are no numbers")
