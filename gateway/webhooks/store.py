"""What the journal's file remembers of webhooks: how far each has come, what waits, what is dead.  [IO]

The functions that write are for the journal's writing thread (`Bus.change`), the others for its reading thread. The
tables are made when they are first needed: a journal that was begun anew has none.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

MOST_DEAD = 1000
"""Dead letters kept of each webhook; the oldest give way."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS webhooks (name TEXT PRIMARY KEY, position INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS letters (
        name TEXT, seq INTEGER, event_id TEXT NOT NULL, type TEXT NOT NULL, text TEXT NOT NULL,
        attempts INTEGER NOT NULL, first_at REAL NOT NULL, due_at REAL, error TEXT NOT NULL, PRIMARY KEY (name, seq)
    )""",
)


class Letter(NamedTuple):
    """An event that could not be delivered, or not yet."""

    name: str
    """Of the webhook."""
    seq: int
    event_id: str
    type: str
    text: str
    attempts: int
    first_at: float
    """When the first attempt was made, in seconds since 1970."""
    due_at: float | None
    """When the next one is; None: it is dead."""
    error: str
    """Why the last one failed."""


def position(reader: sqlite3.Connection, name: str) -> int | None:
    """Return up to which sequence number a webhook's events are delivered, or kept here; None: it is new."""
    row = _fetched(reader, "SELECT position FROM webhooks WHERE name = ?", name)
    return row[0][0] if row else None


def waiting(reader: sqlite3.Connection, name: str) -> list[Letter]:
    """Return the letters that are to be sent again."""
    rows = _fetched(reader, "SELECT * FROM letters WHERE name = ? AND due_at IS NOT NULL ORDER BY seq", name)
    return [Letter._make(row) for row in rows]


def dead(reader: sqlite3.Connection, name: str) -> list[Letter]:
    """Return the letters that were given up, oldest first."""
    rows = _fetched(reader, "SELECT * FROM letters WHERE name = ? AND due_at IS NULL ORDER BY seq", name)
    return [Letter._make(row) for row in rows]


def move(writer: sqlite3.Connection, name: str, position: int) -> None:
    """Note up to where a webhook's events are delivered, or kept here."""
    _make(writer)
    writer.execute("INSERT OR REPLACE INTO webhooks VALUES (?, ?)", (name, position))


def put(writer: sqlite3.Connection, letter: Letter, position: int) -> None:
    """Keep a letter, waiting or dead, and note the position."""
    move(writer, letter.name, position)
    writer.execute("INSERT OR REPLACE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", letter)
    if letter.due_at is None:
        writer.execute(
            "DELETE FROM letters WHERE name = ? AND due_at IS NULL AND seq NOT IN "
            "(SELECT seq FROM letters WHERE name = ? AND due_at IS NULL ORDER BY seq DESC LIMIT ?)",
            (letter.name, letter.name, MOST_DEAD),
        )


def drop(writer: sqlite3.Connection, letter: Letter, position: int) -> None:
    """Forget a letter that was delivered, and note the position."""
    move(writer, letter.name, position)
    writer.execute("DELETE FROM letters WHERE name = ? AND seq = ?", (letter.name, letter.seq))


def revive(writer: sqlite3.Connection, name: str, now: float, most: int) -> list[Letter]:
    """Let up to `most` dead letters be sent again, as new ones, the oldest first; return them."""
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
    """Return the rows; none where the tables were never made."""
    known = reader.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('webhooks', 'letters')").fetchone()
    return reader.execute(query, (name,)).fetchall() if known == (2,) else []
