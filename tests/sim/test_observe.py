from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.alerts.cloud_event import CloudEvent, envelope
from gateway.alerts.event import (
    AlertCleared,
    AlertRaised,
    CallEnded,
    CoverageReduced,
    EventData,
    Gap,
    LegEnded,
    LegStarted,
    Scored,
)
from sim.observe import MAX_ALERTS, Alert, Ledger

FACTS: dict[str, Any] = {
    "call_id": "c",
    "leg": "caller",
    "speaker": "caller",
    "role": "caller",
    "media_time_s": 7.0,
    "p_synthetic": 0.95,
    "speech_s": 4.0,
    "model": "m@1",
    "reason": "because",
}
COUNTS: dict[str, Any] = {
    "audio_s": 9.0,
    "missing_s": 0.5,
    "windows_scored": 7,
    "windows_skipped": 2,
    "windows_crosstalk": 0,
    "alerts": 1,
    "ended_by": "stopped",
}


def event(data: EventData | Gap) -> CloudEvent:
    return envelope(data, event_id="1", source="/callscreen/x", time=datetime.now(UTC), sequence="1")


def raised(stage: str = "provisional") -> CloudEvent:
    return event(AlertRaised.model_validate(FACTS | {"alert_id": "a", "stage": stage, "lag_ms": 12.0}))


def test_a_leg_is_followed_from_start_to_verdict() -> None:
    ledger = Ledger([("c", "caller")])
    seen = ledger.legs["c", "caller"]
    start = FACTS | {"p_synthetic": None, "speech_s": 0.0, "source": "twilio", "separation": "separate", "tenant": None}
    listening = LegStarted(**start, direction="received_from_party", encoding="mulaw", rate_hz=8000)

    assert seen.state == "waiting"
    assert ledger.update(event(listening), 0.1) == ("c", "caller")
    assert (seen.state, seen.role, seen.p_synthetic, seen.model) == ("listening", "caller", None, "m@1")
    ledger.update(raised(), 8.5)
    ledger.update(raised("confirmed"), 9.5)
    assert seen.state == "confirmed"
    assert seen.alerts == [Alert("provisional", 7.0, 8.5, 0.95, 12.0), Alert("confirmed", 7.0, 9.5, 0.95, 12.0)]
    ledger.update(event(AlertCleared(**FACTS, alert_id="a")), 10.0)
    assert seen.state == "cleared"
    ledger.update(event(CoverageReduced(**FACTS, windows_skipped=1, missing_s=0.2)), 10.5)
    assert (seen.windows_skipped, seen.missing_s) == (1, 0.2)
    ledger.update(event(LegEnded(**FACTS | {"reason": "alert_confirmed"}, **COUNTS, verdict="synthetic")), 11.0)
    assert (seen.state, seen.verdict, seen.reason, seen.windows_skipped) == ("ended", "synthetic", "alert_confirmed", 2)
    assert (seen.p_synthetic, seen.speech_s, seen.ended_by) == (0.95, 4.0, "stopped")


def test_a_score_only_moves_the_probability() -> None:
    ledger = Ledger([("c", "caller")])
    score = Scored(**FACTS, window_start_s=4.0, window_speech_s=2.0, window_p_synthetic=0.5)
    assert ledger.update(event(score), 7.2) == ("c", "caller")
    seen = ledger.legs["c", "caller"]
    assert (seen.state, seen.p_synthetic, seen.speech_s, seen.alerts) == ("waiting", 0.95, 4.0, [])


def test_events_of_other_calls_are_ignored() -> None:
    ledger = Ledger([("c", "callee")])
    assert ledger.update(raised(), 1.0) is None
    assert ledger.update(event(CallEnded(**FACTS | {"leg": None}, verdicts={})), 1.0) is None
    assert ledger.legs["c", "callee"].state == "waiting"


def test_number_of_stored_alerts_is_bounded() -> None:
    ledger = Ledger([("c", "caller")])
    for _ in range(MAX_ALERTS + 5):
        ledger.update(raised(), 1.0)
    assert len(ledger.legs["c", "caller"].alerts) == MAX_ALERTS
