"""The journal: all events of a gateway in one SQLite file.  [IO]

Write-ahead logging with ``synchronous=NORMAL``: a commit reaches the operating system, so killing the process loses
nothing; a power failure may lose the last commits. The writer and the reader have their own connections, so that one
thread can append while another one replays. All methods block; `bus.Bus` owns both threads.

A cursor is ``<journal id>-<sequence number>``. The id is created with the file, so a cursor of another or a deleted
journal is recognised as unknown.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from gateway.alerts import call_index, journal_file, journal_schema
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import EVENT_TYPES, CallEnded, CallStarted, LegEnded, LegStarted, Scored
from gateway.errors import UNREADABLE_JSON

SCORE = EVENT_TYPES[Scored]
SCORES_SHARE = 10
"""Scores are by far the most frequent events: only those among the newest 1/10 of `max_events` are kept."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_STARTS = (EVENT_TYPES[CallStarted], EVENT_TYPES[LegStarted])
_ENDS = (EVENT_TYPES[CallEnded], EVENT_TYPES[LegEnded])
Result = TypeVar("Result")


class _Timed(msgspec.Struct):
    time: Annotated[datetime, msgspec.Meta(tz=True)]


_timed = msgspec.json.Decoder(_Timed)


class Entry(NamedTuple):
    """One event as it is stored and sent."""

    seq: int
    """1, 2, 3 … without gaps."""
    type: str
    call_id: str | None
    leg: str | None
    text: str
    """The CloudEvent as JSON."""


class Journal:
    """The events of one gateway, oldest first, bounded by count.

    Args:
        path: the SQLite file; created if it does not exist.
        max_events: beyond this the oldest are deleted; scores earlier (`SCORES_SHARE`).

    Raises:
        ConfigError: the file cannot be read or written, is damaged, is not a journal, or is used by another gateway.
    """

    def __init__(self, path: Path, max_events: int) -> None:
        self._path = path
        self._max_events = max_events
        self._prune_every = max(1, min(max_events // 100, 1000))  # pruning 1000 holds up the writer for some 15 ms
        self._unpruned = 0
        self._reading = threading.Lock()
        """Held while the reader's connection is used or replaced, since `renew` runs in the writer's thread."""
        self._lock = journal_file.lock(path)
        try:
            self._connect()
            row = self._reader.execute("SELECT id, events, events_after, scores_after FROM journal").fetchone()
            (newest,) = self._reader.execute("SELECT max(seq) FROM events").fetchone()
            journal_schema.check_row(row, newest)
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise journal_file.unusable(path, error) from None
        self.id: str
        self._count: int
        self._events_after: int
        self._scores_after: int
        self.id, self._count, self._events_after, self._scores_after = row
        self.newest: int = max(newest or 0, self._events_after)
        """Sequence number of the last stored event; 0 when there was none."""
        self.renewals = 0
        """Number of new files that `renew` has started."""

    @property
    def source(self) -> str:
        """The CloudEvents `source` of this journal's events."""
        return f"/callscreen/{self.id}"

    def cursor(self, seq: int) -> str:
        """Return the event id of sequence number `seq`; it is also the cursor."""
        return f"{self.id}-{seq:012d}"

    def position(self, cursor: str) -> int | None:
        """Return the sequence number that `cursor` names, or None if this journal never issued it.

        Anything after a full stop is ignored, so the id of a `gap` or `heartbeat` is a cursor as well.
        """
        journal_id, _, digits = cursor.partition(".")[0].rpartition("-")
        if journal_id != self.id or not _NUMBER.fullmatch(digits) or int(digits) > self.newest:
            return None
        return int(digits)

    def kept_after(self, *, scores: bool) -> int:
        """Return the sequence number after which no event was deleted; with `scores`, no score either."""
        return max(self._events_after, self._scores_after) if scores else self._events_after

    def append(self, entries: Sequence[Entry]) -> None:
        """Store `entries` in one transaction. Storing the same ones again does no harm. For the writer's thread.

        Raises:
            sqlite3.Error: none of them was stored.
        """
        count = self._count + len(entries)
        prune = self._unpruned + len(entries) >= self._prune_every
        with self._writer as writer:
            writer.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)", entries)
            self._track_open(entries)
            for entry in entries:
                call_index.add(writer, *entry)
            if prune:
                count -= self._prune(newest=entries[-1].seq, count=count)
            writer.execute(
                "UPDATE journal SET events = ?, events_after = ?, scores_after = ?",
                (count, self._events_after, self._scores_after),
            )
        self._count = count
        self._unpruned = 0 if prune else self._unpruned + len(entries)
        self.newest = entries[-1].seq

    def after(self, seq: int, limit: int) -> list[Entry]:
        """Return the oldest `limit` events after `seq`, in order. For the reader's thread.

        Call `kept_after` afterwards: if it is greater than `seq`, events may be missing.
        """
        with self._reading:
            rows = self._reader.execute(
                "SELECT seq, CAST(type AS TEXT), call_id, leg, CAST(text AS TEXT) FROM events WHERE seq > ? "
                "ORDER BY seq LIMIT ?",
                (seq, limit),
            )
            return [Entry._make(row) for row in rows]

    def query(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `read` returns, given the reader's connection. For the reader's thread."""
        with self._reading:
            return read(self._reader)

    def change(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `change` in one transaction and return its result. For the writer's thread.

        Raises:
            sqlite3.Error: nothing was stored.
        """
        with self._writer as writer:
            return change(writer)

    def expire(self, before: datetime, most: int) -> int:
        """Of the `most` oldest events, delete those up to the newest made before `before`. For the writer's thread.

        Returns:
            The number of deleted events.

        Raises:
            sqlite3.Error: nothing was deleted.
        """
        with self._writer as writer:
            oldest = writer.execute("SELECT seq, text FROM events ORDER BY seq LIMIT ?", (most,)).fetchall()
            stale = [seq for seq, text in oldest if (made := _time(text)) and made < before]
            if not stale:
                return 0
            self._events_after = max(self._events_after, stale[-1])
            gone = writer.execute("DELETE FROM events WHERE seq <= ?", (self._events_after,)).rowcount
            call_index.prune(writer, self._events_after)
            writer.execute(
                "UPDATE journal SET events = ?, events_after = ?", (max(0, self._count - gone), self._events_after)
            )
        self._count = max(0, self._count - gone)
        return gone

    def shrink(self, most_pages: int) -> None:
        """Return free pages to the file system, if more than a tenth are free. For the writer's thread.

        Files made before ``auto_vacuum`` was switched on keep their size.
        """
        (empty,), (pages,) = (
            self._writer.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count")
        )
        if empty > pages // 10:
            self._writer.execute(f"PRAGMA incremental_vacuum({most_pages:d})").fetchall()

    def open_calls(self) -> list[CloudEvent]:
        """Return the `call.started` and `leg.started` events without an end, oldest first. For the reader's thread.

        After a crash these calls look live to subscribers until their end is published.

        Raises:
            ConfigError: one of them cannot be read.
        """
        with self._reading:
            rows = self._reader.execute("SELECT CAST(text AS TEXT) FROM open").fetchall()
        try:
            return sorted((_start(text) for (text,) in rows), key=lambda event: event.id)
        except ValueError:
            raise journal_file.unusable(self._path, "an open call is not stored as the start of a call") from None

    def renew(self, renewals: int) -> Path | None:
        """Replace a damaged file by a new one, and keep the damaged one beside it. For the writer's thread.

        The id stays the same and sequence numbers continue, so cursors stay valid. Earlier events cannot be read.

        Args:
            renewals: the counter when the damage was found; if it has changed since, nothing is done.

        Returns:
            The new path of the damaged file; None if nothing was done.

        Raises:
            sqlite3.Error, OSError: there is no new file; try again.
        """
        if renewals != self.renewals:
            return None
        with self._reading:
            open_calls: list[tuple[object, ...]] = []
            with suppress(sqlite3.Error):
                open_calls = self._reader.execute("SELECT call_id, leg, text FROM open").fetchall()
            self._disconnect()
            kept = journal_file.move_aside(self._path)
            self._connect()
            with self._writer as writer:
                writer.execute(
                    "UPDATE journal SET id = ?, events_after = ?, scores_after = ?", (self.id, self.newest, self.newest)
                )
                writer.executemany("INSERT INTO open VALUES (?, ?, ?)", open_calls)
                for text in (str(text) for _, leg, text in open_calls if not leg):
                    self._index_again(writer, text)
        self._count = self._unpruned = 0
        self._events_after = self._scores_after = self.newest
        self.renewals += 1
        return kept

    def close(self) -> None:
        """Close the file. Neither thread may use it any more."""
        self._disconnect()
        self._lock.close()

    def _connect(self) -> None:
        self._connections = ExitStack()
        self._writer = self._connections.enter_context(closing(sqlite3.connect(self._path, check_same_thread=False)))
        self._writer.text_factory = _text
        journal_schema.prepare(self._writer)
        self._reader = self._connections.enter_context(closing(sqlite3.connect(self._path, check_same_thread=False)))
        self._reader.text_factory = _text

    def _disconnect(self) -> None:
        with suppress(sqlite3.Error):
            self._connections.close()

    def _index_again(self, writer: sqlite3.Connection, text: str) -> None:
        """Add a call that started in the old file to the index of the new one."""
        with suppress(ValueError):
            started = _start(text)
            seq, data = self.position(started.id), started.data
            if seq is not None and isinstance(data, CallStarted | LegStarted):
                call_index.add(writer, seq, started.type, data.call_id, None, text)

    def _track_open(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.type in _STARTS:
                self._writer.execute(
                    "INSERT OR REPLACE INTO open VALUES (?, ?, ?)", (entry.call_id, entry.leg or "", entry.text)
                )
            elif entry.type in _ENDS:
                self._writer.execute("DELETE FROM open WHERE call_id = ? AND leg = ?", (entry.call_id, entry.leg or ""))

    def _prune(self, newest: int, count: int) -> int:
        """Delete old scores, then the oldest of `count` events beyond the limit; return the number of deleted ones.

        The marks move before the deletion is visible: if a reader sees them unchanged, it has missed nothing.
        """
        scores_from, self._scores_after = (
            self._scores_after,
            max(self._scores_after, newest - max(1, self._max_events // SCORES_SHARE)),
        )
        gone = self._writer.execute(
            "DELETE FROM events WHERE seq > ? AND seq <= ? AND type = ?", (scores_from, self._scores_after, SCORE)
        ).rowcount
        excess = count - gone - self._max_events
        if excess > 0:
            (self._events_after,) = self._writer.execute(
                "SELECT seq FROM events ORDER BY seq LIMIT 1 OFFSET ?", (excess - 1,)
            ).fetchone()
            gone += self._writer.execute("DELETE FROM events WHERE seq <= ?", (self._events_after,)).rowcount
            call_index.prune(self._writer, self._events_after)
        return gone


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged, so that a retry cannot help."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _text(stored: bytes) -> str:
    """Decode a text column leniently, so that a damaged event does not prevent the replay of the others."""
    return stored.decode("utf-8", "replace")


def _start(text: str) -> CloudEvent:
    """Parse a stored start of a call or leg. Raises ValueError."""
    event = CloudEvent.model_validate_json(text)
    if not isinstance(event.data, CallStarted | LegStarted):
        raise ValueError("not the start of a call or leg")
    return event


def _time(text: str) -> datetime | None:
    """Return when a stored event was made; None if it cannot be read."""
    try:
        return _timed.decode(text).time
    except UNREADABLE_JSON:
        return None
