"""Subjects and cursors of the shared stream.  [S]

Subjects are ``<stream>.events.<journal id>.<call>.<leg>``. Full stops separate the parts, so calls and legs are
percent-encoded; ``%`` stands for an event without a call or leg.

A cursor of the stream is ``all-<stream id>-<stream sequence>``. The stream id is derived from the stream's name and
creation time, so a cursor of a deleted stream is recognised as unknown. It cannot be confused with a journal's cursor,
which starts with the journal's id.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from urllib.parse import quote

_NUMBER = re.compile(r"[0-9]{1,18}")


def all_subjects(stream: str) -> str:
    """Return the subject filter of all events."""
    return f"{stream}.events.>"


def of_journal(stream: str, journal_id: str) -> str:
    """Return the subject filter of the events of a journal."""
    return f"{stream}.events.{journal_id}.>"


def of_call(stream: str, journal_id: str, call_id: str | None) -> str:
    """Return the subject filter of the events of a call in a journal; None: of events without a call."""
    return f"{stream}.events.{journal_id}.{_part(call_id)}.>"


def subject(stream: str, journal_id: str, call_id: str | None, leg: str | None) -> str:
    """Return the subject of an event."""
    return f"{stream}.events.{journal_id}.{_part(call_id)}.{_part(leg)}"


def presence(stream: str, journal_id: str) -> str:
    """Return the subject on which a journal's gateway answers; it is not stored in the stream."""
    return f"{stream}.gateways.{journal_id}"


def stream_id(stream: str, created: datetime) -> str:
    """Return an id of the stream: 12 hexadecimal digits."""
    return hashlib.sha256(f"{stream} {created.isoformat()}".encode()).hexdigest()[:12]


def cursor(stream_id: str, seq: int) -> str:
    """Return the cursor of a position in the stream."""
    return f"all-{stream_id}-{seq:012d}"


def position(stream_id: str, newest: int, cursor: str) -> int | None:
    """Return the stream sequence that a cursor names, or None if it is not a cursor of this stream.

    Anything after a full stop is ignored, so the id of a `gap` or `heartbeat` is a cursor as well.
    """
    head, _, digits = cursor.partition(".")[0].rpartition("-")
    if head != f"all-{stream_id}" or not _NUMBER.fullmatch(digits) or int(digits) > newest:
        return None
    return int(digits)


def _part(name: str | None) -> str:
    return quote(name, safe="").replace(".", "%2E") if name else "%"
