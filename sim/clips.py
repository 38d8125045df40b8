"""Voices for calls: recordings grouped by speaker, chosen by seed, decoded on first use.

A *voice* is all clips of one speaker by one system. Voices come from a manifest (CSV), from folders, or are the
shipped synthetic ones.
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
"""One folder for each synthetic voice; see `sim.voices`."""
_LABELS: dict[str, Label] = {"human": "human", "real": "human", "synthetic": "synthetic", "fake": "synthetic"}
_AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".au", ".aiff", ".sln"})
_ONSET_BELOW_PEAK = 10 ** (-30 / 20)


class ClipError(Exception):
    """A recording, manifest or folder cannot be used; the text names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker."""

    label: Label
    system: str
    """The synthesis system, ``human`` for human voices."""
    speaker: str
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Short name for tables."""
        return self.speaker if self.label == "human" else self.system


class Library:
    """The available voices."""

    def __init__(self, voices: Iterable[Voice]) -> None:
        self.voices = tuple(sorted(voices, key=lambda voice: (voice.label, voice.system, voice.speaker)))

    def choose(self, label: Label, system: str, rng: random.Random, speaker: str = "*") -> Voice:
        """Return one voice of `label` whose system and speaker match these patterns (``*`` for any).

        Raises:
            ClipError: no voice matches.
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
            raise ClipError(f"expected a voice: {wanted}; got {self}")
        return rng.choice(fitting)

    def __str__(self) -> str:
        counts = {label: sum(v.label == label for v in self.voices) for label in ("human", "synthetic")}
        return f"{counts['human']} human and {counts['synthetic']} synthetic voices"


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a manifest."""

    line: int
    """Line in the manifest."""
    label: Label
    system: str
    speaker: str
    path: Path


def read_manifest(manifest: Path, split: str | None = None) -> list[Row]:
    """Read a CSV with columns path and label, and optionally split, system and speaker. Paths are relative to it.

    Raises:
        ClipError: not readable, a missing column, an unknown label, or no matching row.
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
        raise ClipError(f"{manifest}: expected clips{f' with split {split!r}' if split else ''}, got none")
    return found


def from_manifest(manifest: Path, split: str | None = None) -> Library:
    """Return the voices of a manifest; see `read_manifest`. Raises ClipError."""
    groups: dict[tuple[Label, str, str], list[Path]] = {}
    for row in read_manifest(manifest, split):
        groups.setdefault((row.label, row.system, row.speaker), []).append(row.path)
    return Library(Voice(*key, tuple(paths)) for key, paths in groups.items())


def from_folder(folder: Path) -> Library:
    """Return the voices in ``human/`` and ``synthetic/``; a subfolder there, or a file, is one voice.

    A folder with neither contains human voices only. Without synthetic voices, the shipped ones are used.

    Raises:
        ClipError: the folder has no recordings.
    """
    has_labels = any((folder / label).is_dir() for label in ("human", "synthetic"))
    voices = list(_voices_in(folder / "human" if has_labels else folder, "human"))
    synthetic = list(_voices_in(folder / "synthetic", "synthetic")) if has_labels else []
    if not voices and not synthetic:
        raise ClipError(f"{folder}: expected recordings ({', '.join(sorted(_AUDIO_SUFFIXES))}), found none")
    return Library([*voices, *(synthetic or shipped())])


def from_paths(label: Label, paths: Sequence[str]) -> Library:
    """Return recordings, and those in folders, as one voice of `label`.

    Raises:
        ClipError: there are no recordings.
    """
    files = [file for path in map(Path, paths) for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    recordings = tuple(file for file in files if file.suffix.lower() in _AUDIO_SUFFIXES)
    if not recordings:
        raise ClipError(f"{', '.join(paths)}: expected recordings ({', '.join(sorted(_AUDIO_SUFFIXES))}), found none")
    return Library([Voice(label, label, recordings[0].stem, recordings)])


def shipped() -> list[Voice]:
    """Return the shipped synthetic voices."""
    return list(_voices_in(SHIPPED, "synthetic"))


@lru_cache(maxsize=512)
def load(path: Path) -> Samples:
    """Decode one recording: mono float32 at 16 kHz, read-only.

    Raises:
        ClipError: it is missing, unreadable or has no audio.
    """
    samples: Samples = _decode(path, "mono")[0]
    samples.flags.writeable = False
    return samples


def load_channels(path: Path) -> list[Samples]:
    """Decode each channel of a recording: float32 at 16 kHz. Raises ClipError as `load`."""
    return list(_decode(path, None))


def _decode(path: Path, layout: str | None) -> Samples:
    """Return a recording in a libav channel layout (None: its own); float32 at 16 kHz, shape ``(channels, n)``."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=CLIP_RATE_HZ)
    pieces: list[Samples] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ClipError(f"{path}: expected an audio stream, found none")
            for frame in (*container.decode(audio=0), None):
                pieces += [np.asarray(some.to_ndarray(), np.float32) for some in resampler.resample(frame)]
    except (OSError, av.FFmpegError) as error:
        raise ClipError(f"{path}: cannot be read: {error}") from None
    samples = np.concatenate(pieces, axis=1) if pieces else np.empty((1, 0), np.float32)
    if not samples.any():
        raise ClipError(f"{path}: expected audio, got {'silence' if samples.size else 'none'}")
    return samples


def onset_samples(samples: Samples) -> int:
    """Return the first sample louder than 30 dB below the peak: the start of speech."""
    loudness = np.abs(samples)
    return int(np.argmax(loudness > loudness.max() * _ONSET_BELOW_PEAK))


def _rows(reader: csv.DictReader[str], manifest: Path, *, needs_split: bool) -> Iterator[dict[str, str]]:
    needed = {"path", "label"} | ({"split"} if needs_split else set())
    if missing := needed - set(reader.fieldnames or ()):
        raise ClipError(f"{manifest}: expected a column {min(missing)!r}")
    yield from reader


def _voices_in(folder: Path, label: Label) -> Iterator[Voice]:
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        files = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        paths = tuple(file for file in files if file.suffix.lower() in _AUDIO_SUFFIXES)
        if paths:
            yield Voice(label, "human" if label == "human" else entry.stem, entry.stem, paths)
