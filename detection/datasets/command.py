"""`callscreen detect dataset`: writes the manifest of a published data set."""

from __future__ import annotations

import csv
import os
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from detection.datasets import asvspoof, deepfakes, plain, speech
from detection.datasets.checksums import check
from detection.datasets.entries import Entry
from detection.errors import DataError
from detection.training.data import COLUMNS, FAMILIES

DESCRIPTION = """\
Write a manifest of a data set, from the layout and the protocol files of its archives. Nothing is downloaded.
`sim matrix`, `detect evaluate`, `calibrate` and `train` read manifests."""

EPILOG = """\
example: callscreen detect dataset folder mine --out mine.csv

data sets:
{names}

The number of clips is checked where the published number is known. Clips that a protocol names but that are missing are
reported and left out. With --strict both are errors. The column `source` is NAME/SPEAKER, so that confidence intervals
are over speakers."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set: its loader and known numbers of clips."""

    load: Callable[[Path], Iterator[Entry]]
    root: str
    """Description of ROOT."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Clips of each split in the complete archive."""


DATA_SETS = {
    "asvspoof2019-la": DataSet(
        asvspoof.load_2019_la, "where LA.zip was unpacked", {"train": 25_380, "val": 24_844, "test": 71_237}
    ),
    "asvspoof2021-la": DataSet(
        asvspoof.load_2021_la,
        "the folder of ASVspoof2021_LA_eval and keys (of LA-keys-full.tar.gz)",
        {"progress": 16_464, "eval": 148_176, "hidden": 16_926},
    ),
    "asvspoof2021-df": DataSet(
        asvspoof.load_2021_df, "the folder of ASVspoof2021_DF_eval (four parts) and keys (of DF-keys-full.tar.gz)"
    ),
    "asvspoof5": DataSet(
        asvspoof.load_5,
        "the folder of flac_T, flac_D, flac_E_eval and ASVspoof5_protocols",
        {"train": 182_357, "val": 140_950, "test": 680_774},
    ),
    "in-the-wild": DataSet(deepfakes.load_in_the_wild, "release_in_the_wild", {"test": 31_779}),
    "wavefake": DataSet(deepfakes.load_wavefake, "the folder of generated_audio (and LJSpeech-1.1)"),
    "mlaad": DataSet(deepfakes.load_mlaad, "the folder of fake"),
    "librispeech": DataSet(speech.load_librispeech, "LibriSpeech", speech.LIBRISPEECH),
    "common-voice": DataSet(speech.load_common_voice, "cv-corpus-VERSION, or the folder of one language"),
    "folder": DataSet(plain.load_folder, "a folder with real/ and fake/"),
    "csv": DataSet(plain.load_csv, "a CSV with path and label"),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's arguments and help."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG.format(names="\n".join(f"  {name:16} {one.root}" for name, one in DATA_SETS.items()))
    add = parser.add_argument
    add("name", metavar="NAME", choices=tuple(DATA_SETS), help=", ".join(DATA_SETS))
    add("root", metavar="ROOT", type=Path, help="folder with its unpacked archives; see below")
    add("--out", metavar="CSV", type=Path, required=True, help="the manifest to write")
    add("--split", metavar="NAME", help="only this split")
    add(
        "--checksums",
        metavar="LIST",
        type=Path,
        help="first check the files of this list, in the format of md5sum or sha256sum, relative to its folder",
    )
    add("--strict", action="store_true", help="fail if clips are missing or their number is wrong")


def run(args: Namespace) -> int:
    """Write the manifest; return the exit code: 1 if --strict found a fault."""
    data_set = DATA_SETS[args.name]
    if not args.root.exists():
        raise DataError(f"{args.root}: expected an existing file or folder")
    if args.checksums is not None:
        sys.stderr.write(f"{args.checksums}: {check(args.checksums)} files match their checksums\n")
    counts, missing = _write(args, data_set)
    _show(counts)
    faults = list(_faults(counts, missing, data_set, args.split))
    for fault in faults:
        sys.stderr.write(f"{'error' if args.strict else 'warning'}: {fault}\n")
    return 1 if faults and args.strict else 0


def _write(args: Namespace, data_set: DataSet) -> tuple[Counter[tuple[str, str]], list[Entry]]:
    """Write the existing clips; return their number by split and label, and the missing clips."""
    counts: Counter[tuple[str, str]] = Counter()
    missing: list[Entry] = []
    progress = Console(stderr=True)
    entries = data_set.load(args.root)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    part = args.out.with_name(f"{args.out.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            shown = track(entries, "reading", console=progress, disable=not progress.is_terminal, transient=True)
            for entry in shown:
                if args.split not in (None, entry.split):
                    continue
                if not entry.file.is_file():
                    missing.append(entry)
                    continue
                writer.writerow(_row(entry, args.name, args.out))
                counts[entry.split, "fake" if entry.is_fake else "real"] += 1
        if not counts:
            where = f"; {missing[0].where}: missing {missing[0].file}" if missing else ""
            asked = f" in split {args.split!r}" if args.split else ""
            raise DataError(f"{args.root}: expected its clips{asked}, found none{where}")
        part.replace(args.out)  # atomic: an interrupted run leaves no incomplete manifest
    finally:
        part.unlink(missing_ok=True)
    return counts, missing


def _row(entry: Entry, name: str, out: Path) -> dict[str, str]:
    assert entry.family in FAMILIES
    return {
        "path": os.path.relpath(entry.file, out.parent),
        "label": "fake" if entry.is_fake else "real",
        "system": entry.system,
        "family": entry.family,
        "speaker": entry.speaker,
        "language": entry.language,
        "split": entry.split,
        "source": f"{name}/{entry.speaker or entry.system}",
    }


def _faults(
    counts: Counter[tuple[str, str]], missing: list[Entry], data_set: DataSet, split: str | None
) -> Iterator[str]:
    if missing:
        first = missing[0]
        yield f"{len(missing)} clips are missing; {first.where}: {first.file}"
    found: Counter[str] = Counter()
    for (name, _label), count in counts.items():
        found[name] += count
    for name, expected in data_set.counts.items():
        if split in (None, name) and name in found and found[name] != expected:
            yield f"split {name}: expected {expected} clips, found {found[name]}"


def _show(counts: Counter[tuple[str, str]]) -> None:
    table = Table("split", "real", "fake")
    for split in sorted({split for split, _ in counts}):
        table.add_row(split, str(counts[split, "real"]), str(counts[split, "fake"]))
    Console().print(table)
