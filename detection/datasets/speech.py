"""Loaders of human speech: LibriSpeech and Common Voice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detection.datasets.entries import Entry, recordings, rows
from detection.errors import DataError

LIBRISPEECH = {
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
}
"""Number of clips by subset (Panayotov et al., 2015; counts of the archives at openslr.org/12)."""
_COMMON_VOICE_SPLITS = {"train": "train", "dev": "val", "test": "test"}


def load_librispeech(root: Path) -> Iterator[Entry]:
    """Yield the clips of LibriSpeech's subsets: ``SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac``."""
    base = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    subsets = [subset for subset in LIBRISPEECH if (base / subset).is_dir()]
    if not subsets:
        raise DataError(f"{base}: expected some of {', '.join(LIBRISPEECH)}")
    for subset in subsets:
        for file in recordings(base / subset):
            speaker, _, rest = file.stem.partition("-")
            if file.parent.parent.name != speaker or not rest:
                raise DataError(f"{file}: expected SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac")
            yield Entry(file, False, "", "human", f"libri-{speaker}", "en", subset, str(file))


def load_common_voice(root: Path) -> Iterator[Entry]:
    """Yield the clips of Common Voice, from the folder of one language or of several:
    ``LANGUAGE/{train,dev,test}.tsv``.

    The tables need the columns client_id and path, the latter relative to ``clips/``.
    """
    languages = [table.parent for pattern in ("test.tsv", "*/test.tsv", "*/*/test.tsv") for table in root.glob(pattern)]
    if not languages:
        raise DataError(f"{root}: expected LANGUAGE/test.tsv")
    for folder in sorted(set(languages)):
        for name, split in _COMMON_VOICE_SPLITS.items():
            if not (folder / f"{name}.tsv").is_file():
                continue
            for where, row in rows(folder / f"{name}.tsv", ("client_id", "path"), delimiter="\t"):
                speaker, file = f"cv-{row['client_id'][:16]}", folder / "clips" / row["path"]
                yield Entry(file, False, "", "human", speaker, folder.name, split, where)
