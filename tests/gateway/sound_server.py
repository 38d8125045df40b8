"""A computer with a sound server: PulseAudio on a socket of its own, with speakers that nobody hears."""

from __future__ import annotations

import asyncio
import os
import shutil
import wave
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from detection import Samples

needs_pulseaudio = pytest.mark.skipif(
    not all(map(shutil.which, ("pulseaudio", "parec", "pactl", "paplay"))),
    reason="PulseAudio is not installed (Debian: apt-get install pulseaudio pulseaudio-utils)",
)
RATE_HZ = 16_000


@asynccontextmanager
async def sound_server(folder: Path, *speakers: str) -> AsyncIterator[dict[str, str]]:
    """Run PulseAudio with those null sinks; yields the environment in which programs find it."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    address = home / "socket"
    found = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PULSE_SERVER": f"unix:{address}"}
    modules = [f"module-native-protocol-unix socket={address} auth-anonymous=1"]
    modules += [f"module-null-sink sink_name={name} rate={RATE_HZ} channels=1" for name in speakers]
    options = ["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes"]
    async with process("pulseaudio", *options, *(f"--load={module}" for module in modules), **found):
        async with asyncio.timeout(20):
            while await run("pactl", "info", **found):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield found


@asynccontextmanager
async def process(program: str, *arguments: str, **environ: str) -> AsyncIterator[Process]:
    """Run a program for as long as the context is open."""
    running = await asyncio.create_subprocess_exec(
        program, *arguments, env=os.environ | environ, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()


async def run(program: str, *arguments: str, **environ: str) -> int:
    """Run a program to its end; returns its exit code."""
    async with process(program, *arguments, **environ) as running:
        return await running.wait()


def write_wav(path: Path, samples: Samples, rate_hz: int = RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate_hz)
        wav.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path
