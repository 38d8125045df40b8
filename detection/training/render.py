"""`callscreen detect render`: makes further synthetic clips, with a manifest for `train --more`."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track

from detection.errors import DataError
from detection.signal.audio import read_audio
from detection.training.copysynthesis import VOCODERS
from detection.training.data import COLUMNS, Clip, read_manifest
from detection.training.engines import ENGINES, Utterance, say, utterances
from detection.types import SAMPLE_RATE_HZ, Samples

DESCRIPTION = """\
Render synthetic clips for training: copies of a manifest's human clips by vocoders, voices of installed speech engines,
or both. Writes FLAC files and manifest.csv; existing clips are kept."""

EPILOG = """\
examples:
  render --out rendered --engines espeak-ng flite festival
  render --out copied --copies world lpc griffin-lim --data clips/manifest.csv
  train --data clips/manifest.csv --more rendered/manifest.csv copied/manifest.csv --out runs/more"""


@dataclass(frozen=True, slots=True)
class _Job:
    clip: Clip
    """The clip to write."""
    make: Callable[[np.random.Generator], Samples]
    seed: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the clips and manifest.csv")
    add("--engines", nargs="+", choices=ENGINES, default=[], help="speech engines to use")
    add("--clips", type=int, default=120, metavar="N", help="clips of each engine (%(default)s)")
    add("--copies", nargs="+", choices=VOCODERS, default=[], help="vocoders for copies of human clips, used in turn")
    add("--data", type=Path, metavar="MANIFEST.csv", help="manifest whose human clips (train and val) are copied")
    add("--per-source", type=int, default=40, metavar="N", help="human clips of each source to copy (%(default)s)")
    add("--seed", type=int, default=1, help="chooses texts, voices and clips (%(default)s)")
    add("--workers", type=int, default=2, help="processes (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Render missing clips and list all in manifest.csv. Raises `DataError`."""
    if not args.engines and not args.copies:
        raise DataError("expected --engines, or --copies with --data")
    if args.copies and args.data is None:
        raise DataError("--copies: expected --data, the manifest with the human clips to copy")
    jobs = list(_spoken(args.engines, args.clips, args.seed, args.out))
    if args.copies:
        humans = some_humans(read_manifest(args.data, ("train", "val")), args.per_source)
        jobs += _copied(humans, args.copies, args.seed, args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not job.clip.file.exists()]
    with ProcessPoolExecutor(args.workers) as pool:
        written = pool.map(_write, missing, chunksize=4)
        for _ in track(written, "rendering", len(missing), console=Console(stderr=True)):
            pass
    write_manifest([job.clip for job in jobs], args.out / "manifest.csv")
    Console(stderr=True).print(f"wrote {len(jobs)} clips and {args.out / 'manifest.csv'}", soft_wrap=True)
    return 0


def some_humans(clips: Iterable[Clip], per_source: int) -> list[Clip]:
    """Return the first `per_source` human clips of each source."""
    counts: Counter[str] = Counter()
    chosen = []
    for clip in clips:
        if not clip.is_fake and counts[clip.source] < per_source:
            counts[clip.source] += 1
            chosen.append(clip)
    return chosen


def write_manifest(clips: Sequence[Clip], manifest: Path) -> None:
    """Write the manifest of `clips`, which are in its folder, for `read_manifest`."""
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows([clip.file.name, *(getattr(clip, column) for column in COLUMNS[1:])] for clip in clips)


def _spoken(engines: Sequence[str], count: int, seed: int, out: Path) -> Iterator[_Job]:
    for engine in engines:
        for number, utterance in enumerate(utterances(engine, count, np.random.default_rng((seed, *engine.encode())))):
            clip = Clip(
                file=out / f"{utterance.system}-{number:04}.flac", label="fake", system=utterance.system,
                family=utterance.family, speaker=utterance.voice, language="en", split="train",
                source=f"rendered-{engine}",
            )  # fmt: skip
            yield _Job(clip, partial(_synthesise, utterance), number)


def _copied(humans: Sequence[Clip], vocoders: Sequence[str], seed: int, out: Path) -> Iterator[_Job]:
    for number, human in enumerate(humans):
        vocoder = vocoders[number % len(vocoders)]
        file = out / f"copy-{vocoder}-{human.file.stem}.flac"
        clip = replace(
            human, file=file, label="fake", system=f"copy-{vocoder}", family="vocoder-copy-synthesis", split="train"
        )
        yield _Job(clip, partial(_copy, human.file, vocoder), seed * 1_000_003 + number)


def _synthesise(utterance: Utterance, _: np.random.Generator) -> Samples:
    return say(utterance)


def _copy(human: Path, vocoder: str, rng: np.random.Generator) -> Samples:
    return VOCODERS[vocoder](read_audio(human), rng)


def _write(job: _Job) -> None:
    samples = np.clip(job.make(np.random.default_rng(job.seed)), -1, 1)
    unfinished = job.clip.file.with_suffix(".part")
    soundfile.write(unfinished, samples, SAMPLE_RATE_HZ, format="FLAC")
    unfinished.rename(job.clip.file)
