"""The journal's file itself: its lock, its name when it is damaged, and what to tell when it cannot be used.  [IO]"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

from gateway.errors import ConfigError


def lock(path: Path) -> IO[bytes]:
    """Take the journal for this process, until the file is closed or the process dies.

    A second gateway on the same journal would give out the same cursors. The lock is a file beside it, because SQLite's
    own locks on the journal are lost when the process closes any other descriptor of it.
    """
    try:
        locked = path.with_name(path.name + "-lock").open("ab")
    except OSError as error:
        raise ConfigError(
            f"journal: {path} cannot be used: {error.strerror}; expected a file in a folder that can be written"
        ) from None
    try:
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        locked.close()
        raise ConfigError(
            f"journal: {path} is used by another gateway that is running; set `journal` to another path"
        ) from None
    return locked


def moved_aside(path: Path) -> Path:
    """Rename a journal, with what SQLite keeps beside it; return its new name."""
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    kept = next(name for name in names if not name.exists())
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    return kept


def unusable(path: Path, why: object) -> ConfigError:
    """Return the error that says why a journal cannot be used, and what to do."""
    advice = "Move the file away to start a new journal, or set `journal` to another path"
    if getattr(why, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
        advice = "Expected a file, and a folder, that this user can write"
    return ConfigError(f"journal: {path} cannot be used: {why}. {advice}")
