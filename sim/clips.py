"""Voices to make calls with: recordings grouped by who speaks, chosen by seed, decoded when first needed.

A *voice* is all clips of one speaker by one system. They come from a manifest (CSV), from folders, or from the
synthetic voices that are shipped here.
"""

from __future__ import annotations

import csv
import fnmatch
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import numpy as np

from gateway.client.codecs import CLIP_RATE_HZ, Samples

Label = Literal["human", "synthetic"]

SHIPPED = Path(__file__).parent / "voices"
"""One folder a synthetic voice; see `sim.voices`."""
_LABELS: dict[str, Label] = {"human": "human", "real": "human", "synthetic": "synthetic", "fake": "synthetic"}
_AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".au", ".aiff", ".sln"})
_ONSET_BELOW_PEAK = 10 ** (-30 / 20)


class ClipError(Exception):
    """A recording, a manifest or a folder of recordings cannot be used; the text names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker."""

    label: Label
    system: str
    """What made the voice, ``human`` for people."""
    speaker: str
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Short name for tables."""
        return self.speaker if self.label == "human" else self.system


class Library:
    """The voices there are to choose from."""

    def __init__(self, voices: Iterable[Voice]) -> None:
        self.voices = tuple(sorted(voices, key=lambda voice: (voice.label, voice.system, voice.speaker)))

    def choose(self, label: Label, system: str, rng: random.Random, speaker: str = "*") -> Voice:
        """Return one voice of `label` whose system and speaker match these patterns (``*`` for any).

        Raises:
            ClipError: there is none.
        """
        fitting = [
            voice
            for voice in self.voices
            if voice.label == label
            and fnmatch.fnmatchcase(voice.system, system)
            and fnmatch.fnmatchcase(voice.speaker, speaker)
        ]
        if not fitting:
            asked = {"system": system, "speaker": speaker}
            wanted = ", ".join([label, *(f"{name} {value!r}" for name, value in asked.items() if value != "*")])
            raise ClipError(f"no voice to choose from: {wanted} (there are {self})")
        return rng.choice(fitting)

    def __str__(self) -> str:
        counts = {label: sum(v.label == label for v in self.voices) for label in ("human", "synthetic")}
        return f"{counts['human']} human and {counts['synthetic']} synthetic voices"


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a manifest."""

    line: int
    """Where it stands in the manifest."""
    label: Label
    system: str
    speaker: str
    path: Path


def read_manifest(manifest: Path, split: str | None = None) -> list[Row]:
    """Read a CSV with columns path and label, and perhaps split, system and speaker. Paths are relative to it.

    Raises:
        ClipError: not readable, a column is missing, a label is unknown, or no row is left.
    """
    found: list[Row] = []
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in _rows(reader, manifest, needs_split=split is not None):
                if split is not None and row["split"] != split:
                    continue
                where = f"{manifest}:{reader.line_num}"
                if (label := _LABELS.get(row["label"])) is None:
                    raise ClipError(f"{where}: label: expected {', '.join(_LABELS)}, got {row['label']!r}")
                if not row["path"]:
                    raise ClipError(f"{where}: path: expected the name of a recording, got none")
                system, speaker = row.get("system") or label, row.get("speaker") or Path(row["path"]).stem
                found.append(Row(reader.line_num, label, system, speaker, manifest.parent / row["path"]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClipError(f"{manifest}: {error}") from None
    if not found:
        raise ClipError(f"{manifest}: no clip{f' with split {split!r}' if split else ''}: expected one row at least")
    return found


def from_manifest(manifest: Path, split: str | None = None) -> Library:
    """Take the voices of a manifest; see `read_manifest`. Raises ClipError."""
    groups: dict[tuple[Label, str, str], list[Path]] = {}
    for row in read_manifest(manifest, split):
        groups.setdefault((row.label, row.system, row.speaker), []).append(row.path)
    return Library(Voice(*key, tuple(paths)) for key, paths in groups.items())


def from_folder(folder: Path) -> Library:
    """Take the voices in ``human/`` and ``synthetic/``; a sub-folder there, or a file, is one voice.

    A folder that has neither holds people only. Where it holds no synthetic voices the shipped ones are taken.

    Raises:
        ClipError: there is no recording in it.
    """
    has_labels = any((folder / label).is_dir() for label in ("human", "synthetic"))
    voices = list(_voices_in(folder / "human" if has_labels else folder, "human"))
    synthetic = list(_voices_in(folder / "synthetic", "synthetic")) if has_labels else []
    if not voices and not synthetic:
        raise ClipError(f"{folder}: no recording in it ({', '.join(sorted(_AUDIO_SUFFIXES))})")
    return Library([*voices, *(synthetic or shipped())])


def from_paths(label: Label, paths: Sequence[str]) -> Library:
    """Take recordings, and all that is in folders, as one voice of `label`.

    Raises:
        ClipError: there is no recording among them.
    """
    files = [file for path in map(Path, paths) for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    recordings = tuple(file for file in files if file.suffix.lower() in _AUDIO_SUFFIXES)
    if not recordings:
        raise ClipError(f"{', '.join(paths)}: no recording in it ({', '.join(sorted(_AUDIO_SUFFIXES))})")
    return Library([Voice(label, label, recordings[0].stem, recordings)])


def shipped() -> list[Voice]:
    """Return the synthetic voices that come with this package."""
    return list(_voices_in(SHIPPED, "synthetic"))


@lru_cache(maxsize=512)
def load(path: Path) -> Samples:
    """Decode one recording: mono float32 at 16 kHz, read-only.

    Raises:
        ClipError: it is missing, unreadable or holds no audio.
    """
    samples: Samples = _decode(path, "mono")[0]
    samples.flags.writeable = False
    return samples


def load_channels(path: Path) -> list[Samples]:
    """Decode each channel of a recording by itself: float32 at 16 kHz. Raises ClipError as `load` does."""
    return list(_decode(path, None))


def _decode(path: Path, layout: str | None) -> Samples:
    """Return a recording in a layout of libav, None: its own; float32 at 16 kHz, shape ``(channels, n)``."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=CLIP_RATE_HZ)
    pieces: list[Samples] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ClipError(f"{path}: holds no audio")
            for frame in (*container.decode(audio=0), None):
                pieces += [np.asarray(some.to_ndarray(), np.float32) for some in resampler.resample(frame)]
    except (OSError, av.FFmpegError) as error:
        raise ClipError(f"{path}: cannot be read: {error}") from None
    samples = np.concatenate(pieces, axis=1) if pieces else np.empty((1, 0), np.float32)
    if not samples.any():
        raise ClipError(f"{path}: is empty or silent")
    return samples


def onset_samples(samples: Samples) -> int:
    """Return where a recording gets louder than 30 dB below its peak: where somebody begins to speak."""
    loudness = np.abs(samples)
    return int(np.argmax(loudness > loudness.max() * _ONSET_BELOW_PEAK))


def _rows(reader: csv.DictReader[str], manifest: Path, *, needs_split: bool) -> Iterator[dict[str, str]]:
    needed = {"path", "label"} | ({"split"} if needs_split else set())
    if missing := needed - set(reader.fieldnames or ()):
        raise ClipError(f"{manifest}: column {min(missing)!r} is missing")
    yield from reader


def _voices_in(folder: Path, label: Label) -> Iterator[Voice]:
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        files = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        paths = tuple(file for file in files if file.suffix.lower() in _AUDIO_SUFFIXES)
        if paths:
            yield Voice(label, "human" if label == "human" else entry.stem, entry.stem, paths)
