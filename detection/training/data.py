"""Manifests: which clips there are, what they are, and everything that can be wrong with such a list."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from detection.errors import DataError

LABELS = ("real", "fake")


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest."""

    file: Path
    label: str
    system: str
    family: str
    speaker: str
    language: str
    split: str
    source: str

    @property
    def is_fake(self) -> bool:
        """True for synthesised, converted or vocoded speech."""
        return self.label == "fake"


COLUMNS = ("path", *(field.name for field in fields(Clip) if field.name != "file"))
"""What a manifest holds; further columns are left alone."""


def read_manifest(manifest: Path, splits: Iterable[str] = ()) -> list[Clip]:
    """Read the clips of `splits` (all of them if none is named); paths are relative to the manifest's folder.

    Raises:
        DataError: no such manifest, a missing column, an unknown label, a missing file, or an empty split.
    """
    try:
        with manifest.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{manifest}: no column {', '.join(missing)}")
            rows = list(reader)
    except OSError as error:
        raise DataError(f"{manifest}: {error.strerror}") from error
    wanted = tuple(splits)
    clips = [_clip(manifest, line, row) for line, row in enumerate(rows, 2) if not wanted or row["split"] in wanted]
    for split in wanted:
        if not any(clip.split == split for clip in clips):
            raise DataError(f"{manifest}: split {split!r} holds no clip")
    return clips


def _clip(manifest: Path, line: int, row: dict[str, str]) -> Clip:
    if row["label"] not in LABELS:
        raise DataError(f"{manifest}:{line}: label: expected real or fake; got {row['label']!r}")
    file = manifest.parent / row["path"]
    if not file.is_file():
        raise DataError(f"{manifest}:{line}: path: no file {file}")
    return Clip(file=file, **{column: row[column] for column in COLUMNS if column != "path"})


def refuse_shared_speakers(train: Sequence[Clip], validation: Sequence[Clip]) -> None:
    """Raise `DataError` when a person is heard as human on both sides: the figure would then measure memory.

    Ids that hold ``?`` or ``_unk`` are pools of unknown people and prove nothing, so they are excepted.
    """
    shared = people(train) & people(validation)
    if shared:
        raise DataError(f"human speaker in both train and validation: {', '.join(sorted(shared)[:5])}")


def people(clips: Iterable[Clip]) -> set[str]:
    """Return the ids of the people who are heard as humans; pools of unknown people left out."""
    return {clip.speaker for clip in clips if not clip.is_fake and is_known(clip.speaker)}


def is_known(speaker: str) -> bool:
    """Tell an id that stands for one person from none, and from a pool of unknown people."""
    return bool(speaker) and "?" not in speaker and "_unk" not in speaker


def data_hash(clips: Sequence[Clip]) -> str:
    """Return a short hash of the clips' names, labels and file sizes: what a run says it was trained on."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.file.name} {clip.label} {clip.split} {clip.file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
