"""How far a journal has been forwarded, kept in its own file.  [IO]

`move` is for the journal's writing thread (`Bus.change`), `read` for its reading thread. The table is made when it is
first needed: a journal that was begun anew has none.
"""

from __future__ import annotations

import sqlite3


def read(reader: sqlite3.Connection, stream: str) -> int | None:
    """Return up to which sequence number events are in the stream; None: nothing is known."""
    try:
        row = reader.execute("SELECT seq FROM forwarded WHERE stream = ?", (stream,)).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return None
    return int(row[0]) if row else None


def move(writer: sqlite3.Connection, stream: str, seq: int) -> None:
    """Note up to which sequence number events are in the stream."""
    writer.execute("CREATE TABLE IF NOT EXISTS forwarded (stream TEXT PRIMARY KEY, seq INTEGER NOT NULL)")
    writer.execute("INSERT OR REPLACE INTO forwarded VALUES (?, ?)", (stream, seq))
