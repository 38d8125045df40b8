"""The timeline of one call: per leg, the scored windows, the gaps, the alerts and the verdict.  [IO]

It contains no audio. Runs in the journal's reading thread, like `history`.
"""

from __future__ import annotations

import sqlite3

from gateway.alerts import history
from gateway.alerts.history import Facts

TYPES = (*history.SUMMARY_TYPES, "score", "alert.verified", "voice.expected", "coverage.reduced")
NO_GAP_S = 0.05
"""A smaller distance between windows is no gap: their ends are rounded to frames of audio."""


def of(reader: sqlite3.Connection, call_id: str, scores_after: int, tenant: str | None = None) -> Facts | None:
    """Return the timeline of the newest call with this id; None when there is none.

    Args:
        scores_after: scores up to this sequence number may have been pruned.
        tenant: only calls of this tenant; None: all.
    """
    call = history.newest(reader, call_id, tenant)
    if call is None:
        return None
    events = list(history.events_of(reader, call, TYPES))
    is_complete = call.number > scores_after
    return {
        "call_id": call.call_id,
        "source": call.source,
        "separation": call.separation,
        "tenant": call.tenant,
        "started": history.rfc3339(call.started),
        "ended": None if call.ended is None else history.rfc3339(call.ended),
        "windows_kept": is_complete,
        "legs": [_leg(part, is_complete) for part in _parts(events)],
    }


def _parts(events: list[Facts]) -> list[list[Facts]]:
    """Return the events per leg. A leg that ended and started again has one list per start."""
    parts: list[list[Facts]] = []
    current: dict[str, list[Facts]] = {}
    for event in events:
        name = event["data"].get("leg")
        if name is None:
            continue
        if event["type"] == "leg.started" or name not in current:
            current[name] = []
            parts.append(current[name])
        current[name].append(event)
    return parts


def _leg(events: list[Facts], is_complete: bool) -> Facts:
    by_type = {kind: [event for event in events if event["type"] == kind] for kind in TYPES}
    (leg, *_) = history.legs(events) or [history.unknown_leg(events[0]["data"]["leg"])]
    started = by_type["leg.started"][0]["data"] if by_type["leg.started"] else {}
    scores = [event["data"] for event in by_type["score"]]
    windows = [_window(score) for score in scores]
    verified = [event["data"] for event in by_type["alert.verified"]]
    duration_s = max((event["data"].get("media_time_s") or 0.0 for event in events), default=0.0)
    models = {data["model"] for data in (started, *scores, *verified) if data.get("model")}
    return leg | {
        "alert": None,
        "duration_s": round(duration_s, 3),
        "models": sorted(models),
        "calibration": started.get("calibration"),
        "windows": windows,
        "gaps": _gaps(windows, duration_s) if is_complete else None,
        "excluded": [
            {"at_s": data.get("media_time_s")}
            | {key: data.get(key) for key in ("reason", "windows_skipped", "missing_s")}
            for data in (event["data"] for event in by_type["coverage.reduced"])
        ],
        "verifications": [
            {"at_s": data.get("media_time_s")}
            | {key: data.get(key) for key in ("p_synthetic", "model", "verdict", "judged_speech_s", "alert_id")}
            for data in verified
        ],
        "expected_machine": [
            {"at_s": event["data"].get("media_time_s"), "p_synthetic": event["data"].get("p_synthetic")}
            for event in by_type["voice.expected"]
        ],
        "alerts": [_alert(event) for event in events if event["type"] in ("alert.raised", "alert.cleared")],
    }  # fmt: skip


def _window(score: Facts) -> Facts:
    return {
        "start_s": score["window_start_s"],
        "end_s": score["media_time_s"],
        "speech_s": score["window_speech_s"],
        "p_window": round(score["window_p_synthetic"], 4),
        "p_synthetic": round(score["p_synthetic"], 4),
        "reason": score["reason"],
    }


def _alert(event: Facts) -> Facts:
    data = event["data"]
    return {
        "alert_id": data.get("alert_id"),
        "at_s": data.get("media_time_s"),
        "move": data.get("stage", "cleared"),
        "time": event["time"],
    } | {key: data.get(key) for key in ("p_synthetic", "speech_s", "model", "reason")}


def _gaps(windows: list[Facts], duration_s: float) -> list[Facts]:
    """Return the parts of a leg's audio that are in no scored window."""
    gaps: list[Facts] = []
    scored_s = 0.0
    for window in sorted(windows, key=lambda one: float(one["start_s"])):
        if window["start_s"] - scored_s > NO_GAP_S:
            gaps.append({"start_s": round(scored_s, 3), "end_s": round(window["start_s"], 3)})
        scored_s = max(scored_s, window["end_s"])
    if duration_s - scored_s > NO_GAP_S:
        gaps.append({"start_s": round(scored_s, 3), "end_s": round(duration_s, 3)})
    return gaps
