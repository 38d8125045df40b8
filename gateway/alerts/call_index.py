"""Which calls and alerts a journal holds: tables kept in the same transaction as the events.  [IO]

A row of `calls` is one call from ``call.started`` to ``call.ended``; an id that is used again has a row for each time.
`number` is the sequence number of the start, `last` that of the end, null while the call goes on. A row stays until the
last event of its call is pruned.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from typing import Any

import msgspec

from gateway.alerts.event import EVENT_TYPES, AlertRaised, CallEnded, CallStarted, LegEnded

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
"""What makes the tables. Times are seconds since 1970; `verdicts` is a JSON object, leg to verdict."""

_CALL_STARTED, _CALL_ENDED = EVENT_TYPES[CallStarted], EVENT_TYPES[CallEnded]
_LEG_ENDED, _ALERT_RAISED = EVENT_TYPES[LegEnded], EVENT_TYPES[AlertRaised]
_FOLLOWED = (_CALL_STARTED, _CALL_ENDED, _LEG_ENDED, _ALERT_RAISED)
UNFIT = (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.IntegrityError)
"""What SQLite raises for a value that no column takes, such as an object where a text should stand."""
_OF_THE_NEWEST = " WHERE number = (SELECT max(number) FROM calls WHERE call_id = ?)"
_END_CALL = "UPDATE calls SET last = ?, ended = ?" + _OF_THE_NEWEST  # noqa: S608  constants
_END_LEG = "UPDATE calls SET verdicts = json_patch(verdicts, ?)" + _OF_THE_NEWEST  # noqa: S608


def follow(writer: sqlite3.Connection, seq: int, kind: str, call_id: str | None, leg: str | None, text: str) -> None:
    """Take note of a stored event; of one that cannot be read, or that tells of no call, nothing is noted.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    if kind not in _FOLLOWED or call_id is None:
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
    except (ValueError, KeyError, TypeError, *UNFIT):  # what is damaged costs itself alone
        return


def build(writer: sqlite3.Connection) -> None:
    """Make the tables in a journal that has events already, inside the transaction that is open."""
    for statement in STATEMENTS:
        writer.execute(statement)
    marks = ", ".join("?" * len(_FOLLOWED))
    events = writer.execute(
        f"SELECT seq, type, call_id, leg, text FROM events WHERE type IN ({marks}) ORDER BY seq",  # noqa: S608
        _FOLLOWED,
    )
    for event in events:
        follow(writer, *event)


def prune(writer: sqlite3.Connection, events_after: int) -> None:
    """Forget the calls and alerts of which no event after `events_after` is left."""
    writer.execute("DELETE FROM calls WHERE number <= ? AND last <= ?", (events_after, events_after))
    writer.execute("DELETE FROM alerts WHERE seq <= ?", (events_after,))


def _start(writer: sqlite3.Connection, seq: int, call_id: str, at: float, data: dict[str, Any]) -> None:
    # An end that was lost, as in a full queue, does not leave a call open for ever.
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
