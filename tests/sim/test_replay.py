"""A stereo recording as a call, against a gateway whose detector is known: loud speech is synthetic."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gateway.alerts.cloud_event import CloudEvent
from sim.__main__ import main
from sim.live import Screen
from sim.replay import recorded_call
from tests.gateway.loudness import speech
from tests.sim.test_alerts import loudness


@pytest.fixture(autouse=True)
def by_loudness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with loudness(monkeypatch):
        yield


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twenty seconds at 8 kHz: a quiet voice on the left channel, then a loud one on the right."""
    half = round(8.0 * 16_000)
    left, right = np.zeros(2 * half, np.float32), np.zeros(2 * half, np.float32)
    left[:half], right[half:] = speech(8.0, synthetic=False), speech(8.0, synthetic=True)
    soundfile.write(tmp_path / "a call.wav", np.column_stack([left, right])[::2], 8_000)
    return tmp_path / "a call.wav"


def test_each_channel_is_a_leg(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording), "--report", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "replay.json").read_text())
    assert (found["partial"], found["duration_s"]) == (False, 16.0)
    assert [(leg["channel"], leg["leg"]) for leg in found["legs"]] == [("left", "inbound"), ("right", "outbound")]
    left, right = found["legs"]
    assert (left["alerts"], right["alerts"][0]["stage"]) == ([], "provisional")
    assert 8.0 < right["alerts"][0]["media_time_s"] < 16.1
    assert "provisional at" in capsys.readouterr().out


def test_channels_can_be_exchanged_and_come_as_they_were_recorded(recording: Path) -> None:
    call = recorded_call(recording, ("outbound", "inbound"), "r")
    assert call.call_id == "a-call.r"
    audio = call.render()
    assert np.abs(audio["inbound"][: 7 * 16_000]).max() < 1e-3 < np.abs(audio["outbound"][: 7 * 16_000]).max()


def test_ctrl_c_leaves_a_partial_report(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_screen: Screen, event: CloudEvent, _received_s: float) -> None:
        if event.type == "score":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, "on_event", interrupt)
    assert main(["replay", str(recording), "--report", str(tmp_path)]) == 130
    found = json.loads((tmp_path / "replay.json").read_text())
    assert (found["partial"], found["failure"]) == (True, "interrupted")


def test_user_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mono = tmp_path / "mono.wav"
    soundfile.write(mono, speech(1.0, synthetic=True), 16_000)
    for arguments, message in (
        ([str(mono)], f"sim: {mono}: expected two channels, one speaker each, got 1"),
        ([str(tmp_path / "gone.wav")], "gone.wav: cannot be read"),
        ([str(mono), "--speed", "0"], "--speed: expected more than 0"),
    ):
        assert main(["replay", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    with pytest.raises(SystemExit):
        main(["replay", str(mono), "--legs", "inbound,inbound"])
    assert "expected inbound and outbound" in capsys.readouterr().err
