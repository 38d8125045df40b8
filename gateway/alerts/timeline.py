"""One call, leg by leg, along its audio: what was judged, by whom, what was not, and the verdict.  [IO]

Evidence without audio. Runs on the journal's reading thread, as `history` does.
"""

from __future__ import annotations

import sqlite3

from gateway.alerts import history
from gateway.alerts.history import Facts

TYPES = (*history.SUMMED_UP, "score", "alert.verified", "voice.expected", "coverage.reduced")
NO_GAP_S = 0.05
"""Windows that are closer have no gap between them: their ends are rounded to frames of audio."""


def of(reader: sqlite3.Connection, call_id: str, scores_after: int, tenant: str | None = None) -> Facts | None:
    """Return the timeline of the newest call of this id; None where there is no such call.

    Args:
        scores_after: scores up to this sequence number may have been pruned.
        tenant: the only one whose calls may be seen; None: all.
    """
    call = history.newest(reader, call_id, tenant)
    if call is None:
        return None
    events = list(history.events_of(reader, call, TYPES))
    whole = call.number > scores_after
    return {
        "call_id": call.call_id,
        "source": call.source,
        "separation": call.separation,
        "tenant": call.tenant,
        "started": history.rfc3339(call.started),
        "ended": None if call.ended is None else history.rfc3339(call.ended),
        "windows_kept": whole,
        "legs": [_leg(part, whole) for part in _parts(events)],
    }


def _parts(events: list[Facts]) -> list[list[Facts]]:
    """Return the events of each leg, those of one that came back for each time that it was there."""
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


def _leg(events: list[Facts], whole: bool) -> Facts:
    told = {kind: [event for event in events if event["type"] == kind] for kind in TYPES}
    (leg, *_) = history.legs(events) or [history.unknown_leg(events[0]["data"]["leg"])]
    started = told["leg.started"][0]["data"] if told["leg.started"] else {}
    scores = [event["data"] for event in told["score"]]
    windows = [_window(score) for score in scores]
    verified = [event["data"] for event in told["alert.verified"]]
    duration_s = max((event["data"].get("media_time_s") or 0.0 for event in events), default=0.0)
    models = {data["model"] for data in (started, *scores, *verified) if data.get("model")}
    return leg | {
        "alert": None,
        "duration_s": round(duration_s, 3),
        "models": sorted(models),
        "calibration": started.get("calibration"),
        "windows": windows,
        "gaps": _gaps(windows, duration_s) if whole else None,
        "excluded": [
            {"at_s": data.get("media_time_s")}
            | {key: data.get(key) for key in ("reason", "windows_skipped", "missing_s")}
            for data in (event["data"] for event in told["coverage.reduced"])
        ],
        "verifications": [
            {"at_s": data.get("media_time_s")}
            | {key: data.get(key) for key in ("p_synthetic", "model", "verdict", "judged_speech_s", "alert_id")}
            for data in verified
        ],
        "expected_machine": [
            {"at_s": event["data"].get("media_time_s"), "p_synthetic": event["data"].get("p_synthetic")}
            for event in told["voice.expected"]
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
    """Return the stretches of a leg's audio that no scored window holds: no speech, lost, or left out."""
    gaps: list[Facts] = []
    heard_s = 0.0
    for window in sorted(windows, key=lambda one: float(one["start_s"])):
        if window["start_s"] - heard_s > NO_GAP_S:
            gaps.append({"start_s": round(heard_s, 3), "end_s": round(window["start_s"], 3)})
        heard_s = max(heard_s, window["end_s"])
    if duration_s - heard_s > NO_GAP_S:
        gaps.append({"start_s": round(heard_s, 3), "end_s": round(duration_s, 3)})
    return gaps
