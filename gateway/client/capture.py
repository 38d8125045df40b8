"""Records from the sound devices of this computer: microphones, and the output of speakers.  [IO]

    async with Capture("default", "microphone") as capture:
        samples = await capture.read()              # 20 ms: float32, mono, 16 kHz

PulseAudio and PipeWire are read through `parec`, ALSA through `arecord`: desktops have these programs, they resample,
and a sound system that hangs only blocks a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGKILL
from types import TracebackType
from typing import Literal, Self

import numpy as np

from gateway.client.codecs import CLIP_RATE_HZ, Samples

CHUNK_MS = 20
CHUNK_SAMPLES = CLIP_RATE_HZ * CHUNK_MS // 1000
STALL_S = 5.0
"""A device without samples for this long has failed; even silence is delivered as samples."""
COMMAND_DEADLINE_S = 5.0
ALSA = "alsa:"
"""Prefix of the names of ALSA devices."""

Kind = Literal["microphone", "speaker"]
_DEFAULTS: dict[Kind, str] = {"microphone": "@DEFAULT_SOURCE@", "speaker": "@DEFAULT_MONITOR@"}
_PACKAGES = {"parec": "pulseaudio-utils", "pactl": "pulseaudio-utils", "arecord": "alsa-utils"}


class CaptureError(Exception):
    """A device or the sound system cannot be used; the text says which one and why."""


@dataclass(frozen=True, slots=True)
class Device:
    """A sound device."""

    name: str
    """The name that `Capture` takes."""
    kind: Kind
    """``speaker``: the audio that the speaker plays."""
    description: str


class Capture:
    """Records from one device while the context is open.

    Args:
        device: a name from `list_devices`; ``default`` is that of the sound server; ``alsa:NAME`` any ALSA capture
            device.
        kind: which default device.
    """

    def __init__(self, device: str, kind: Kind) -> None:
        self._device = device
        self._command = _command(_DEFAULTS[kind] if device == "default" else device)
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        """Start to record. Raises CaptureError if the recording program is not installed."""
        self._process = await _start(*self._command)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await _stop(self._process)

    async def read(self) -> Samples:
        """Return the next 20 ms, shape ``(320,)``. Raises CaptureError if the device fails or delivers nothing."""
        if self._process is None or self._process.stdout is None or self._process.stderr is None:
            raise RuntimeError("not listening: use `async with`")
        try:
            async with asyncio.timeout(STALL_S):
                data = await self._process.stdout.readexactly(2 * CHUNK_SAMPLES)
        except TimeoutError:
            raise CaptureError(f"{self._device}: no audio for {STALL_S:g} s") from None
        except asyncio.IncompleteReadError:
            output = (await self._process.stderr.read()).decode(errors="replace").strip()
            why = output.splitlines()[-1] if output else "the device was closed"
            raise CaptureError(f"{self._device}: {why} (see --list-devices)") from None
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


async def list_devices() -> list[Device]:
    """Return the sound devices, those of the sound server first.

    Raises:
        CaptureError: there are none, and the sound server or ALSA could not be asked.
    """
    devices: list[Device] = []
    faults: list[str] = []
    for listed in (_pulse_devices, _alsa_devices):
        try:
            devices += await listed()
        except CaptureError as error:
            faults.append(str(error))
    if faults and not devices:
        raise CaptureError("; ".join(faults))
    return devices


async def _pulse_devices() -> list[Device]:
    return [
        Device(source["name"], "speaker" if source["monitor_source"] else "microphone", source["description"])
        for source in json.loads(await _output("pactl", "--format=json", "list", "sources"))
    ]


async def _alsa_devices() -> list[Device]:
    """Return ALSA's devices with rate conversion. ALSA has no monitors, and lists a loopback like a microphone."""
    devices = []
    lines = (await _output("arecord", "--list-pcms")).splitlines()
    for name, description in zip(lines, [*lines[1:], ""], strict=True):
        if name.startswith("plughw:"):
            devices.append(Device(ALSA + name, "microphone", description.strip()))
    return devices


def _command(device: str) -> list[str]:
    if device.startswith(ALSA):
        name = device.removeprefix(ALSA)
        form = ["--file-type=raw", "--format=S16_LE", f"--rate={CLIP_RATE_HZ}", "--channels=1"]
        return ["arecord", "--quiet", f"--device={name}", *form]
    form = ["--raw", "--format=s16le", f"--rate={CLIP_RATE_HZ}", "--channels=1", f"--latency-msec={CHUNK_MS}"]
    return ["parec", "--client-name=callscreen", f"--device={device}", *form]


async def _start(program: str, *arguments: str) -> Process:
    if (path := shutil.which(program)) is None:
        raise CaptureError(f"{program}: not installed (Debian: apt-get install {_PACKAGES[program]})")
    return await asyncio.create_subprocess_exec(path, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, SIGKILL)  # not process.kill(): it reaps an ended one before asyncio does, which warns
    await process.communicate()


async def _output(program: str, *arguments: str) -> str:
    """Run a command, and return its output. Raises CaptureError."""
    process = await _start(program, *arguments)
    try:
        async with asyncio.timeout(COMMAND_DEADLINE_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise CaptureError(f"{program}: no answer within {COMMAND_DEADLINE_S:g} s") from None
    finally:
        await _stop(process)
    if process.returncode:
        said = (err.decode(errors="replace").strip().splitlines() or ["failed"])[0]
        remedy = " (no sound server runs here; start one, or name an ALSA device)" if "refused" in said else ""
        raise CaptureError(f"{program}: {said}{remedy}")
    return out.decode()
