"""The type that loaders yield, and helpers for reading protocol files."""

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
    """One clip for the manifest; see `detection.training.data.Clip`."""

    file: Path
    is_fake: bool
    system: str = ""
    family: str = "unknown"
    """Family of the system; ``human`` for human clips."""
    speaker: str = ""
    language: str = "en"
    split: str = ""
    where: str = ""
    """Protocol file and line, for errors."""


def find(root: Path, candidates: Sequence[str], what: str) -> Path:
    """Return the first of `candidates` that exists below `root`. Raises DataError, which names all of them."""
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    raise DataError(f"{root}: expected {what}: {' or '.join(candidates)}")


def fields(protocol: Path, least: int) -> Iterator[tuple[str, list[str]]]:
    """Yield position and fields of each line of a protocol, separated by white space.

    Raises:
        DataError: it cannot be read, or a line has fewer than `least` fields.
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
    """Yield position and values of each row of a table with a header.

    Raises:
        DataError: it cannot be read, or one of `columns` is missing.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            if delimiter == ",":
                reader = csv.DictReader(lines)
            else:  # in these tables a quotation mark is part of the text
                reader = csv.DictReader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise DataError(
                    f"{table}:1: expected a column {missing[0]!r}, got {', '.join(reader.fieldnames or ())}"
                )
            for row in reader:
                if None in row.values():
                    raise DataError(
                        f"{table}:{reader.line_num}: expected {len(reader.fieldnames or ())} columns, got fewer"
                    )
                yield f"{table}:{reader.line_num}", row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read: {error}") from None


def is_fake(label: str, where: str) -> bool:
    """Return the meaning of a label. Raises DataError, which names the line, for an unknown label."""
    if label.lower() in FAKE:
        return True
    if label.lower() in REAL:
        return False
    raise DataError(f"{where}: label: expected one of {', '.join(sorted(REAL | FAKE))}; got {label!r}")


def recordings(folder: Path) -> Iterator[Path]:
    """Yield the recordings in a folder and its subfolders, in order."""
    yield from (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in AUDIO_SUFFIXES)
