"""A toy corpus of the voices that the repository ships, and the commands that are run on it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

from detection.__main__ import main
from detection.signal.audio import read_audio
from tests.detection.signals import VOICES, noise

COLUMNS = ("path", "label", "system", "family", "speaker", "language", "split", "source")
SOURCES = 5
"""Pages, each with two clips of a "human" and two of a machine. Splits go round."""
SPLITS = ("test", "train", "val", "test", "test")
GOOD = ["real-0-0.wav", "real", "human", "human", "ann", "en", "test", "page"]


def make_corpus(folder: Path) -> None:
    """Write clips, a manifest, a noise and a room."""
    voices = sorted(VOICES.glob("*/1.ogg"))
    rows = []
    for source in range(SOURCES):
        for label, voice in (("real", voices[source]), ("fake", voices[-1 - source])):
            samples = read_audio(voice)
            for part in range(2):
                name = f"{label}-{source}-{part}.wav"
                soundfile.write(folder / name, samples[part * 56_000 :][:56_000], 16_000)
                family = "human" if label == "real" else "vc"
                rows.append([name, label, label, family, f"{label}{source}", "en", SPLITS[source], f"page{source}"])
    write_manifest(folder / "manifest.csv", rows)
    soundfile.write(folder / "noise.wav", noise(1, -20), 16_000)
    soundfile.write(folder / "room.wav", np.eye(1, 100)[0], 16_000)
    (folder / "noise_rir.csv").write_text("path,kind\nnoise.wav,noise\nroom.wav,rir\n")


def write_manifest(file: Path, rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> None:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([columns, *rows])


def command(name: str, manifest: Path, out: Path, *more: str) -> int:
    where = ["--data", f"{manifest}", "--out", f"{out}", "--cache", f"{manifest.parent / 'cache'}"]
    model = ["tinystatnet"] if name == "calibrate" else []
    return main([name, *model, *where, *more])
