"""Devices of a real sound server: what is listed, what is heard, and what is said when there is nothing to hear."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gateway.client import capture
from gateway.client.capture import Capture, CaptureError, Device, list_devices
from tests.gateway.sound_server import RATE_HZ, needs_pulseaudio, process, run, sound_server, write_wav

pytestmark = needs_pulseaudio


def find_server(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


async def loudness(heard: Capture, hz: float) -> tuple[float, float]:
    """Return the level in all, and that of one frequency, over 0.4 s."""
    samples = np.concatenate([await heard.read() for _ in range(20)])
    spectrum = np.abs(np.fft.rfft(samples)) / len(samples) * 2
    return float(np.sqrt(np.mean(samples**2))), float(spectrum[round(hz * len(samples) / RATE_HZ)])


async def read_on(heard: Capture) -> None:
    """Read what is still on its way, and more."""
    for _ in range(500):
        await heard.read()


async def test_the_output_of_a_speaker_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone = 0.25 * np.sin(2 * np.pi * 500 * np.arange(20 * RATE_HZ) / RATE_HZ).astype(np.float32)
    wav = write_wav(tmp_path / "tone.wav", tone)
    async with sound_server(tmp_path, "desk", "other") as environ:
        find_server(monkeypatch, environ)
        names = [device for device in await list_devices() if not device.name.startswith("alsa:")]
        assert names == [Device(f"{name}.monitor", "speaker", "Monitor of Null Output") for name in ("desk", "other")]
        async with process("paplay", "--device=desk", str(wav), **environ), Capture("desk.monitor", "speaker") as heard:
            for _ in range(50):  # paplay begins
                chunk = await heard.read()
            assert chunk.shape == (320,)
            assert chunk.dtype == np.float32
            level, of_500_hz = await loudness(heard, 500)
            assert level == pytest.approx(0.177, rel=0.05)
            assert of_500_hz == pytest.approx(0.25, rel=0.05)
            async with Capture("other.monitor", "speaker") as silent:
                assert (await loudness(silent, 500))[0] == 0
            async with Capture("default", "speaker") as by_default:  # the first sink is the default one
                for _ in range(10):
                    await by_default.read()
                assert (await loudness(by_default, 500))[0] > 0.1


async def test_a_device_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sound_server(tmp_path, "desk") as environ:
        find_server(monkeypatch, environ)
        async with Capture("headset", "microphone") as heard:
            with pytest.raises(CaptureError, match=r"headset: Stream error: No such entity \(see --list-devices\)"):
                await heard.read()


@pytest.mark.skipif(not shutil.which("arecord"), reason="arecord is not installed (Debian: apt-get install alsa-utils)")
async def test_a_sound_card_that_is_not_there_is_named() -> None:
    async with Capture("alsa:plughw:CARD=None", "microphone") as heard:
        with pytest.raises(CaptureError, match=r"alsa:plughw:CARD=None: .*No such"):
            await heard.read()


async def test_a_removed_device_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sound_server(tmp_path, "desk", "other") as environ:
        find_server(monkeypatch, environ)
        async with Capture("other.monitor", "speaker") as heard:
            await heard.read()
            assert await run("pactl", "unload-module", "module-null-sink", **environ) == 0
            with pytest.raises(CaptureError, match=r"^other\.monitor: "):
                await read_on(heard)


async def test_a_silent_device_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "STALL_S", 0.2)
    async with sound_server(tmp_path, "desk") as environ:
        find_server(monkeypatch, environ)
        async with Capture("desk.monitor", "speaker") as heard:
            assert await run("pactl", "suspend-sink", "desk", "1", **environ) == 0
            with pytest.raises(CaptureError, match=r"^desk\.monitor: no audio for 0.2 s"):
                await read_on(heard)


async def test_a_missing_sound_server_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path / 'nobody'}")
    async with Capture("default", "microphone") as heard:
        with pytest.raises(CaptureError, match=r"Connection refused|Connection terminated"):
            await heard.read()


async def test_programs_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaptureError, match=r"parec: not installed \(Debian: apt-get install pulseaudio-utils\)"):
        async with Capture("default", "microphone"):
            pass
    with pytest.raises(CaptureError, match=r"pactl: not installed .*; arecord: not installed .*alsa-utils"):
        await list_devices()
