"""What a loader yields, and how it reads protocol files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.errors import DataError

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"})
REAL = frozenset({"real", "human", "bonafide", "bona-fide", "bona_fide", "genuine"})
FAKE = frozenset({"fake", "synthetic", "spoof", "deepfake", "machine"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip, as a manifest lists it; see `detection.training.data.Clip`."""

    file: Path
    is_fake: bool
    system: str = ""
    family: str = "unknown"
    """Of a fake; ``human`` where it is none."""
    speaker: str = ""
    language: str = "en"
    split: str = ""
    where: str = ""
    """Protocol file and line, for errors."""


def find(root: Path, candidates: Sequence[str], what: str) -> Path:
    """Return the first of `candidates` below `root` that is there. Raises DataError, which names all of them."""
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    raise DataError(f"{root}: expected {what}: {' or '.join(candidates)}")


def fields(protocol: Path, least: int) -> Iterator[tuple[str, list[str]]]:
    """Yield where each line of a protocol stands, and its fields, which white space parts.

    Raises:
        DataError: it cannot be read, or a line has less than `least` fields.
    """
    try:
        with protocol.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if parts := line.split():
                    if len(parts) < least:
                        raise DataError(f"{protocol}:{number}: expected at least {least} fields, got {len(parts)}")
                    yield f"{protocol}:{number}", parts
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{protocol}: cannot be read: {error}") from None


def rows(table: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield where each row of a table with a header stands, and the row.

    Raises:
        DataError: it cannot be read, or one of `columns` is missing.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            if delimiter == ",":
                reader = csv.DictReader(lines)
            else:  # these tables quote nothing: a quotation mark is part of a sentence
                reader = csv.DictReader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise DataError(
                    f"{table}:1: expected a column {missing[0]!r}, got {', '.join(reader.fieldnames or ())}"
                )
            for row in reader:
                if None in row.values():
                    raise DataError(f"{table}:{reader.line_num}: row ends before its last column")
                yield f"{table}:{reader.line_num}", row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read: {error}") from None


def is_fake(label: str, where: str) -> bool:
    """Return what a label says. Raises DataError, which names the line, where it says neither."""
    if label.lower() in FAKE:
        return True
    if label.lower() in REAL:
        return False
    raise DataError(f"{where}: label: expected one of {', '.join(sorted(REAL | FAKE))}; got {label!r}")


def recordings(folder: Path) -> Iterator[Path]:
    """Yield the recordings in a folder and all below it, in order."""
    yield from (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in AUDIO_SUFFIXES)
