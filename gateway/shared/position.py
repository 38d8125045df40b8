"""The position up to which a journal has been forwarded; stored in the journal's file.  [IO]

`move` is for the journal's writing thread (`Bus.change`), `read` for its reading thread. The table is created on first
use, since a renewed journal does not have it.
"""

from __future__ import annotations

import sqlite3


def read(reader: sqlite3.Connection, stream: str) -> int | None:
    """Return the sequence number up to which events are in the stream; None: unknown."""
    try:
        row = reader.execute("SELECT seq FROM forwarded WHERE stream = ?", (stream,)).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return None
    return int(row[0]) if row else None


def move(writer: sqlite3.Connection, stream: str, seq: int) -> None:
    """Store the sequence number up to which events are in the stream."""
    writer.execute("CREATE TABLE IF NOT EXISTS forwarded (stream TEXT PRIMARY KEY, seq INTEGER NOT NULL)")
    writer.execute("INSERT OR REPLACE INTO forwarded VALUES (?, ?)", (stream, seq))
