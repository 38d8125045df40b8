"""`python -m detection evaluate`: measure a model on labelled clips along the very path that `score` and calls take."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import track

from detection.audio import read_audio
from detection.channels import CHANNELS, apply_channel
from detection.detector import DEFAULT_MODEL, Detector, open_detector
from detection.measure.report import write_report
from detection.offline import ClipScore, score_samples
from detection.training.data import Clip, read_manifest

DESCRIPTION = """\
Measure a model on a split of a manifest: equal error rate, area under the curve, accuracy, F1, confusion, misses at
few false alarms, with bootstrap intervals; by channel, system, family, language and source. Writes report.md,
metrics.json, scores.csv, det.png and roc.png."""


@dataclass(frozen=True)
class ScoredClip:
    """A clip and what the detector said of it, channel by channel."""

    clip: Clip
    scores: dict[str, ClipScore]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--split", default="test", help="(%(default)s)")
    add("--out", type=Path, required=True, help="folder for the report")
    add("--model", metavar="NAME_OR_PATH", default=DEFAULT_MODEL, help="(%(default)s)")
    add("--channel", choices=["all", *CHANNELS], nargs="+", default=["clean", "pstn"], help="(clean pstn)")
    add("--jobs", type=int, metavar="N", default=1, help="processes (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Score every clip through every channel and write the report."""
    channels = list(CHANNELS) if "all" in args.channel else list(dict.fromkeys(args.channel))
    clips = read_manifest(args.data, (args.split,))
    detector = open_detector(args.model)
    scored = score_clips(clips, channels, args.model, args.jobs)
    args.out.mkdir(parents=True, exist_ok=True)
    write_report(scored, channels, args.out, detector.name, args.split)
    Console(stderr=True).print(f"wrote {args.out / 'report.md'}", soft_wrap=True)
    return 0


def score_clips(clips: Sequence[Clip], channels: Sequence[str], model: str, jobs: int = 1) -> list[ScoredClip]:
    """Score `clips` through each of `channels`, in `jobs` processes."""
    console = Console(stderr=True)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _open, (model,)) as pool:
        scored = pool.map(partial(_score, tuple(channels)), clips, chunksize=4)
        return list(track(scored, "scoring", len(clips), console=console, disable=not console.is_terminal))


_detector: Detector
"""Set once per worker process, so that each opens the model once."""


def _open(model: str) -> None:
    global _detector
    _detector = open_detector(model)


def _score(channels: Sequence[str], clip: Clip) -> ScoredClip:
    samples = read_audio(clip.file)
    return ScoredClip(clip, {name: score_samples(apply_channel(samples, name), _detector) for name in channels})
