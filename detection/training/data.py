"""Manifests: which clips there are, what they are, and everything that can be wrong with such a list."""

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
"""How a voice was made; `codec-copy-synthesis` is a person's voice through a neural codec."""
CODEC_COPIES = "codec-copy-synthesis"
RECORDINGS = ("", "studio", "close-mic", "close", "far", "broadcast", "phone", "telephone", "wild", "unknown")
"""Values of the optional column ``channel``: how a clip was recorded, as far as known."""
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
"""What a manifest holds; ``channel`` may be there, and further columns are left alone."""


def read_manifest(manifest: Path, splits: Iterable[str] = ()) -> list[Clip]:
    """Read the clips of `splits` (all of them if none is named); paths are relative to the manifest's folder.

    Raises:
        DataError: what `read_rows` refuses, an unknown label, family or channel, a missing file, no clip at all, or an
            empty split.
    """
    wanted = tuple(splits)
    rows = read_rows(manifest, COLUMNS)
    if not rows:
        raise DataError(f"{manifest}: holds no clip")
    clips = [_clip(manifest, line, row) for line, row in rows if not wanted or row["split"] in wanted]
    for split in wanted:
        if not any(clip.split == split for clip in clips):
            raise DataError(f"{manifest}: split {split!r} holds no clip")
    return clips


def read_rows(listing: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV that has at least `columns`, each with the number of its line.

    UTF-8, with or without the byte order mark that spreadsheets write.

    Raises:
        DataError: no such file, not such text, a missing column, or a row that ends before the last of `columns`.
    """
    try:
        with listing.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{listing}: no column {', '.join(missing)}")
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DataError(f"{listing}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{listing}: expected CSV in UTF-8: {error}") from error
    for line, row in rows:
        missing = [column for column in columns if row[column] is None]
        if missing:
            raise DataError(f"{listing}:{line}: row ends before {', '.join(missing)}")
    return rows


def _clip(manifest: Path, line: int, row: dict[str, str]) -> Clip:
    if row["label"] not in LABELS:
        raise DataError(f"{manifest}:{line}: label: expected real or fake; got {row['label']!r}")
    for column, known in (("family", FAMILIES), ("channel", RECORDINGS)):
        if (row.get(column) or "") not in known:
            names = ", ".join(name for name in known if name)
            raise DataError(f"{manifest}:{line}: {column}: expected one of {names}; got {row[column]!r}")
    if not row["path"]:
        raise DataError(f"{manifest}:{line}: path: expected the name of a file; got none")
    file = manifest.parent / row["path"]
    if not file.is_file():
        raise DataError(f"{manifest}:{line}: path: no file {file}")
    told = {column: row[column] for column in COLUMNS if column != "path"}
    return Clip(file=file, **told, channel=row.get("channel") or "")


def refuse_shared_speakers(train: Iterable[Clip], validation: Iterable[Clip], manifest: Path | None = None) -> None:
    """Raise `DataError` when a person is heard as human on both sides: the figure would then measure memory.

    Ids that hold ``?`` or ``_unk`` are pools of unknown people and prove nothing, so they are excepted. The error names
    `manifest`, the list to blame, where there is one.
    """
    shared = people(train) & people(validation)
    if shared:
        where = f"{manifest}: " if manifest else ""
        raise DataError(f"{where}human speaker in both train and validation: {', '.join(sorted(shared)[:5])}")


def people(clips: Iterable[Clip]) -> set[str]:
    """Return the ids, lower-case, of the people who are heard as humans; pools of unknown people left out."""
    return {clip.speaker.casefold() for clip in clips if not clip.is_fake and is_known(clip.speaker)}


def is_known(name: str) -> bool:
    """Tell an id that stands for one person, or one system, from none, and from a pool of unknown ones."""
    return bool(name) and "?" not in name and "_unk" not in name


def file_hash(file: Path) -> str:
    """Return a short hash of what a file holds: 16 hexadecimal digits of its SHA-256."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def data_hash(clips: Sequence[Clip]) -> str:
    """Return a short hash of the clips' names, labels and file sizes: what a run says it was trained on."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.file.name} {clip.label} {clip.split} {clip.file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
