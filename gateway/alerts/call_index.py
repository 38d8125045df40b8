"""Index of the calls and alerts in a journal; updated in the same transaction as the events.  [IO]

A row of `calls` is one call from ``call.started`` to ``call.ended``; a call id that is used again has several rows.
`number` is the sequence number of the start, `last` that of the end, null while the call is live. A row is deleted with
the last event of its call.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from typing import Any

import msgspec

from gateway.alerts.event import EVENT_TYPES, AlertRaised, CallEnded, CallStarted, LegEnded
from gateway.errors import UNREADABLE_JSON

STATEMENTS = (
    "CREATE INDEX events_by_call ON events (call_id, type)",
    """CREATE TABLE calls (
        number INTEGER PRIMARY KEY, last INTEGER, call_id TEXT NOT NULL, started REAL NOT NULL, ended REAL,
        source TEXT, separation TEXT, tenant TEXT, verdicts TEXT NOT NULL DEFAULT '{}'
    )""",
    "CREATE INDEX calls_by_id ON calls (call_id)",
    "CREATE TABLE alerts (seq INTEGER PRIMARY KEY, alert_id TEXT NOT NULL)",
    "CREATE INDEX alerts_by_id ON alerts (alert_id)",
)
"""Create the tables and indices. Times are seconds since 1970; `verdicts` is a JSON object from leg to verdict."""

_CALL_STARTED, _CALL_ENDED = EVENT_TYPES[CallStarted], EVENT_TYPES[CallEnded]
_LEG_ENDED, _ALERT_RAISED = EVENT_TYPES[LegEnded], EVENT_TYPES[AlertRaised]
_INDEXED = (_CALL_STARTED, _CALL_ENDED, _LEG_ENDED, _ALERT_RAISED)
UNFIT = (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.IntegrityError)
"""Raised by SQLite for a value of a wrong type, such as an object in place of a text."""
_OF_THE_NEWEST = " WHERE number = (SELECT max(number) FROM calls WHERE call_id = ?)"
_END_CALL = "UPDATE calls SET last = ?, ended = ?" + _OF_THE_NEWEST  # noqa: S608  constants
_END_LEG = "UPDATE calls SET verdicts = json_patch(verdicts, ?)" + _OF_THE_NEWEST  # noqa: S608


def add(writer: sqlite3.Connection, seq: int, kind: str, call_id: str | None, leg: str | None, text: str) -> None:
    """Add a stored event to the index. An event that is damaged or concerns no call is ignored.

    Raises:
        sqlite3.Error: the index cannot be written.
    """
    if kind not in _INDEXED or call_id is None:
        return
    try:
        event = msgspec.json.decode(text)
        data, at = event["data"], datetime.fromisoformat(event["time"]).timestamp()
        if kind == _CALL_STARTED:
            _start(writer, seq, call_id, at, data)
        elif kind == _CALL_ENDED:
            writer.execute(_END_CALL, (seq, at, call_id))
        elif kind == _LEG_ENDED:
            writer.execute(_END_LEG, (json.dumps({leg: data["verdict"]}), call_id))
        else:
            _raise(writer, seq, data["alert_id"])
    except (*UNREADABLE_JSON, ValueError, KeyError, TypeError, *UNFIT):  # a damaged event must not stop the writer
        return


def build(writer: sqlite3.Connection) -> None:
    """Create the index of a journal that already holds events, within the open transaction."""
    for statement in STATEMENTS:
        writer.execute(statement)
    marks = ", ".join("?" * len(_INDEXED))
    events = writer.execute(
        f"SELECT seq, type, call_id, leg, text FROM events WHERE type IN ({marks}) ORDER BY seq",  # noqa: S608
        _INDEXED,
    )
    for event in events:
        add(writer, *event)


def prune(writer: sqlite3.Connection, events_after: int) -> None:
    """Delete calls and alerts that have no event after `events_after`."""
    writer.execute("DELETE FROM calls WHERE number <= ? AND last <= ?", (events_after, events_after))
    writer.execute("DELETE FROM alerts WHERE seq <= ?", (events_after,))


def _start(writer: sqlite3.Connection, seq: int, call_id: str, at: float, data: dict[str, Any]) -> None:
    # If the end of an earlier call with this id was lost, as in a full queue, that call ends here.
    writer.execute(
        "UPDATE calls SET last = ?, ended = ? WHERE call_id = ? AND last IS NULL AND number < ?",
        (seq - 1, at, call_id, seq),
    )
    writer.execute(
        "INSERT OR REPLACE INTO calls (number, call_id, started, source, separation, tenant) VALUES (?, ?, ?, ?, ?, ?)",
        (seq, call_id, at, data["source"], data["separation"], data.get("tenant")),
    )


def _raise(writer: sqlite3.Connection, seq: int, alert_id: str) -> None:
    writer.execute(
        "INSERT INTO alerts SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM alerts WHERE alert_id = ?)",
        (seq, alert_id, alert_id),
    )
