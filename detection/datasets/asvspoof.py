"""Loaders of ASVspoof 2019 LA, 2021 LA and DF, and 5, for the unpacked archives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detection.datasets.entries import Entry, fields, find, is_fake

_CONVERTED = frozenset({"A05", "A06", "A13", "A14", "A15", "A17", "A18", "A19"})
"""Attacks by voice conversion, some of synthesised speech (Wang et al., Computer Speech & Language 64, 2020, table
3)."""
_CONCATENATED = frozenset({"A04", "A16"})


def load_2019_la(root: Path) -> Iterator[Entry]:
    """Yield the clips of ``LA.zip``; splits train, val (dev), test (eval).

    A line of ``ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.*.txt``: speaker, file, ``-``, attack, key.
    """
    base = find(root, ["ASVspoof2019_LA_cm_protocols", "LA/ASVspoof2019_LA_cm_protocols"], "the protocols").parent
    for name, kind, split in (("train", "trn", "train"), ("dev", "trl", "val"), ("eval", "trl", "test")):
        protocol = base / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{name}.{kind}.txt"
        audio = base / f"ASVspoof2019_LA_{name}" / "flac"
        for where, (speaker, file, _, attack, key, *_rest) in fields(protocol, 5):
            yield _entry(audio / f"{file}.flac", key, attack, speaker, split, where)


def load_2021_la(root: Path) -> Iterator[Entry]:
    """Yield the clips of ``ASVspoof2021_LA_eval`` with the keys of ``LA-keys-full``; see `_load_2021`."""
    return _load_2021(root, "LA", ["ASVspoof2021_LA_eval/flac", "flac"])


def load_2021_df(root: Path) -> Iterator[Entry]:
    """Yield the clips of the four parts of ``ASVspoof2021_DF_eval`` with the keys of ``DF-keys-full``."""
    parts = [f"ASVspoof2021_DF_eval_part{part:02}/ASVspoof2021_DF_eval/flac" for part in range(4)]
    return _load_2021(root, "DF", ["ASVspoof2021_DF_eval/flac", "flac", *parts])


def _load_2021(root: Path, task: str, audio: list[str]) -> Iterator[Entry]:
    """Yield the clips of a task; its phases ``progress``, ``eval`` and ``hidden`` are the splits.

    A line of ``keys/TASK/CM/trial_metadata.txt``: speaker, file, codec, source or transmission, attack, key, trim,
    phase, and in DF the kind of vocoder.
    """
    keys = [f"keys/{task}/CM", f"{task}-keys-full/keys/{task}/CM", f"{task}-keys-stage-1/keys/CM", "keys/CM", "CM"]
    protocol = find(root, [f"{folder}/trial_metadata.txt" for folder in keys], "the keys")
    find(root, audio, "the audio")
    folders = [root / folder for folder in audio if (root / folder).is_dir()]
    for where, (speaker, file, _codec, _source, attack, key, _trim, phase, *_rest) in fields(protocol, 8):
        files = [folder / f"{file}.flac" for folder in folders]
        there = next((one for one in files if one.is_file()), files[0]) if len(files) > 1 else files[0]
        yield _entry(there, key, attack, speaker, phase, where)


def load_5(root: Path) -> Iterator[Entry]:
    """Yield the clips of ASVspoof 5, track 1; splits train, val (dev), test (eval).

    A line of ``ASVspoof5.*.tsv``, separated by white space: speaker, file, gender, codec, codec quality, codec seed,
    attack tag, attack, key, and an unused field.
    """
    first = "ASVspoof5.train.tsv"
    base = find(root, [first, f"ASVspoof5_protocols/{first}"], "the protocols").parent
    for name, split, folders in (
        ("train", "train", ["flac_T"]),
        ("dev.track_1", "val", ["flac_D"]),
        ("eval.track_1", "test", ["flac_E_eval", "flac_E"]),
    ):
        audio = next((root / folder for folder in folders if (root / folder).is_dir()), root / folders[0])
        protocol = base / f"ASVspoof5.{name}.tsv"
        for where, (speaker, file, _g, _c, _q, _s, _tag, attack, key, *_rest) in fields(protocol, 9):
            yield _entry(audio / f"{file}.flac", key, attack, speaker, split, where, known_attacks=False)


def _entry(
    file: Path, key: str, attack: str, speaker: str, split: str, where: str, *, known_attacks: bool = True
) -> Entry:
    """Return an entry; `known_attacks`: attack names are those of 2019, whose family is known."""
    fake = is_fake(key, where)
    if not fake:
        return Entry(file, is_fake=False, family="human", speaker=speaker, split=split, where=where)
    family = "unknown"
    if known_attacks and attack[:1] == "A" and attack[1:].isdigit():
        family = "vc" if attack in _CONVERTED else "concatenative" if attack in _CONCATENATED else "acoustic+vocoder"
    return Entry(file, True, attack, family, speaker, split=split, where=where)
