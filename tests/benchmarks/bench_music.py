"""Measure what is told apart before scoring: music found, speech lost to it, and what the sounds of a line leave over.

    python -m tests.benchmarks.bench_music CORPUS_FOLDER MUSIC_FOLDER [--clips 60]

Any folder with free music serves, e.g. that of Debian's ``asterisk-moh-opsound-wav``: 20 s of the middle of each piece
are taken. Clips come from the corpus's train and val splits only, half of them synthetic. All windows are 3 s, one a
second, at -20 dBFS, as they are and after a G.711 call.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from detection import SAMPLE_RATE_HZ, Activity, Policy, Samples, Windower
from detection.signal.audio import read_audio
from detection.signal.channels import apply_channel
from detection.signal.music import is_music, notes
from detection.signal.spectra import power_spectra
from tests.detection.signals import VOICES, drums, line_sounds

WINDOW = 3 * SAMPLE_RATE_HZ
PIECE = 20 * SAMPLE_RATE_HZ
CHANNELS = ("clean", "pstn")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what is told apart before scoring.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("music", type=Path)
    parser.add_argument("--clips", type=int, default=60, help="how many clips with speech (default: %(default)s)")
    args = parser.parse_args()
    sounds = {
        f"corpus: {label}": [read_audio(path) for path in _speech_files(args.corpus, label, args.clips // 2)]
        for label in ("real", "fake")
    }
    sounds["prompts of the repository"] = [read_audio(path) for path in sorted(VOICES.glob("*/*.ogg"))]
    pieces = [read_audio(path) for path in sorted(args.music.rglob("*")) if path.suffix in (".wav", ".ogg", ".flac")]
    sounds["music"] = [piece[max(0, len(piece) - PIECE) // 2 :][:PIECE] for piece in pieces]
    told = Table("windows", *CHANNELS, title="share of windows told to be music")
    for name, clips in sounds.items():
        levelled = [np.asarray(0.1 * clip / (np.sqrt(np.mean(clip**2)) + 1e-9), np.float32) for clip in clips]
        told.add_row(
            f"{name} ({len(_windows(levelled))})", *(f"{_told(levelled, channel):.1%}" for channel in CHANNELS)
        )
    left = Table("sound", *CHANNELS, title=f"most speech in any window; scored from {Policy().min_window_speech_s} s")
    for name, sound in (line_sounds() | {"drums alone": drums(10)}).items():
        left.add_row(name, *(f"{_most_speech_s(apply_channel(sound, channel)):.2f} s" for channel in CHANNELS))
    Console().print(told, left, f"CPU per window: {_cost_ms(sounds['music']):.2f} ms")


def _speech_files(corpus: Path, label: str, count: int) -> list[Path]:
    with (corpus / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("train", "val") and row["label"] == label]
    long = [row["path"] for row in rows if float(row["duration_s"]) * SAMPLE_RATE_HZ > WINDOW]
    return [corpus / path for path in random.Random(3).sample(long, count)]


def _windows(clips: Iterable[Samples]) -> list[Samples]:
    starts = ((clip, at) for clip in clips for at in range(0, len(clip) - WINDOW + 1, SAMPLE_RATE_HZ))
    return [clip[at : at + WINDOW] for clip, at in starts]


def _told(clips: list[Samples], channel: str) -> float:
    windows = _windows(apply_channel(clip, channel) for clip in clips)
    return float(np.mean([is_music(notes(power_spectra(window))[0]) for window in windows]))


def _most_speech_s(samples: Samples) -> float:
    windower = Windower(WINDOW / SAMPLE_RATE_HZ, 1.0, Activity())
    return max(window.speech_s for window in windower.push(0.0, samples, 0.0) + windower.flush())


def _cost_ms(clips: list[Samples]) -> float:
    windows = _windows(clips)
    start_s = time.process_time()
    for window in windows:
        is_music(notes(power_spectra(window))[0])
    return 1000 * (time.process_time() - start_s) / len(windows)


if __name__ == "__main__":
    main()
