from __future__ import annotations

import pytest

from sim.matrix.figures import calibration, det, of_cell, per_hour, rate, times, worst
from sim.matrix.legs import PlayedLeg


def heard(label: str, p: float, *alerts: str, talk_s: float = 36.0, **more: object) -> PlayedLeg:
    fields: dict[str, object] = {
        "cell": 0, "call": "call-1", "leg": "inbound", "label": label, "system": label, "speaker": f"{label}-{p}",
        "talk_s": talk_s, "turns": (), "scores": ((3.0, p / 2), (4.0, p)),
        "alerts": tuple((stage, 4.0, p) for stage in alerts),
        "time_to_alert_s": dict.fromkeys(alerts, 5.0) if label == "synthetic" else {},
        "verdict": None, "p_synthetic": p,
    }  # fmt: skip
    return PlayedLeg(**{**fields, **more})  # type: ignore[arg-type]


def test_rates_have_wilsons_interval() -> None:
    assert rate(1, 10) == {"count": 1, "of": 10, "rate": 0.1, "rate_95": [0.0179, 0.4042]}  # Newcombe, 1998
    assert rate(0, 10)["rate_95"][0] == 0.0
    assert rate(0, 0)["rate"] is None


def test_alerts_per_hour_have_the_exact_poisson_interval() -> None:
    assert per_hour(0, 2.0) == {"count": 0, "per_h": 0.0, "per_h_95": [0.0, 1.8444]}  # 3.689 events
    assert per_hour(10, 1.0)["per_h_95"] == [4.7954, 18.3904]
    assert per_hour(0, 0.0)["per_h"] is None


def test_times_of_few_alerts_have_no_upper_limit() -> None:
    found = times([4.0, 2.0, 6.0])
    assert (found["alerts"], found["median"], found["p95"]) == (3, 4.0, 5.8)
    assert found["median_95"] == [None, None]
    assert times([float(s) for s in range(100)])["median_95"] == [39.0, 60.0]
    assert times([]) == {"alerts": 0, "median": None, "median_95": None, "p95": None, "p95_95": None}


def test_calibration_of_legs() -> None:
    found = calibration([heard("synthetic", 0.9), heard("human", 0.1), heard("human", 0.3), heard("synthetic", 0.95)])
    assert found["legs"] == 4
    assert found["brier"] == pytest.approx((0.01 + 0.01 + 0.09 + 0.0025) / 4, abs=1e-4)
    assert [(one["said"], one["synthetic"]["count"], one["synthetic"]["of"]) for one in found["bins"]] == [
        (0.1, 0, 1), (0.3, 0, 1), (0.925, 2, 2),
    ]  # fmt: skip
    assert calibration([heard("human", 0.5, p_synthetic=None)])["brier"] is None


def test_det_covers_all_thresholds() -> None:
    found = det([heard("synthetic", 0.9), heard("synthetic", 0.2), heard("human", 0.5), heard("human", 0.1)])
    assert found is not None
    assert found["false_alarms"] == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert found["misses"] == [1.0, 0.5, 0.5, 0.0, 0.0]
    assert found["eer"] == 0.5
    assert det([heard("human", 0.5)]) is None
    perfect = det([heard("synthetic", 0.9), heard("human", 0.1)])
    assert perfect is not None
    assert perfect["eer"] == 0.0


def test_a_cell_counts_each_stage() -> None:
    found = of_cell(
        [
            heard("synthetic", 0.9, "provisional", "confirmed"),
            heard("synthetic", 0.8, "provisional"),
            heard("synthetic", 0.2),
            heard("human", 0.7, "provisional"),
            heard("human", 0.1),
        ]
    )
    assert (found["legs"], found["human_speech_h"]) == ({"human": 2, "synthetic": 3}, 0.02)
    assert (found["provisional"]["misses"]["count"], found["confirmed"]["misses"]["count"]) == (1, 2)
    assert (found["provisional"]["false_alarms"]["rate"], found["confirmed"]["false_alarms"]["rate"]) == (0.5, 0.0)
    assert found["provisional"]["false_alarms_per_h"]["per_h"] == 50.0
    assert found["provisional"]["time_to_alert_s"]["alerts"] == 2


def test_worst_legs_are_false_alarms_and_misses_each_voice_once() -> None:
    legs = [
        heard("human", 0.7, "provisional"),
        heard("human", 0.9, "provisional"),
        heard("human", 0.1),
        heard("synthetic", 0.3),
        heard("synthetic", 0.1),
        heard("synthetic", 0.1, cell=1),
        heard("synthetic", 0.95, "provisional"),
    ]
    assert [leg.speaker for leg in worst(legs, 8)] == ["human-0.9", "human-0.7", "synthetic-0.1", "synthetic-0.3"]
    assert [leg.speaker for leg in worst(legs, 2)] == ["human-0.9", "synthetic-0.1"]
    assert worst(legs[2:3], 8) == []
