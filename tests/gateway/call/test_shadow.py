"""A candidate beside what is live: compared, counted, and never an alert. Over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

import gateway.call.load
import gateway.engine
from detection import WindowScores
from gateway.call import overload, scorer
from gateway.config_loading import load
from gateway.errors import ConfigError
from tests.detection.fakes import wide
from tests.gateway.conftest import Serve
from tests.gateway.loudness import LoudnessDetector, speech
from tests.gateway.wire import plain, say, subscribed


class Credulous(LoudnessDetector):
    """Calls everybody human."""

    name = "credulous@00000000"

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        return wide(np.full(len(inputs), -4.0, np.float32))


@pytest.fixture(autouse=True)
def _nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is slow is no overload here."""
    monkeypatch.setattr(scorer, "LATEST_S", 60.0)
    monkeypatch.setattr(overload, "RAISE_S", 60.0)
    monkeypatch.setattr(gateway.call.load, "LATE_S", 60.0)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def until_scored(windows: float) -> None:
    async with asyncio.timeout(20):
        while counted("callscreen_shadow_windows_total", outcome="scored") < windows:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def compared(seen: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {event["data"]["reason"]: event["data"] for event in seen if event["type"] == "shadow.compared"}


async def test_another_policy_is_compared_on_the_same_scores(
    serve: Serve, detector: LoudnessDetector, tmp_path: Path
) -> None:
    file = tmp_path / "candidate.toml"
    file.write_text('[[rule]]\nrole = "caller"\nalert_p = 0.99999\n')
    server = await serve(shadow={"policy": file}, verifier="the same again")
    before = counted("callscreen_shadow_legs_total", live="synthetic", candidate="indeterminate")
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(10, synthetic=True))
        await events.until("alert.raised", stage="confirmed")
        await caller.close()
        await events.until("leg.ended")
    told = compared(events.seen)
    assert set(told) == {"alert_live_only", "leg_ended"}
    assert told["alert_live_only"]["p_synthetic"] == pytest.approx(told["alert_live_only"]["candidate_p_synthetic"])
    ended = told["leg_ended"]
    assert (ended["verdict"], ended["candidate_verdict"]) == ("synthetic", "indeterminate")
    assert (ended["model"], ended["candidate_model"]) == (detector.name, None)
    assert ended["p_synthetic"] == pytest.approx(ended["candidate_p_synthetic"])  # answers of the verifier count, too
    assert counted("callscreen_shadow_legs_total", live="synthetic", candidate="indeterminate") == before + 1


async def test_another_model_hears_the_same_windows_and_raises_nothing(
    serve: Serve, detector: LoudnessDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"live": Credulous(), "candidate": detector}
    monkeypatch.setattr(gateway.engine, "open_detector", models.__getitem__)
    server = await serve(model="live", shadow={"model": "candidate", "cpu_share": 1.0})
    before = counted("callscreen_shadow_windows_total", outcome="scored")
    async with subscribed(server, "?type=score,alert.raised,shadow.compared,leg.ended") as events:
        async with plain(server, "caller") as caller:
            await say(caller, speech(8, synthetic=True))
            await events.until("score", window_start_s=5.0)
            await until_scored(before + 6)
        live = (await events.until("leg.ended"))["data"]
    told = compared(events.seen)
    assert "alert.raised" not in {event["type"] for event in events.seen}
    assert (live["verdict"], live["alerts"]) == ("human", 0)
    assert 3 <= told["alert_candidate_only"]["media_time_s"] <= 6
    assert told["alert_candidate_only"]["verdict"] is None
    ended = told["leg_ended"]
    assert (ended["candidate_verdict"], ended["candidate_model"]) == ("synthetic", "loudness@00000000")
    assert 6 <= ended["candidate_windows_scored"] <= live["windows_scored"]


async def test_a_candidate_that_is_stuck_holds_up_nobody(
    serve: Serve, detector: LoudnessDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"live": Credulous(), "candidate": detector}
    monkeypatch.setattr(gateway.engine, "open_detector", models.__getitem__)
    server = await serve(model="live", shadow={"model": "candidate"})
    detector.free.clear()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(6, synthetic=True))
        await caller.close()
        ended = await events.until("leg.ended")
    detector.free.set()
    assert (ended["data"]["verdict"], ended["data"]["windows_skipped"]) == ("human", 0)
    assert compared(events.seen)["leg_ended"]["candidate_windows_scored"] == 0


@pytest.mark.parametrize(
    ("shadow", "says"),
    [
        ({}, "shadow: .*expected at least one of model and policy"),
        ({"model": "a", "cpu_share": 0}, "shadow.cpu_share: expected greater than 0, got 0"),
        ({"modell": "a"}, "shadow.modell: there is no such setting"),
    ],
)
def test_settings_that_make_no_sense_are_refused(shadow: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(environ={}, shadow=shadow)


async def test_a_candidate_that_cannot_be_used_stops_the_start(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shadow\.model: "):
        await serve(shadow={"model": "nothing"})
    with pytest.raises(ConfigError, match="No such file"):
        await serve(shadow={"policy": tmp_path / "none.toml"})
