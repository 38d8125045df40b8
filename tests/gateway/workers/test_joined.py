from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.alerts.event import CallEnded, CallStarted, CoverageReduced, EventData, LegEnded, LegStarted, Scored
from gateway.workers.joined import JoinedCalls, Load


def event(kind: type[EventData], call_id: str = "c", leg: str | None = None, **facts: Any) -> EventData:
    common: dict[str, Any] = dict.fromkeys(("speaker", "role"), None if leg is None else "unknown")
    common |= {"media_time_s": 3.0, "p_synthetic": 0.5, "speech_s": 1.0, "model": "m"}
    return kind.model_validate(common | {"call_id": call_id, "leg": leg, "reason": "test"} | facts)


def call_started(call_id: str = "c", tenant: str | None = None) -> EventData:
    return event(CallStarted, call_id, source="plain", separation="separate", tenant=tenant)


def leg_started(leg: str, call_id: str = "c") -> EventData:
    facts = {"direction": "received_from_party", "encoding": "s16le", "rate_hz": 16000}
    return event(LegStarted, call_id, leg, source="plain", separation="separate", tenant=None, **facts)


def leg_ended(leg: str, verdict: str = "human", call_id: str = "c") -> EventData:
    counted = ("audio_s", "missing_s", "windows_scored", "windows_skipped", "windows_crosstalk", "alerts")
    return event(LegEnded, call_id, leg, verdict=verdict, ended_by="stopped", **dict.fromkeys(counted))


def call_ended(verdicts: dict[str, str], call_id: str = "c") -> EventData:
    return event(CallEnded, call_id, verdicts=verdicts)


def scored(leg: str, call_id: str = "c") -> EventData:
    return event(Scored, call_id, leg, window_start_s=0.0, window_speech_s=1.0, window_p_synthetic=0.5)


def test_a_call_of_one_process_passes_unchanged() -> None:
    joined = JoinedCalls()
    life = [
        call_started(),
        leg_started("a"),
        scored("a"),
        event(CoverageReduced, leg="a", windows_skipped=1, missing_s=0.0),
        leg_ended("a"),
        call_ended({"a": "human"}),
    ]
    assert [joined.take(1, data) for data in life] == [(data, None) for data in life]
    assert joined.load([0, 1]) == Load()


def test_a_call_in_two_processes_starts_and_ends_once_with_all_verdicts() -> None:
    joined = JoinedCalls()
    assert joined.take(0, call_started())[0] is not None
    assert joined.take(1, call_started()) == (None, None)
    assert joined.take(0, leg_started("a"))[0] is not None
    assert joined.take(1, leg_started("b"))[0] is not None
    assert joined.load([0]) == Load(1, 1)
    assert joined.load([0, 1]) == Load(2, 2)
    joined.take(0, leg_ended("a", "synthetic"))
    assert joined.take(0, call_ended({"a": "synthetic"})) == (None, None)
    joined.take(1, leg_ended("b"))
    told, _ = joined.take(1, call_ended({"b": "human"}))
    assert isinstance(told, CallEnded)
    assert told.verdicts == {"a": "synthetic", "b": "human"}


def test_a_leg_of_another_process_is_refused_and_not_published() -> None:
    joined = JoinedCalls()
    joined.take(0, call_started())
    joined.take(0, leg_started("a"))
    joined.take(1, call_started())
    assert joined.take(1, leg_started("a")) == (None, ("c", "a"))
    assert joined.take(1, scored("a")) == (None, None)
    assert joined.take(0, scored("a"))[0] is not None
    assert joined.take(1, leg_ended("a")) == (None, None)
    assert joined.take(1, call_ended({"a": "indeterminate"})) == (None, None)
    joined.take(0, leg_ended("a", "synthetic"))
    told, _ = joined.take(0, call_ended({"a": "synthetic"}))
    assert isinstance(told, CallEnded)
    assert told.verdicts == {"a": "synthetic"}
    assert joined.load([0, 1]) == Load()


def test_a_part_of_another_tenants_call_is_refused() -> None:
    joined = JoinedCalls()
    joined.take(0, call_started(tenant="red"))
    assert joined.take(1, call_started(tenant="blue")) == (None, ("c", None))
    assert joined.take(1, leg_started("b")) == (None, None)
    assert joined.take(1, leg_ended("b")) == (None, None)
    assert joined.take(1, call_ended({"b": "human"})) == (None, None)
    assert joined.load([0, 1]) == Load(1, 0, Counter(red=1), Counter(red=0))
    again, refused = joined.take(1, call_started("other", tenant="blue"))
    assert (again is not None, refused) == (True, None)


def test_legs_of_a_dead_process_end() -> None:
    joined = JoinedCalls()
    for process, call_id in ((0, "shared"), (1, "shared"), (1, "its own"), (0, "another's")):
        joined.take(process, call_started(call_id))
        joined.take(process, leg_started(f"leg-{process}", call_id))
    assert joined.gone(1) == ({("shared", "leg-1"), ("its own", "leg-1")}, {"its own"})
    assert joined.load([0]) == Load(2, 2)
    assert joined.load([1]) == Load()
