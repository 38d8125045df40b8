from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from sim.calls import Call, cast_calls
from sim.clips import ClipError, from_folder
from sim.scenario import CallPlan, LegPlan, Scenario

HUMAN, SYNTHETIC = LegPlan("human"), LegPlan("synthetic")


def scenario(**changes: object) -> Scenario:
    plans = [
        CallPlan("late", "twilio", {"inbound": SYNTHETIC, "outbound": HUMAN}, start_s=9.0, duration_s=10.0),
        CallPlan("many", "plain", {"caller": HUMAN, "callee": SYNTHETIC}, count=3, every_s=2.0, duration_s=10.0),
        CallPlan("swap", "webrtc", {"a": LegPlan("human-then-synthetic", system="vox")}, duration_s=20.0),
    ]
    return msgspec.structs.replace(Scenario(plans, seed=4), **changes)


def heard(call: Call) -> list[np.float32]:
    return [sample for part in call.parts.values() for sample in part.read(0, 160_000)]


def test_every_call_is_cast_and_timed(clips: Path) -> None:
    calls = cast_calls(scenario(), from_folder(clips), "r1")
    assert [(call.call_id, call.start_s) for call in calls] == [
        ("many-1.r1", 0.0),
        ("swap.r1", 0.0),
        ("many-2.r1", 2.0),
        ("many-3.r1", 4.0),
        ("late.r1", 9.0),
    ]
    swap = calls[1]
    assert swap.transport == "webrtc"
    assert [voice.label for voice in swap.parts["a"].voices] == ["human", "synthetic"]
    assert swap.parts["a"].voices[1].system == "vox"
    assert swap.parts["a"].synthetic_from_s == pytest.approx(20 * 0.4, abs=4)


def test_seed_determines_everything_except_the_run_id(clips: Path) -> None:
    library = from_folder(clips)
    first, again = cast_calls(scenario(), library, "r1"), cast_calls(scenario(), library, "r2")
    assert all(np.array_equal(heard(one), heard(two)) for one, two in zip(first, again, strict=True))
    other = cast_calls(scenario(seed=5), library, "r1")
    assert not any(np.array_equal(heard(one), heard(two)) for one, two in zip(first, other, strict=True))


def test_copies_of_a_call_differ(clips: Path) -> None:
    calls = [call for call in cast_calls(scenario(), from_folder(clips), "r") if call.call_id.startswith("many")]
    assert not np.array_equal(heard(calls[0]), heard(calls[1]))


def test_missing_voice_is_refused(clips: Path) -> None:
    plan = CallPlan("a", "plain", {"caller": LegPlan("synthetic", system="nobody")})
    with pytest.raises(ClipError, match="nobody"):
        cast_calls(Scenario([plan]), from_folder(clips), "r")
