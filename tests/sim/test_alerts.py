"""Whole plays against a whole gateway whose detector is known: loud speech is synthetic, quiet speech is human."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import StringIO
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console

import gateway.engine
from gateway.app import running
from gateway.config_loading import load
from sim.caller import Gateway
from sim.clips import from_folder
from sim.play import Play, play_scenario, play_virtually
from sim.scenario import CallPlan, LegPlan, Scenario
from tests.detection.fakes import mean_fusion
from tests.gateway.loudness import LoudnessDetector, speech

HUMAN, SYNTHETIC, TURNING = LegPlan("human"), LegPlan("synthetic"), LegPlan("human-then-synthetic")


@contextmanager
def loudness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gateways of this process judge by loudness."""
    with monkeypatch.context() as patched:
        patched.setattr(gateway.engine, "open_detector", lambda _name: LoudnessDetector())
        patched.setattr(gateway.engine, "open_fusion", lambda _light, _verifier: (mean_fusion(), None))
        yield


@asynccontextmanager
async def loudness_gateway(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    with loudness(monkeypatch):
        async with serving(folder) as url:
            yield url


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    async with running(load(environ={}, port=0, journal=folder / "journal.sqlite3", max_speed=100)) as server:
        yield server.url


def voices(folder: Path, *, quiet: str, loud: str) -> Path:
    """One voice a label."""
    for label, synthetic in ((quiet, False), (loud, True)):
        path = folder / label / "somebody.wav"
        path.parent.mkdir(parents=True)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("pcm_s16le", rate=16_000, layout="mono")
            pcm = (speech(8.0, synthetic=synthetic) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            file.mux([*stream.encode(frame), *stream.encode(None)])
    return folder


async def play(scenario: Scenario, clips: Path, url: str) -> Play:
    return await play_scenario(scenario, from_folder(clips), Gateway(url), Console(file=StringIO()))


def test_every_alert_names_the_right_speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = voices(tmp_path / "clips", quiet="human", loud="synthetic")
    calls = [
        CallPlan("t", "twilio", {"inbound": SYNTHETIC, "outbound": HUMAN}, duration_s=40.0),
        CallPlan("p", "plain", {"caller": HUMAN, "callee": SYNTHETIC}, duration_s=40.0),
        CallPlan("turns", "twilio", {"inbound": HUMAN, "outbound": TURNING}, duration_s=60.0, swap_s=25.0),
        CallPlan("both", "plain", {"caller": HUMAN, "callee": HUMAN}, duration_s=40.0),
    ]
    with loudness(monkeypatch):
        played = play_virtually(Scenario(calls, seed=1), from_folder(clips), Console(file=StringIO()))
    assert [result.faults for result in played.results] == [()] * 8
    assert played.passed
    assert played.failure is None
    assert (played.figures["alerts_expected"], played.figures["alerts_confirmed"]) == (3, 3)
    turned = next(r for r in played.results if r.call_id.startswith("turns") and r.leg == "outbound")
    assert turned.synthetic_from_s is not None
    assert turned.synthetic_from_s >= 25.0
    assert turned.observed.alerts[0].media_time_s > turned.synthetic_from_s
    for result in played.results:
        if result.expects_alert:
            assert 2.0 < result.time_to_alert_s["provisional"] < result.time_to_alert_s["confirmed"] < 30.0
            assert result.observed.verdict in ("synthetic", "indeterminate")
        else:
            assert result.observed.verdict == "human"


async def test_alerts_on_the_wrong_leg_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = voices(tmp_path / "clips", quiet="synthetic", loud="human")
    plan = CallPlan("t", "twilio", {"inbound": SYNTHETIC, "outbound": HUMAN}, duration_s=30.0)
    async with loudness_gateway(tmp_path, monkeypatch) as url:
        played = await play(Scenario([plan], seed=1, speed=8.0), clips, url)
    inbound, outbound = played.results
    assert inbound.faults == ("missed: no confirmed alert (none raised)",)
    assert [fault.split(":")[0] for fault in outbound.faults] == ["false alarm"]
    assert not played.passed


async def test_refused_call_does_not_affect_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = voices(tmp_path / "clips", quiet="human", loud="synthetic")
    plan = CallPlan("n", "twilio", {"inbound": HUMAN}, count=3, every_s=0.5, duration_s=10.0)
    monkeypatch.setenv("CALLSCREEN_MAX_CALLS", "2")
    async with loudness_gateway(tmp_path, monkeypatch) as url:
        played = await play(Scenario([plan], speed=4.0), clips, url)
    assert [result.passed for result in played.results] == [True, True, False]
    assert played.failure is not None
    assert played.failure.startswith("1 of 3 calls were not played to their end; n-3.")
    assert played.results[2].faults[0].startswith("not played: ")
