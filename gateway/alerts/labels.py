"""Feedback on alerts as labels for calibration and training.  [IO]"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator

from gateway.alerts.history import FEEDBACK, Facts, decoded

COLUMNS = (
    "path", "label", "system", "family", "speaker", "language", "split", "source",
    "call_id", "leg", "alert_id", "verdict", "p", "log_odds", "models", "calibration", "note",
)  # fmt: skip
"""Columns of the manifest: first those that `callscreen detect` reads, then further facts."""
LABELS = {"confirmed": ("fake", "unknown"), "dismissed": ("real", "human")}
"""Label and family of a voice, by the feedback's verdict."""
SPLIT = "val"
MAX_LOG_ODDS = 30.0


def labels(reader: sqlite3.Connection) -> Iterator[Facts]:
    """Return a row for each alert that has feedback; the last feedback counts."""
    last: dict[str, Facts] = {}
    rows = reader.execute("SELECT text FROM events WHERE type = ? ORDER BY seq", (FEEDBACK,))
    for event in decoded(text for (text,) in rows):
        data = event["data"]
        if data.get("verdict") in LABELS and isinstance(data.get("alert_id"), str):
            last[data["alert_id"]] = data
    for alert_id, feedback in last.items():
        yield _row(reader, alert_id, feedback)


def log_odds(p: float) -> float:
    """Return the natural log-odds of a probability, limited to ±`MAX_LOG_ODDS`."""
    if not 0.0 < p < 1.0:
        return math.copysign(MAX_LOG_ODDS, p - 0.5)
    return max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, math.log(p / (1.0 - p))))


def _row(reader: sqlite3.Connection, alert_id: str, said: Facts) -> Facts:
    raised, models, calibration = _alert(reader, alert_id, said)
    p = raised.get("p_synthetic", said.get("p_synthetic"))
    label, family = LABELS[said["verdict"]]
    return {
        "path": "",
        "label": label,
        "system": "",
        "family": family,
        "speaker": f"{said.get('call_id')}/{said.get('leg')}",
        "language": "",
        "split": SPLIT,
        "source": "feedback",
        "call_id": said.get("call_id"),
        "leg": said.get("leg"),
        "alert_id": alert_id,
        "verdict": said["verdict"],
        "p": "" if p is None else f"{p:.6f}",
        "log_odds": "" if p is None else f"{log_odds(p):.4f}",
        "models": " ".join(models),
        "calibration": calibration or "",
        "note": said.get("note") or "",
    }


def _alert(reader: sqlite3.Connection, alert_id: str, said: Facts) -> tuple[Facts, list[str], str | None]:
    """Return the newest ``alert.raised``, the models that scored the leg, and the calibration id."""
    raised: Facts = {}
    models: set[str] = {said["model"]} if said.get("model") else set()
    calibration: str | None = None
    rows = reader.execute(
        "SELECT text FROM events WHERE call_id = ? AND type IN ('leg.started', 'alert.raised', 'alert.verified') "
        "ORDER BY seq",
        (said.get("call_id"),),
    )
    for event in decoded(text for (text,) in rows):
        data = event["data"]
        if event["type"] == "leg.started" and data.get("leg") == said.get("leg") and not raised:
            calibration = data.get("calibration")
            models |= {data["model"]} if data.get("model") else set()
        elif data.get("alert_id") == alert_id and data.get("model"):
            models.add(data["model"])
            raised = data if event["type"] == "alert.raised" else raised
    return raised, sorted(models), calibration
