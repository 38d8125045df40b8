"""Labelled legs for `calibrate` and `fuse`, scored by models that were not trained on their sources.

A shipped model is trained on all sources. For each group of sources there can be a twin: a model trained in the same
way without that group. The legs of a group are scored by its twin. Scores are cached on disk for the next run.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from detection.decision.calibration import Calibration, ChannelCalibration
from detection.detector import CardDetector, open_detector
from detection.errors import DataError
from detection.measure.conditions import Condition, conditions
from detection.measure.metrics import Labels
from detection.measure.scoring import MIN_SPEECH_S, Leg, LegScorer, leg_samples, legs_of
from detection.offline import VerifierScore, Windowing, score_windows, verify_windows
from detection.signal.channels import CHANNELS
from detection.training.bank import ORIGINAL, Bank, code_of, whole
from detection.training.data import Clip, is_known, read_manifest
from detection.training.sampling import FOLDS, source_folds, split_by_source
from detection.types import Samples, Score

WindowScore = TypeVar("WindowScore", Score, VerifierScore)
_SOURCES = (
    "decision.coverage", "offline", "signal.activity", "signal.bandwidth", "signal.domain", "signal.features",
    "signal.framing", "signal.music", "signal.spectra", "signal.traits", "signal.windows",
)  # fmt: skip
"""Modules that affect the scores: cached scores are not used after one of these has changed."""


def add_arguments(parser: argparse.ArgumentParser, twins: str) -> None:
    """Add the options that select legs and models; `twins` is the form of a twin's name."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--split", nargs="*", default=[], help="splits of the manifest (all)")
    add(
        "--hold-out", type=int, nargs="*", choices=range(FOLDS), default=[],
        help=f"only these of {FOLDS} groups of sources, which `train` held out with the same option and splits",
    )  # fmt: skip
    add(
        "--twins", nargs="+", default=[], metavar=twins,
        help="score with models trained in the same way that held out sources: one for all, or one for each group of "
        "--hold-out, in the same order",
    )  # fmt: skip
    add(
        "--channel", choices=CHANNELS, nargs="+", default=["clean"], metavar="NAME",
        help=f"telephone channels to send the clips through: {', '.join(CHANNELS)} (clean)",
    )  # fmt: skip
    add("--every", type=int, default=1, metavar="N", help="use one leg in N, to save time with large models (1)")
    add("--alerts-per-hour", type=float, metavar="X", help="set the threshold for at most this rate of false alarms")
    add("--cache", type=Path, default=Path.home() / ".cache" / "callscreen", help="for decoded audio and scores "
        "(%(default)s)")  # fmt: skip
    add("--jobs", type=int, metavar="N", default=1, help="processes (%(default)s)")


@dataclass(frozen=True)
class Material:
    """The legs to be scored."""

    clips: list[Clip]
    legs: list[Leg]
    is_fake: Labels
    """Of each leg."""
    folds: NDArray[np.int64]
    """Group of sources of each leg, numbered as in `train --hold-out`."""
    bank: Bank
    channels: list[Condition]

    @classmethod
    def of(cls, args: argparse.Namespace) -> Material:
        """Read the legs that the options select. Raises `DataError`."""
        clips = read_manifest(args.data, args.split)
        chosen = split_by_source(clips, args.hold_out)[1] if args.hold_out else list(range(len(clips)))
        if args.every < 1:
            raise DataError(f"--every: expected at least 1, got {args.every}")
        legs = _all_legs(clips, chosen)[:: args.every]
        is_fake = np.array([clips[leg[0]].is_fake for leg in legs])
        if is_fake.all() or not is_fake.any():
            raise DataError(f"{args.data}: expected clips of both labels to calibrate on")
        fold_of = source_folds(clips)
        folds = np.array([fold_of[clips[leg[0]].source] for leg in legs])
        bank = Bank(clips, args.data.parent / "noise_rir.csv", args.cache, args.jobs)
        return cls(clips, legs, is_fake, folds, bank, conditions(bank, args.channel, (), Path(), trimmed=False))


def _all_legs(clips: Sequence[Clip], chosen: Sequence[int]) -> list[Leg]:
    """Join the clips `chosen` by speaker; each clip of an unknown speaker is a leg of its own."""
    joined = [tuple(chosen[place] for place in leg) for leg in legs_of([clips[number] for number in chosen])]
    return joined + [(number,) for number in chosen if not is_known(clips[number].speaker)]


def models_by_fold(model: str, twins: Sequence[str], held_out: Sequence[int]) -> dict[int, str]:
    """Return the model for the legs of each group: its twin, or `model` itself without `twins`.

    Raises:
        DataError: the number of twins is neither one nor that of the groups held out, or a twin has another contract.
        ModelError: a twin cannot be opened.
    """
    if len(twins) <= 1:
        by_fold = dict.fromkeys(range(FOLDS), twins[0] if twins else model)
    elif len(twins) == len(held_out):
        by_fold = dict(zip(held_out, twins, strict=True))
    else:
        raise DataError(
            f"--twins: expected one, or one for each group of --hold-out ({len(held_out)}), got {len(twins)}"
        )
    contract = open_detector(model).card.contract
    for twin in dict.fromkeys(twins):
        if open_detector(twin).card.contract != contract:
            raise DataError(f"--twins: expected twins of {model}, got {twin} with other windows or features")
    return by_fold


class HeldOut:
    """Scores the legs of `material`, each by the model for its group."""

    def __init__(self, material: Material, cache: Path, jobs: int) -> None:
        self._material, self._jobs = material, jobs
        self._folder = cache / "scores"
        self._folder.mkdir(parents=True, exist_ok=True)

    def scores(self, models: Mapping[int, str]) -> dict[str, list[list[Score]]]:
        """Return the raw scores of all windows of each leg, by channel."""
        return self._by_channel(models, Score, _scores, f"{MIN_SPEECH_S}")

    def verifier_scores(self, models: Mapping[int, str], light: Windowing) -> dict[str, list[list[VerifierScore]]]:
        """Return the raw scores of each leg's windows for a verifier beside a light model with windowing `light`."""
        return self._by_channel(models, VerifierScore, partial(_verifier_scores, light), f"{MIN_SPEECH_S} {light}")

    def _by_channel(
        self,
        models: Mapping[int, str],
        kind: type[WindowScore],
        work: Callable[[CardDetector, Samples], list[WindowScore]],
        how: str,
    ) -> dict[str, list[list[WindowScore]]]:
        material = self._material
        return {channel.name: self._in_channel(channel, models, kind, work, how) for channel in material.channels}

    def _in_channel(
        self,
        channel: Condition,
        models: Mapping[int, str],
        kind: type[WindowScore],
        work: Callable[[CardDetector, Samples], list[WindowScore]],
        how: str,
    ) -> list[list[WindowScore]]:
        material, scores = self._material, dict[int, list[WindowScore]]()
        for model in dict.fromkeys(models.values()):
            of_model = [fold for fold, other in models.items() if other == model]
            places = np.flatnonzero(np.isin(material.folds, of_model)).tolist()
            detector = open_detector(model)
            file = self._folder / f"{kind.__name__.lower()}-{self._key(detector, channel, places, how)}.npz"
            if not file.is_file():
                legs = [material.legs[place] for place in places]
                with (
                    Progress(console=Console(stderr=True), transient=True) as progress,
                    LegScorer(detector, model, self._jobs, lambda: None) as scorer,
                ):
                    samples = (leg_samples(channel, leg) for leg in legs)
                    scored = scorer.each(work, samples)
                    title = f"{detector.name} {channel.name}"
                    _save(file, list(progress.track(scored, len(legs), description=title)))
            scores |= dict(zip(places, _load(file, kind), strict=True))
        return [scores[place] for place in range(len(material.legs))]

    def _key(self, detector: CardDetector, channel: Condition, places: Sequence[int], how: str) -> str:
        """Return a hash of everything that affects the scores."""
        material = self._material
        rendering = material.bank.cache_key(ORIGINAL if channel.name == "clean" else channel.name)
        legs = [material.legs[place] for place in places]
        contract = detector.card.contract.model_dump_json()
        facts = (detector.card.sha256, contract, material.bank.hash, rendering, legs, how, _source_hash())
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


def uncalibrated(detector: CardDetector) -> CardDetector:
    """Return a detector that scores with its network's raw log-odds."""
    plain = ChannelCalibration(wide=Calibration(), narrow=Calibration())
    return CardDetector(detector.card.model_copy(update={"calibration": plain}), detector.backend)


def _scores(detector: CardDetector, samples: Samples) -> list[Score]:
    return score_windows(samples, uncalibrated(detector), MIN_SPEECH_S)


def _verifier_scores(light: Windowing, detector: CardDetector, samples: Samples) -> list[VerifierScore]:
    return verify_windows(samples, light, uncalibrated(detector), MIN_SPEECH_S)


def _source_hash() -> str:
    code = "".join(code_of(import_module(f"detection.{name}")) for name in _SOURCES)
    return hashlib.sha256(code.encode()).hexdigest()


def _save(file: Path, legs: Sequence[Sequence[WindowScore]]) -> None:
    """Write the scores of each leg, one row of numbers for each window."""
    rows = np.array([astuple(one) for leg in legs for one in leg], np.float64)
    with whole(file) as unfinished:
        np.savez_compressed(unfinished, counts=np.array([len(leg) for leg in legs], np.int64), rows=rows)


def _load(file: Path, kind: type[WindowScore]) -> list[list[WindowScore]]:
    hints = get_type_hints(kind)
    types = [hints[field.name] for field in fields(kind)]
    with np.load(file) as stored:
        scores = [kind(*(of(value) for of, value in zip(types, row, strict=True))) for row in stored["rows"].tolist()]
        ends: list[int] = np.cumsum(stored["counts"]).tolist()
    return [scores[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
