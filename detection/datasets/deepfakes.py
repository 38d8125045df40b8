"""Loaders of In-the-Wild, WaveFake and MLAAD, for the unpacked archives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detection.datasets.entries import Entry, find, is_fake, recordings, rows
from detection.errors import DataError

SPOKEN_PROMPTS = "common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech"
"""The folder of WaveFake with speech synthesised from text; the other folders have human speech through vocoders."""


def load_in_the_wild(root: Path) -> Iterator[Entry]:
    """Yield the clips of ``release_in_the_wild.zip``: ``meta.csv`` with the columns file, speaker, label."""
    meta = find(root, ["meta.csv", "release_in_the_wild/meta.csv"], "the list of clips")
    for where, row in rows(meta, ("file", "speaker", "label")):
        fake = is_fake(row["label"], where)
        system, family = ("in-the-wild", "unknown") if fake else ("", "human")
        yield Entry(meta.parent / row["file"], fake, system, family, row["speaker"], split="test", where=where)


def load_wavefake(root: Path) -> Iterator[Entry]:
    """Yield the clips of ``generated_audio.zip``, one folder for each vocoder, and of LJSpeech if it is beside them.

    Folders are named after corpus and vocoder: ``ljspeech_melgan``, ``jsut_parallel_wavegan``.
    """
    base = root / "generated_audio" if (root / "generated_audio").is_dir() else root
    folders = [path for path in sorted(base.glob("*")) if path.name.startswith(("ljspeech_", "jsut_", SPOKEN_PROMPTS))]
    if not folders:
        raise DataError(f"{base}: expected folders such as ljspeech_melgan and jsut_parallel_wavegan")
    for folder in folders:
        japanese, spoken = folder.name.startswith("jsut_"), folder.name == SPOKEN_PROMPTS
        family = "acoustic+vocoder" if spoken else "vocoder-copy-synthesis"
        system = "conformer-fastspeech2-pwg" if spoken else folder.name.partition("_")[2]
        speaker, language = ("JSUT", "ja") if japanese else ("LJ", "en")
        for file in recordings(folder):
            yield Entry(file, True, system, family, speaker, language, "test", str(folder))
    people = root / "LJSpeech-1.1" / "wavs"
    if people.is_dir():
        for file in recordings(people):
            yield Entry(file, False, "", "human", "LJ", "en", "test", str(people))


def load_mlaad(root: Path) -> Iterator[Entry]:
    """Yield the clips of MLAAD: ``fake/LANGUAGE/MODEL/meta.csv``, separated by ``|``, with path, language, model_name.

    All clips are synthetic; the human clips for comparison, M-AILABS, are a separate data set.
    """
    base = find(root, ["fake", "MLAAD/fake"], "the clips")
    tables = sorted(base.glob("*/*/meta.csv"))
    if not tables:
        raise DataError(f"{base}: expected LANGUAGE/MODEL/meta.csv")
    for table in tables:
        for where, row in rows(table, ("path", "language", "model_name"), delimiter="|"):
            file = base.parent / row["path"]
            named = file if file.is_file() else table.parent / Path(row["path"]).name
            yield Entry(named, True, row["model_name"], language=row["language"], split="test", where=where)
