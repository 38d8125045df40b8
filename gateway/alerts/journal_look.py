"""Reads a journal without changing it, for `callscreen doctor`.  [IO]"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gateway.alerts import journal_file, journal_schema
from gateway.errors import ConfigError


class Look(NamedTuple):
    """What was found."""

    version: int | None
    """Schema version; None: the file is empty."""
    newest: str | None
    """The last event, a CloudEvent as JSON."""

    @property
    def is_current(self) -> bool:
        """Whether `serve` uses the file without a migration."""
        return self.version in (None, journal_schema.VERSION)


def look(path: Path) -> Look:
    """Read the journal at `path`.

    Nothing is written, except SQLite's shared memory file (``-shm``) of a journal that was not closed.

    Raises:
        ConfigError: what `Journal` raises: the file cannot be read or written, is damaged, is not a journal, or belongs
            to a running gateway.
    """
    _check_lock(path)
    wal = path.with_name(path.name + "-wal")
    closed = not wal.exists() or wal.stat().st_size == 0
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if closed else 'mode=ro'}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as reader:
            reader.text_factory = lambda text: text.decode(errors="replace")
            version = journal_schema.check(reader)
            newest = None
            if version is not None:
                row = reader.execute("SELECT id, events, events_after, scores_after FROM journal").fetchone()
                newest = reader.execute("SELECT seq, text FROM events ORDER BY seq DESC LIMIT 1").fetchone()
                journal_schema.check_row(row, newest[0] if newest else None)
    except (sqlite3.Error, ValueError) as error:
        raise journal_file.unusable(path, error) from None
    if not (os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK)):
        raise ConfigError(f"journal: {path} cannot be used: expected a file, and a folder, that this user can write")
    return Look(version, newest[1] if newest else None)


def _check_lock(path: Path) -> None:
    """Raises ConfigError where a gateway has the journal; the lock file is not made for that."""
    try:
        with journal_file.lock_path(path).open("rb") as locked:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except BlockingIOError:
        raise journal_file.in_use(path) from None
    except OSError as error:
        raise ConfigError(f"journal: {path} cannot be used: {error.strerror}") from None
