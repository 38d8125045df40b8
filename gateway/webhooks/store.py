"""Positions, pending events and dead letters of webhooks; stored in the journal's file.  [IO]

Functions that write are for the journal's writing thread (`Bus.change`), the others for its reading thread. The tables
are created on first use, since a renewed journal does not have them.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

MAX_DEAD = 1000
"""Dead letters per webhook; beyond this the oldest are deleted."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS webhooks (name TEXT PRIMARY KEY, position INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS letters (
        name TEXT, seq INTEGER, event_id TEXT NOT NULL, type TEXT NOT NULL, text TEXT NOT NULL,
        attempts INTEGER NOT NULL, first_at REAL NOT NULL, due_at REAL, error TEXT NOT NULL, PRIMARY KEY (name, seq)
    )""",
)


class Letter(NamedTuple):
    """An event whose delivery has failed so far."""

    name: str
    """The webhook's name."""
    seq: int
    event_id: str
    type: str
    text: str
    attempts: int
    first_at: float
    """Time of the first attempt, in seconds since 1970."""
    due_at: float | None
    """Time of the next attempt, in seconds since 1970; None: it is dead."""
    error: str
    """Why the last attempt failed."""


def position(reader: sqlite3.Connection, name: str) -> int | None:
    """Return the sequence number up to which events are delivered or stored here; None: the webhook is new."""
    row = _fetched(reader, "SELECT position FROM webhooks WHERE name = ?", name)
    return row[0][0] if row else None


def waiting(reader: sqlite3.Connection, name: str) -> list[Letter]:
    """Return the letters to be retried, oldest first."""
    rows = _fetched(reader, "SELECT * FROM letters WHERE name = ? AND due_at IS NOT NULL ORDER BY seq", name)
    return [Letter._make(row) for row in rows]


def dead(reader: sqlite3.Connection, name: str) -> list[Letter]:
    """Return the dead letters, oldest first."""
    rows = _fetched(reader, "SELECT * FROM letters WHERE name = ? AND due_at IS NULL ORDER BY seq", name)
    return [Letter._make(row) for row in rows]


def move(writer: sqlite3.Connection, name: str, position: int) -> None:
    """Store the position of a webhook."""
    _make(writer)
    writer.execute("INSERT OR REPLACE INTO webhooks VALUES (?, ?)", (name, position))


def put(writer: sqlite3.Connection, letter: Letter, position: int) -> None:
    """Store a letter, pending or dead, and the position."""
    move(writer, letter.name, position)
    writer.execute("INSERT OR REPLACE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", letter)
    if letter.due_at is None:
        writer.execute(
            "DELETE FROM letters WHERE name = ? AND due_at IS NULL AND seq NOT IN "
            "(SELECT seq FROM letters WHERE name = ? AND due_at IS NULL ORDER BY seq DESC LIMIT ?)",
            (letter.name, letter.name, MAX_DEAD),
        )


def drop(writer: sqlite3.Connection, letter: Letter, position: int) -> None:
    """Delete a delivered letter, and store the position."""
    move(writer, letter.name, position)
    writer.execute("DELETE FROM letters WHERE name = ? AND seq = ?", (letter.name, letter.seq))


def revive(writer: sqlite3.Connection, name: str, now: float, most: int) -> list[Letter]:
    """Make up to `most` dead letters pending again, the oldest first, with a new count of attempts; return them."""
    _make(writer)
    rows = writer.execute(
        "SELECT * FROM letters WHERE name = ? AND due_at IS NULL ORDER BY seq LIMIT ?", (name, most)
    ).fetchall()
    revived = [Letter._make(row)._replace(attempts=0, first_at=now, due_at=now) for row in rows]
    writer.executemany("INSERT OR REPLACE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", revived)
    return revived


def _make(writer: sqlite3.Connection) -> None:
    for statement in _TABLES:
        writer.execute(statement)


def _fetched(reader: sqlite3.Connection, query: str, name: str) -> list[tuple[Any, ...]]:
    """Return the rows; none if the tables do not exist yet."""
    known = reader.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('webhooks', 'letters')").fetchone()
    return reader.execute(query, (name,)).fetchall() if known == (2,) else []
