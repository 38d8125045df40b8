"""What is written of thresholds: the alarms of the worst channel, and the lowest that keeps what is asked for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from detection import Policy, Score
from detection.errors import DataError
from detection.measure.legs import Trace, trace_of
from detection.measure.operating import THRESHOLDS, OperatingPoints, measure, raise_p_for, worst_channel
from tests.detection.measure.test_figures import clip


def traces(log_odds: list[float], raise_p: float) -> list[Trace]:
    legs = [[Score(at, at + 3.0, 2.4, 1.0, one) for at in range(900)] for one in log_odds]
    return [trace_of(scores, Policy(raise_p=raise_p)) for scores in legs]


def test_each_threshold_is_measured_by_channel() -> None:
    clips = [clip("real", "a"), clip("fake", "b")]
    counts = measure(clips, [(0,), (1,)], {"clean": partial(traces, [1.0, 2.5])})
    rows = counts["clean"]
    assert list(rows) == list(THRESHOLDS)
    assert (rows[0.6]["raised_per_hour"], rows[0.6]["detected"]) == (pytest.approx(4), 1)
    assert (rows[0.998]["raised_per_hour"], rows[0.998]["detected"]) == (0, 0)
    alarms = worst_channel(counts, "hash")
    assert raise_p_for(None, alarms, 0.77) == 0.77
    with pytest.raises(DataError, match="--alerts-per-hour: expected at least 12"):
        raise_p_for(1.0, alarms, 0.77)
    assert raise_p_for(13.0, alarms, 0.77) == 0.6


def test_worst_channel_has_most_alarms_at_each_threshold() -> None:
    def rows(hours: float, *per_hour: float) -> dict[float, dict[str, object]]:
        return {
            raise_p: {"legs": 3, "hours": hours, "raised_per_hour": rate, "raised_per_hour_95": [rate / 2, rate + 3]}
            for raise_p, rate in zip(THRESHOLDS, per_hour, strict=True)
        }

    falling = np.linspace(20, 6, len(THRESHOLDS))
    counts: OperatingPoints = {"clean": rows(1.5, *falling), "pstn": rows(1.4, *falling[::-1])}
    alarms = worst_channel(counts, "hash")
    assert [rate.per_hour for rate in alarms.rates] == np.maximum(falling, falling[::-1]).round(2).tolist()
    assert (alarms.rates[-1].low, alarms.rates[-1].high) == (10, 23), "the interval of that channel"
    assert (alarms.channels, alarms.hours, alarms.data_hash) == (("clean", "pstn"), 1.4, "hash")
    silent = rows(1.5, *[0.0] * len(THRESHOLDS))
    for row, high in zip(silent.values(), np.arange(len(THRESHOLDS)), strict=True):
        row["raised_per_hour_95"] = [0, high]
    alarms = worst_channel({"clean": rows(1.5, *[0.0] * len(THRESHOLDS)), "pstn": silent}, "hash")
    assert [rate.high for rate in alarms.rates] == [3, 3, 3, 3, *range(4, len(THRESHOLDS))], (
        "the less certain, of equals"
    )
