"""Summaries of calls, live and ended, from the journal.  [IO]

All functions run in the journal's reading thread (`Bus.query`) and return plain dictionaries, ready for JSON.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from gateway.errors import UNREADABLE_JSON

Facts = dict[str, Any]
SUMMARY_TYPES = ("leg.started", "leg.ended", "alert.raised", "alert.cleared")
"""Event types from which a call's summary is made, besides `FEEDBACK`."""
FEEDBACK = "feedback.given"
EVIDENCE = "alert.evidence"
"""Types of events that a call's summary is made of."""
LEG_FACTS = ("speaker", "role", "direction", "encoding", "rate_hz")
"""Fields taken from ``leg.started``."""
VERDICT_FACTS = (
    "media_time_s", "speech_s", "p_synthetic", "verdict", "reason", "windows_scored", "windows_skipped",
    "windows_crosstalk", "audio_s", "missing_s", "coverage_reduced", "ended_by",
)  # fmt: skip
"""Fields taken from ``leg.ended``."""


class Call(NamedTuple):
    """A row of the table `calls`; see `call_index`."""

    number: int
    last: int | None
    call_id: str
    started: float
    ended: float | None
    source: str
    separation: str
    tenant: str | None
    verdicts: str


_COLUMNS = ", ".join(Call._fields)


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Which calls to return; a field that is None does not restrict them."""

    since: float | None = None
    """Calls that started at this time or later; seconds since 1970."""
    until: float | None = None
    """Calls that started before this time; seconds since 1970."""
    verdict: str | None = None
    """Calls with a leg of this verdict, and all live calls: verdicts of live calls are not in the journal."""
    text: str | None = None
    """Calls whose id contains this; not case-sensitive."""
    state: Literal["live", "ended"] | None = None
    tenant: str | None = None
    """Calls of this tenant only."""

    def conditions(self) -> tuple[list[str], list[object]]:
        """Return SQL conditions and their parameters."""
        conditions: list[str] = []
        parameters: list[object] = []
        for condition, value in (
            ("started >= ?", self.since),
            ("started < ?", self.until),
            ("(last IS NULL OR EXISTS (SELECT 1 FROM json_each(verdicts) WHERE value = ?))", self.verdict),
            ("instr(lower(call_id), lower(?)) > 0", self.text),
            ("tenant = ?", self.tenant),
        ):
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        if self.state is not None:
            conditions.append("last IS NULL" if self.state == "live" else "last IS NOT NULL")
        return conditions, parameters


def page(
    reader: sqlite3.Connection, query: CallQuery, before: int | None, limit: int
) -> tuple[list[Facts], int | None]:
    """Return summaries of up to `limit` calls, newest first, and `before` for the next page, None on the last.

    Args:
        before: only calls with a smaller number; None: from the newest.
    """
    conditions, parameters = query.conditions()
    if before is not None:
        conditions.append("number < ?")
        parameters.append(before)
    where = " AND ".join(conditions) or "1"
    rows = reader.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE {where} ORDER BY number DESC LIMIT ?",  # noqa: S608
        (*parameters, limit + 1),
    ).fetchall()
    calls = [Call._make(row) for row in rows]
    next_before = calls[limit - 1].number if len(calls) > limit else None
    return [summary(reader, call) for call in calls[:limit]], next_before


def newest(reader: sqlite3.Connection, call_id: str, tenant: str | None) -> Call | None:
    """Return the newest call with that id; None when there is none.

    Args:
        tenant: only calls of this tenant; None: all.
    """
    row = reader.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE call_id = ? AND (? IS NULL OR tenant = ?) ORDER BY number DESC LIMIT 1",  # noqa: S608
        (call_id, tenant, tenant),
    ).fetchone()
    return Call._make(row) if row else None


def one(reader: sqlite3.Connection, call_id: str, tenant: str | None = None) -> Facts | None:
    """Return the summary of `newest`."""
    call = newest(reader, call_id, tenant)
    return summary(reader, call) if call else None


def events_of(reader: sqlite3.Connection, call: Call, types: tuple[str, ...]) -> Iterator[Facts]:
    """Return the call's events of these types, oldest first. Damaged events are left out."""
    marks = ", ".join("?" * len(types))
    rows = reader.execute(
        f"SELECT text FROM events WHERE call_id = ? AND type IN ({marks}) AND seq BETWEEN ? AND ? "  # noqa: S608
        "ORDER BY seq",
        (call.call_id, *types, call.number, 1 << 62 if call.last is None else call.last),
    )
    yield from decoded(text for (text,) in rows)


def decoded(texts: Iterable[str]) -> Iterator[Facts]:
    """Return stored events as dictionaries. Damaged events are left out."""
    for text in texts:
        try:
            event = msgspec.json.decode(text)
            if isinstance(event["data"], dict):
                yield event
        except (*UNREADABLE_JSON, KeyError, TypeError):
            continue


def _about_alerts(reader: sqlite3.Connection, call: Call) -> Iterator[Facts]:
    """Return what was said, and stored, of the call's alerts, maybe after it had ended."""
    rows = reader.execute(
        "SELECT text FROM events WHERE call_id = ? AND type IN (?, ?) AND seq > ? ORDER BY seq",
        (call.call_id, FEEDBACK, EVIDENCE, call.number),
    )
    return decoded(text for (text,) in rows)


def summary(reader: sqlite3.Connection, call: Call) -> Facts:
    """Return a call, its legs and its alerts."""
    events = [*events_of(reader, call, SUMMARY_TYPES), *_about_alerts(reader, call)]
    return {
        "call_id": call.call_id,
        "source": call.source,
        "separation": call.separation,
        "tenant": call.tenant,
        "started": rfc3339(call.started),
        "ended": None if call.ended is None else rfc3339(call.ended),
        "legs": legs(events),
        "alerts": alerts(events),
    }


def legs(events: list[Facts]) -> list[Facts]:
    """Return the legs of ``leg.started`` and ``leg.ended`` events; one that started twice is listed twice."""
    result: list[Facts] = []
    open_legs: dict[str, Facts] = {}
    for event in events:
        data = event["data"]
        name = data.get("leg")
        if event["type"] == "leg.started":
            open_legs[name] = unknown_leg(name) | {fact: data.get(fact) for fact in LEG_FACTS}
            result.append(open_legs[name])
        elif event["type"] == "leg.ended":
            leg = open_legs.pop(name, None)
            if leg is None:  # its start was pruned
                leg = unknown_leg(name) | {fact: data.get(fact) for fact in ("speaker", "role")}
                result.append(leg)
            leg |= {fact: data.get(fact) for fact in VERDICT_FACTS}
    return result


def unknown_leg(name: str) -> Facts:
    """Return a leg whose facts are all null."""
    return {"leg": name} | dict.fromkeys((*LEG_FACTS, *VERDICT_FACTS))


def alerts(events: list[Facts]) -> list[Facts]:
    """Return the alerts, each with the highest stage that it reached."""
    by_id: dict[str, Facts] = {}
    for event in events:
        data = event["data"]
        if event["type"] == FEEDBACK and data.get("alert_id") in by_id:
            by_id[data["alert_id"]]["feedback"] = {
                "verdict": data.get("verdict"), "note": data.get("note"), "time": event["time"]
            }  # fmt: skip
        if event["type"] == EVIDENCE and data.get("alert_id") in by_id:
            by_id[data["alert_id"]]["evidence"] = data.get("outcome")
        if event["type"] not in ("alert.raised", "alert.cleared"):
            continue
        alert = by_id.setdefault(
            data.get("alert_id"),
            {"alert_id": data.get("alert_id"), "leg": data.get("leg"), "stage": None, "raised": None, "cleared": None}
            | dict.fromkeys(("media_time_s", "p_synthetic", "model", "reason", "feedback", "evidence")),
        )
        if event["type"] == "alert.cleared":
            alert["cleared"] = event["time"]
            continue
        alert["raised"] = alert["raised"] or event["time"]
        alert |= {fact: data.get(fact) for fact in ("stage", "media_time_s", "p_synthetic", "model", "reason")}
    return list(by_id.values())


def rfc3339(at: float) -> str:
    """Return a time, given in seconds since 1970, in RFC 3339: UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
