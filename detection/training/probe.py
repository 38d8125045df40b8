"""`callscreen detect probe`: a linear probe, which measures a published encoder before any training.

The convolutions of DistillMOS stay as published. Each clip becomes the statistics of every layer, and a logistic
regression is fitted on them. Its error rate is the reference for training.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from detection.errors import DataError
from detection.measure.metrics import equal_error_rate
from detection.models import specnet
from detection.signal.channels import CHANNELS
from detection.training.bank import FULL_SCALE, ORIGINAL, Bank, Ragged, whole
from detection.training.data import Clip, file_hash, read_manifest
from detection.training.distillmos import load_convolutions, read_published
from detection.training.material import DEFAULT_CACHE
from detection.training.sampling import FOLDS, split_by_source
from detection.types import SAMPLE_RATE_HZ

HEARD_S = 4.0
"""Length of each clip that is used."""
SHORTEST_SAMPLES = 2_560
"""Shorter clips are repeated to this length."""
INVERSE_PENALTY = 0.003
"""scikit-learn's `C`."""

DESCRIPTION = """\
Linear probe of DistillMOS's published convolutions: statistics of each clip's first four seconds, standardised, and a
logistic regression. Prints its equal error rate by grouped cross-validation over sources (whole sources, systems and
speakers held out) and on the split of --test."""

EPILOG = """\
The published weights are not part of this package: pip download --no-deps distillmos==0.9.1

examples:
  probe --data clips/manifest.csv --published distillmos-0.9.1-py3-none-any.whl
  probe --data clips/manifest.csv --published distillmos-0.9.1-py3-none-any.whl --sources 0.25 0.5 0.75 1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--published", type=Path, required=True, metavar="WHEEL", help="the wheel of distillmos 0.9.1")
    add("--test", default="test", metavar="SPLIT", help="split for testing only (%(default)s)")
    add("--channel", choices=CHANNELS, default="clean", help="channel for all clips (%(default)s)")
    add(
        "--first", type=int, metavar="N",
        help="train on the first N of the manifest's clips outside --test only, as with an earlier version of it (all)",
    )  # fmt: skip
    add(
        "--sources", type=float, nargs="+", default=[1.0], metavar="SHARE",
        help="learning curve: train on these shares of the sources, each drawn --draws times (1)",
    )  # fmt: skip
    add("--draws", type=int, default=3, help="draws of each share below 1 (%(default)s)")
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Probe the encoder; return 0. Raises `DataError` or `ModelError`."""
    torch.set_num_threads(args.workers)
    for share in args.sources:
        if not 0 < share <= 1:
            raise DataError(f"--sources: expected shares above 0 and at most 1, got {share:g}")
    everything = read_manifest(args.data)
    heard = [clip for clip in everything if clip.split != args.test][: args.first]
    held = [clip for clip in everything if clip.split == args.test]
    for clips, where in ((heard, f"outside split {args.test}"), (held, f"in split {args.test}")):
        if len({clip.is_fake for clip in clips}) < 2:
            raise DataError(f"{args.data}: expected clips of both labels {where}")
    encoder = specnet.Encoder(specnet.CONTRACT)
    load_convolutions(encoder, read_published(args.published))
    made_by = file_hash(args.published)
    surroundings = args.data.parent / "noise_rir.csv"
    known, asked = (
        encoded(encoder.eval(), Bank(clips, surroundings, args.cache, args.workers), args.channel, made_by)
        for clips in (heard, held)
    )
    console = Console()
    for share in args.sources:
        errors = [
            _errors(heard, known, held, asked, share, np.random.default_rng(draw))
            for draw in range(1 if share == 1 else args.draws)
        ]
        for grouped, on_split in errors:
            console.print(
                f"{share:4.0%} of sources: EER {grouped:.1%} by {FOLDS}-fold grouped cross-validation, "
                f"{on_split:.1%} on {args.test} ({args.channel})"
            )
    return 0


def _errors(
    heard: Sequence[Clip],
    known: NDArray[np.float16],
    held: Sequence[Clip],
    asked: NDArray[np.float16],
    share: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the equal error rates by grouped cross-validation and on the test split."""
    sources = sorted({clip.source for clip in heard})
    kept = set(rng.permutation(sources)[: max(1, round(share * len(sources)))])
    indices = [index for index, clip in enumerate(heard) if clip.source in kept]
    is_fake = np.array([clip.is_fake for clip in heard])
    said = np.full(len(heard), np.nan)
    for group in range(FOLDS):
        train, validation = split_by_source(heard, [group])
        chosen = [index for index in train if heard[index].source in kept]
        said[validation] = fitted([heard[index] for index in chosen], known[chosen]).decision_function(
            known[validation]
        )
    on_split = fitted([heard[index] for index in indices], known[indices]).decision_function(asked)
    return equal_error_rate(said, is_fake), equal_error_rate(on_split, np.array([clip.is_fake for clip in held]))


def fitted(clips: Sequence[Clip], statistics: NDArray[np.float16]) -> Pipeline:
    """Return the regression on `statistics` ``(n, n_statistics)``; sources have the square root of their size as
    weight."""
    sizes = Counter(clip.source for clip in clips)
    weights = np.array([sizes[clip.source] ** -0.5 for clip in clips])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=2_000))
    model.fit(
        statistics.astype(np.float32),
        np.array([clip.is_fake for clip in clips]),
        logisticregression__sample_weight=weights / weights.mean(),
    )
    return model


def encoded(encoder: specnet.Encoder, bank: Bank, channel: str, weights: str) -> NDArray[np.float16]:
    """Return the statistics of each clip's first window, ``(n_clips, n_statistics)``, cached beside the bank's
    audio."""
    rendering = ORIGINAL if channel == "clean" else channel
    made_by = hashlib.sha256(f"{weights} {HEARD_S} {bank.cache_key(rendering)}".encode())
    file = bank.folder / f"probed-{made_by.hexdigest()[:8]}.npy"
    if not file.exists():
        audio = bank.audio(rendering)
        console = Console(stderr=True)
        numbers = track(range(len(audio)), description=f"statistics {channel}", console=console)
        rows = np.stack([_statistics(encoder, audio, number) for number in numbers])
        with whole(file) as unfinished:
            np.save(unfinished, rows)
    statistics: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return statistics


def _statistics(encoder: specnet.Encoder, audio: Ragged, number: int) -> NDArray[np.float16]:
    stream = specnet.CONTRACT.features.stream()
    samples = audio[number][: round(HEARD_S * SAMPLE_RATE_HZ)].astype(np.float32) / np.float32(FULL_SCALE)
    samples = np.resize(samples, max(len(samples), SHORTEST_SAMPLES))
    with torch.inference_mode():
        statistics = encoder(torch.from_numpy(stream.push(samples))[None])[0]
    return np.asarray(statistics.numpy(), np.float16)
