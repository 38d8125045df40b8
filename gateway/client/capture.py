"""Listen to the sound devices of this computer: its microphones, and what its speakers play.  [IO]

    async with Capture("default", "microphone") as capture:
        samples = await capture.read()              # 20 ms: float32, mono, 16 kHz

PulseAudio and PipeWire are read through `parec`, ALSA through `arecord`: a desktop has them, they resample, and a sound
system that hangs then hangs a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import numpy as np

from gateway.client.codecs import CLIP_RATE_HZ, Samples

CHUNK_MS = 20
CHUNK_SAMPLES = CLIP_RATE_HZ * CHUNK_MS // 1000
STALL_S = 5.0
"""A device that gives nothing for so long is gone, or asleep: even silence comes as samples."""
COMMAND_DEADLINE_S = 5.0
ALSA = "alsa:"
"""Marks the name of an ALSA device."""

Kind = Literal["microphone", "speaker"]
_DEFAULTS: dict[Kind, str] = {"microphone": "@DEFAULT_SOURCE@", "speaker": "@DEFAULT_MONITOR@"}
_PACKAGES = {"parec": "pulseaudio-utils", "pactl": "pulseaudio-utils", "arecord": "alsa-utils"}


class CaptureError(Exception):
    """A device or the sound system cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Device:
    """Something that can be listened to."""

    name: str
    """What `Capture` takes."""
    kind: Kind
    """``speaker``: what that speaker plays, not what it hears."""
    description: str


class Capture:
    """One device, listened to while the context is open.

    Args:
        device: a name of `list_devices`; ``default`` is the sound server's; ``alsa:NAME`` any capture device of ALSA.
        kind: which default is meant.
    """

    def __init__(self, device: str, kind: Kind) -> None:
        self._device = device
        self._command = _command(_DEFAULTS[kind] if device == "default" else device)
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        """Begin. Raises CaptureError when the program that reads the device is not installed."""
        self._process = await _start(*self._command)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await _stop(self._process)

    async def read(self) -> Samples:
        """Return the next 20 ms, shape ``(320,)``. Raises CaptureError when the device fails or falls silent."""
        if self._process is None or self._process.stdout is None or self._process.stderr is None:
            raise RuntimeError("not listening: use `async with`")
        try:
            async with asyncio.timeout(STALL_S):
                data = await self._process.stdout.readexactly(2 * CHUNK_SAMPLES)
        except TimeoutError:
            raise CaptureError(f"{self._device}: no audio for {STALL_S:g} s") from None
        except asyncio.IncompleteReadError:
            said = (await self._process.stderr.read()).decode(errors="replace").strip()
            why = said.splitlines()[-1] if said else "the device was closed"
            raise CaptureError(f"{self._device}: {why} (see --list-devices)") from None
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


async def list_devices() -> list[Device]:
    """Return what can be listened to, the sound server's devices first.

    Raises:
        CaptureError: there are none, and the sound server or ALSA could not be asked; says why.
    """
    devices: list[Device] = []
    faults: list[str] = []
    for ask in (_pulse_devices, _alsa_devices):
        try:
            devices += await ask()
        except CaptureError as error:
            faults.append(str(error))
    if faults and not devices:
        raise CaptureError("; ".join(faults))
    return devices


async def _pulse_devices() -> list[Device]:
    return [
        Device(source["name"], "speaker" if source["monitor_source"] else "microphone", source["description"])
        for source in json.loads(await _ask("pactl", "--format=json", "list", "sources"))
    ]


async def _alsa_devices() -> list[Device]:
    """ALSA's devices that convert rates; it knows no monitors, and does not tell a loopback from a microphone."""
    devices = []
    lines = (await _ask("arecord", "--list-pcms")).splitlines()
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
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def _ask(program: str, *arguments: str) -> str:
    """Run a command that answers at once; return what it says."""
    process = await _start(program, *arguments)
    try:
        async with asyncio.timeout(COMMAND_DEADLINE_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise CaptureError(f"{program}: no answer within {COMMAND_DEADLINE_S:g} s") from None
    finally:
        await _stop(process)
    if process.returncode:
        raise CaptureError(f"{program}: {(err.decode(errors='replace').strip().splitlines() or ['failed'])[0]}")
    return out.decode()
