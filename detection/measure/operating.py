"""Operating points: false alarms per hour and share of synthetic legs detected, by threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from detection.decision.alarms import AlarmRate, AlarmRates
from detection.errors import DataError, ModelError
from detection.measure.figures import Figures
from detection.measure.legs import DETECTED_WITHIN_S, Trace, of_alarms, of_detections
from detection.measure.scoring import Leg
from detection.training.data import Clip

THRESHOLDS = (
    *(0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.996, 0.998),
)

OperatingPoints = dict[str, dict[float, Figures]]
"""Figures of `of_alarms` and `of_detections`, by channel and threshold."""


def measure(
    clips: Sequence[Clip], legs: Sequence[Leg], traces_at: Mapping[str, Callable[[float], Sequence[Trace]]]
) -> OperatingPoints:
    """Return the figures at each of `THRESHOLDS`, by channel; `traces_at` returns the legs' traces at a threshold."""
    counts: OperatingPoints = {}
    for channel, at in traces_at.items():
        counts[channel] = {}
        for raise_p in THRESHOLDS:
            traces = at(raise_p)
            row = of_alarms(clips, legs, traces)
            if not row["legs"]:
                raise DataError(f"expected a human clip with enough speech to measure false alarms on ({channel})")
            counts[channel][raise_p] = row | of_detections(clips, legs, traces)
    return counts


def worst_channel(counts: OperatingPoints, data: str) -> AlarmRates:
    """Return, for each threshold, the rate of the channel with the most: the channel of a call is not known before."""
    rates = []
    for raise_p in THRESHOLDS:
        row = max((rows[raise_p] for rows in counts.values()), key=_rate_and_upper_end)
        low, high = (round(end, 2) for end in row["raised_per_hour_95"])
        rates.append(AlarmRate(raise_p=raise_p, per_hour=round(row["raised_per_hour"], 2), low=low, high=high))
    hours = min(row["hours"] for rows in counts.values() for row in rows.values())
    return AlarmRates(hours=round(hours, 3), channels=tuple(counts), data_hash=data, rates=tuple(rates))


def _rate_and_upper_end(row: Figures) -> tuple[float, float]:
    """Return the sort key of channels: the rate, then the interval's upper end, for channels without any alarm."""
    return row["raised_per_hour"], row["raised_per_hour_95"][1]


def raise_p_for(alerts_per_hour: float | None, alarms: AlarmRates, current: float) -> float:
    """Return the threshold for `--alerts-per-hour`; the `current` one if it is None."""
    if alerts_per_hour is None:
        return current
    try:
        return alarms.raise_p_for(alerts_per_hour)
    except ModelError as error:
        raise DataError(f"--alerts-per-hour: {error}") from None


def alarms_table(counts: OperatingPoints, chosen: float) -> Table:
    """Return the table of false alarms per hour by threshold and channel; a star marks the threshold `chosen`."""
    table = Table("threshold", *counts, title="false alarms per hour of speech (95 %)")
    for raise_p in THRESHOLDS:
        rows = [rows[raise_p] for rows in counts.values()]
        ends = [(row["raised_per_hour"], *row["raised_per_hour_95"]) for row in rows]
        table.add_row(_named(raise_p, chosen), *(f"{rate:.1f} ({low:.1f}–{high:.1f})" for rate, low, high in ends))
    hours = (f"{max(row['hours'] for row in rows.values()):.2f}" for rows in counts.values())
    table.add_row("hours", *hours)
    return table


def detections_table(counts: OperatingPoints, chosen: float) -> Table:
    """Return the table of synthetic legs detected in time by threshold and channel."""
    table = Table("threshold", *counts, title=f"synthetic legs alerted within {DETECTED_WITHIN_S} s of speech (95 %)")
    for raise_p in THRESHOLDS:
        rows = [rows[raise_p] for rows in counts.values()]
        ends = [(row["detected"], *row["detected_95"]) for row in rows]
        table.add_row(_named(raise_p, chosen), *(f"{share:.1%} ({low:.0%}–{high:.0%})" for share, low, high in ends))
    table.add_row("legs", *(str(next(iter(rows.values()))["synthetic"]) for rows in counts.values()))
    return table


def _named(raise_p: float, chosen: float) -> str:
    return f"{raise_p:g}{' *' if raise_p == chosen else ''}"
