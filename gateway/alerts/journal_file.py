"""The journal's file: its lock, its new name when it is damaged, and the error when it cannot be used.  [IO]"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

from gateway.errors import ConfigError


def lock(path: Path) -> IO[bytes]:
    """Lock the journal for this process, until the file is closed or the process ends.

    A second gateway on the same journal would issue the same cursors. The lock is a separate file, because SQLite's own
    locks are lost when the process closes any other descriptor of the journal.
    """
    try:
        locked = lock_path(path).open("ab")
    except OSError as error:
        raise ConfigError(
            f"journal: expected a file in a folder that can be written, got {path}: {error.strerror}"
        ) from None
    try:
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        locked.close()
        raise in_use(path) from None
    return locked


def lock_path(path: Path) -> Path:
    """Return the file beside a journal that a gateway locks."""
    return path.with_name(path.name + "-lock")


def in_use(path: Path) -> ConfigError:
    """Return the error that says that another gateway has the journal."""
    return ConfigError(f"journal: {path} is used by another gateway; stop it, or set `journal` to another path")


def move_aside(path: Path) -> Path:
    """Rename a journal and the files that SQLite keeps beside it; return the new path."""
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    kept = next(name for name in names if not name.exists())
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    return kept


def unusable(path: Path, why: object) -> ConfigError:
    """Return the error for a journal that cannot be used, with what to do about it."""
    advice = "Move the file away to start a new journal, or set `journal` to another path"
    code = getattr(why, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_READONLY:
        advice = "Expected a file, and a folder, that this user can write"
    elif code == sqlite3.SQLITE_FULL:
        advice = "Free some space, or set `journal` to another path"
    return ConfigError(f"journal: {path} cannot be used: {why}. {advice}")
