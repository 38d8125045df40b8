from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from sim.calls import Call
from sim.clips import Label, Voice
from sim.judge import LegResult, judge, metrics
from sim.network import PERFECT, Line
from sim.observe import Alert, Ledger
from sim.scenario import CallPlan, LegPlan
from sim.talk import Part, Turn

BEGAN_S, SWAP_S = 5.0, 10.0


def part(*turns: tuple[float, Label]) -> Part:
    """Turns of 6 s."""
    labels = list(dict.fromkeys(label for _, label in turns))
    voices = [Voice(label, "human" if label == "human" else "vox", f"a {label}", ()) for label in labels]
    return Part(voices, [Turn(start_s, label, np.ones(96_000, np.float32)) for start_s, label in turns])


def played(alert: bool | None = None) -> Call:
    """A person, and on the other leg a person who turns synthetic at `SWAP_S`."""
    legs = {"caller": LegPlan("human-then-synthetic", alert=alert), "callee": LegPlan("human")}
    return Call(
        call_id="c.r",
        plan=CallPlan("c", "plain", legs),
        start_s=4.9,
        parts={"caller": part((0.0, "human"), (SWAP_S, "synthetic")), "callee": part((0.0, "human"))},
        lines={leg: Line(PERFECT, random.Random(0)) for leg in legs},
        began_s=BEGAN_S,
        late_s=0.01,
    )


def heard(alerts: dict[str, list[Alert]], verdict: str | None = "human") -> Ledger:
    ledger = Ledger([("c.r", "caller"), ("c.r", "callee")])
    for (_, leg), seen in ledger.legs.items():
        seen.alerts, seen.verdict = alerts.get(leg, []), verdict
    return ledger


def raised(stage: str, media_time_s: float) -> Alert:
    return Alert(stage, media_time_s, BEGAN_S + media_time_s + 0.5, 0.97, 30.0)


RIGHT = [raised("provisional", 14.0), raised("confirmed", 17.0)]


def results(alerts: dict[str, list[Alert]], **options: Any) -> tuple[LegResult, LegResult]:
    caller, callee = judge([played(options.pop("alert", None))], heard(alerts, **options), {})
    return caller, callee


def test_the_right_alert_passes_and_is_timed_from_the_first_synthetic_speech() -> None:
    caller, callee = results({"caller": RIGHT})
    assert caller.passed
    assert callee.passed
    assert (caller.expects_alert, callee.expects_alert) == (True, False)
    assert caller.voices == ("a human", "vox")
    assert caller.systems == ("vox",)
    assert caller.time_to_alert_s == pytest.approx({"provisional": 4.5, "confirmed": 7.5})
    assert callee.time_to_alert_s == {}
    assert (caller.human_talk_s, callee.human_talk_s) == (6.0, 6.0)


def test_no_confirmed_alert_is_a_miss() -> None:
    assert results({})[0].faults == ("missed: no confirmed alert (none raised)",)
    assert results({"caller": RIGHT[:1]})[0].faults == ("missed: no confirmed alert (provisional raised)",)


@pytest.mark.parametrize("stage", ["provisional", "confirmed"])
def test_an_alert_about_a_person_is_a_false_alarm(stage: str) -> None:
    _, callee = results({"caller": RIGHT, "callee": [raised(stage, 8.0)]})
    assert callee.faults == (f"false alarm: {stage} at 8.0 s (p 0.97)",)
    assert callee.false_alarms == {"provisional": 0, "confirmed": 0} | {stage: 1}


def test_alert_on_the_wrong_leg_is_a_miss_and_a_false_alarm() -> None:
    caller, callee = results({"callee": RIGHT})
    assert caller.faults == ("missed: no confirmed alert (none raised)",)
    assert callee.faults[0].startswith("false alarm: provisional at 14.0 s")
    assert callee.false_alarms == {"provisional": 1, "confirmed": 1}


def test_alert_before_the_change_of_voice_is_a_false_alarm() -> None:
    caller, _ = results({"caller": [raised("provisional", 6.0), raised("confirmed", 9.0)]})
    assert [fault.split(":")[0] for fault in caller.faults] == ["false alarm", "missed"]
    assert caller.time_to_alert_s == {}


def test_explicit_expectation_overrides_the_voice() -> None:
    assert results({}, alert=False)[0].passed
    assert not results({"caller": RIGHT}, alert=False)[0].passed


def test_a_leg_without_a_verdict_is_a_fault() -> None:
    assert results({"caller": RIGHT}, verdict=None)[0].faults == ("no verdict: leg.ended never came",)


def test_call_that_was_not_played_has_only_that_fault() -> None:
    caller, callee = judge([played()], heard({}), {"c.r": "no room"})
    assert caller.faults == callee.faults == ("not played: no room",)


def test_the_figures() -> None:
    call = played()
    ledger = heard({"caller": RIGHT, "callee": [raised("provisional", 3.0)]})
    ledger.legs["c.r", "callee"].windows_skipped = 3
    figures = metrics(judge([call], ledger, {}), [call])
    assert figures == {
        "calls": 1,
        "legs": 2,
        "legs_passed": 1,
        "alerts_expected": 1,
        "alerts_confirmed": 1,
        "alerts_missed": 0,
        "false_alarms": {"provisional": 1, "confirmed": 0},
        "human_talk_h": pytest.approx(12 / 3600),
        "false_alarms_per_h": {"provisional": pytest.approx(300.0), "confirmed": 0.0},
        "time_to_alert_s": {
            "provisional": {"median": 4.5, "p90": 4.5, "max": 4.5},
            "confirmed": {"median": 7.5, "p90": 7.5, "max": 7.5},
        },
        "gateway_lag_ms": {"median": 30.0, "p90": 30.0, "max": 30.0},
        "windows_skipped": 3,
        "caller_late_s": 0.01,
        "systems": {"vox": {"legs": 1, "confirmed": 1}},
    }


def test_figures_without_data_are_none() -> None:
    figures = metrics([], [])
    assert figures["false_alarms_per_h"] == {"provisional": None, "confirmed": None}
    assert figures["time_to_alert_s"] == {"provisional": None, "confirmed": None}
    assert figures["gateway_lag_ms"] is None
