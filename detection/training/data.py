"""Manifests: lists of labelled clips, and their checks."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from detection.errors import DataError

LABELS = ("real", "fake")
FAMILIES = (
    "human", "acoustic+vocoder", "vocoder-copy-synthesis", "codec-copy-synthesis", "flow", "end-to-end", "codec-lm",
    "diffusion", "vc", "formant", "diphone", "concatenative", "statistical-parametric", "unknown",
)  # fmt: skip
"""Methods of synthesis; `codec-copy-synthesis` is a human voice through a neural codec."""
CODEC_COPIES = "codec-copy-synthesis"
RECORDINGS = ("", "studio", "close-mic", "close", "far", "broadcast", "phone", "telephone", "wild", "unknown")
"""Values of the optional column ``channel``: how a clip was recorded, if known."""
BY_TELEPHONE = ("phone", "telephone")


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
    channel: str = ""
    """How it was recorded, one of `RECORDINGS`."""

    @property
    def is_fake(self) -> bool:
        """True for synthesised, converted or vocoded speech."""
        return self.label == "fake"


COLUMNS = ("path", *(field.name for field in fields(Clip) if field.name not in ("file", "channel")))
"""The columns of a manifest; ``channel`` is optional, and further columns are ignored."""


def read_manifest(manifest: Path, splits: Iterable[str] = ()) -> list[Clip]:
    """Read the clips of `splits`, or of all splits if it is empty; paths are relative to the manifest's folder.

    Raises:
        DataError: as `read_rows`; an unknown label, family or channel; a missing file; no clips, or none in one of
            `splits`.
    """
    wanted = tuple(splits)
    rows = read_rows(manifest, COLUMNS)
    if not rows:
        raise DataError(f"{manifest}: expected at least one clip, got none")
    clips = [_clip(manifest, line, row) for line, row in rows if not wanted or row["split"] in wanted]
    for split in wanted:
        if not any(clip.split == split for clip in clips):
            raise DataError(f"{manifest}: expected clips with split {split!r}, got none")
    return clips


def read_rows(listing: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV with at least `columns`, each with its line number.

    The file is UTF-8, with or without the byte order mark that spreadsheets write.

    Raises:
        DataError: no such file, not UTF-8 or not CSV, a missing column, or a row that ends before the last of
        `columns`.
    """
    try:
        with listing.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                manifest = "; `callscreen detect dataset csv` makes a manifest of a list with path and label"
                raise DataError(
                    f"{listing}: expected a column {', '.join(missing)}{manifest if 'label' in columns else ''}"
                )
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DataError(f"{listing}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{listing}: expected CSV in UTF-8: {error}") from error
    for line, row in rows:
        missing = [column for column in columns if row[column] is None]
        if missing:
            raise DataError(f"{listing}:{line}: expected a value for {', '.join(missing)}, got the end of the row")
    return rows


def _clip(manifest: Path, line: int, row: dict[str, str]) -> Clip:
    if row["label"] not in LABELS:
        raise DataError(f"{manifest}:{line}: label: expected real or fake, got {row['label']!r}")
    for column, known in (("family", FAMILIES), ("channel", RECORDINGS)):
        if (row.get(column) or "") not in known:
            names = ", ".join(name for name in known if name)
            raise DataError(f"{manifest}:{line}: {column}: expected one of {names}; got {row[column]!r}")
    if not row["path"]:
        raise DataError(f"{manifest}:{line}: path: expected the name of a file, got none")
    file = manifest.parent / row["path"]
    if not file.is_file():
        raise DataError(f"{manifest}:{line}: path: expected an existing file, got {file}")
    values = {column: row[column] for column in COLUMNS if column != "path"}
    return Clip(file=file, **values, channel=row.get("channel") or "")


def refuse_shared_speakers(train: Iterable[Clip], validation: Iterable[Clip], manifest: Path | None = None) -> None:
    """Raise `DataError` if a human speaker is on both sides: the error rate would then measure recognition of people.

    Ids with ``?`` or ``_unk`` stand for unknown people and are ignored. The error names `manifest`, if given.
    """
    shared = people(train) & people(validation)
    if shared:
        where = f"{manifest}: " if manifest else ""
        raise DataError(f"{where}human speakers in both train and validation: {', '.join(sorted(shared)[:5])}")


def people(clips: Iterable[Clip]) -> set[str]:
    """Return the lower-case ids of the human speakers, without ids that stand for unknown people."""
    return {clip.speaker.casefold() for clip in clips if not clip.is_fake and is_known(clip.speaker)}


def is_known(name: str) -> bool:
    """Return whether an id names one speaker or system: not empty, and not a collective id for unknown ones."""
    return bool(name) and "?" not in name and "_unk" not in name


def file_hash(file: Path) -> str:
    """Return the first 16 hexadecimal digits of a file's SHA-256."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def data_hash(clips: Sequence[Clip]) -> str:
    """Return a short hash of the clips' names, labels, splits and sizes, which identifies training data."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.file.name} {clip.label} {clip.split} {clip.file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
