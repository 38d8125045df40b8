"""Loaders of one's own recordings: a folder, or a CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from detection.datasets.entries import FAKE, REAL, Entry, is_fake, recordings, rows
from detection.errors import DataError

PATHS = ("path", "file", "filename", "file_name", "audio", "wav")
LABELS = ("label", "key", "class", "target")


def load_folder(root: Path) -> Iterator[Entry]:
    """Yield the recordings of ``real/`` and ``fake/``, or folders of similar names; a subfolder is one voice."""
    folders = [folder for folder in sorted(root.glob("*")) if folder.is_dir() and folder.name.lower() in REAL | FAKE]
    if not folders:
        raise DataError(f"{root}: expected folders real and fake (or {', '.join(sorted(REAL | FAKE))})")
    for folder in folders:
        fake = folder.name.lower() in FAKE
        for file in recordings(folder):
            inside = file.relative_to(folder).parts
            voice = inside[0] if len(inside) > 1 else file.stem
            system, family = (voice, "unknown") if fake else ("", "human")
            yield Entry(file, fake, system, family, voice, "", "test", str(folder))


def load_csv(table: Path) -> Iterator[Entry]:
    """Yield the rows of a CSV with columns for path and label, and optionally system, speaker, language and split.

    Paths are relative to the CSV's folder. `PATHS` and `LABELS` have the accepted names of the first two columns.
    """
    names = _header(table)
    path, label = (next((name for name in known if name in names), "") for known in (PATHS, LABELS))
    for found, known in ((path, PATHS), (label, LABELS)):
        if not found:
            raise DataError(f"{table}:1: expected a column {' or '.join(known)}, got {', '.join(names)}")
    for where, row in rows(table, (path, label)):
        fake = is_fake(row[label], where)
        yield Entry(
            table.parent / row[path],
            fake,
            (row.get("system") or "unknown") if fake else "",
            "unknown" if fake else "human",
            row.get("speaker") or Path(row[path]).stem,
            row.get("language") or "",
            row.get("split") or "test",
            where,
        )


def _header(table: Path) -> list[str]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            return next(csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read: {error}") from None
