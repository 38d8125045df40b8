"""`callscreen detect fuse`: fits the fusion of two models' log-odds, and measures its false alarms and detections."""

from __future__ import annotations

import argparse
import csv
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from detection.decision.calibration import ChannelCalibration, logistic_regression
from detection.decision.evidence import Entry, LegEvidence, light_alone
from detection.decision.fusion import FILE, MEAN, VERIFIER_ALONE, Fusion, FusionWeights
from detection.decision.rule import Policy
from detection.detector import open_detector
from detection.errors import DataError
from detection.measure import heldout
from detection.measure.calibrate import MIN_WINDOWS, groups_of
from detection.measure.heldout import HeldOut, Material, WindowScore, models_by_fold
from detection.measure.legs import Trace, trace_of
from detection.measure.metrics import Curve, Labels, log_likelihood_cost
from detection.measure.operating import (
    OperatingPoints,
    alarms_table,
    detections_table,
    measure,
    raise_p_for,
    worst_channel,
)
from detection.measure.scoring import MIN_SPEECH_S
from detection.offline import VerifierScore, Windowing
from detection.types import Score

DESCRIPTION = f"""\
Fit the fusion of a light model and its verifier to labelled calls, for each channel class, and measure false alarms per
hour and detections of the fused decision at rising thresholds. The map is fitted on all clips; costs, false alarms and
detections are measured by cross-validation over groups of sources. If the map costs more than the verifier alone, the
verifier's log-odds are used for windows that both scored. Windows are scored with the calibrations of both models'
cards, so run `calibrate` first. Neither model must have been trained on the clips: use your own calls, or with
--hold-out and
--twins the sources that training left out.
Writes {FILE}, which belongs beside the light model's file, and operating_points.csv."""


class Pairs:
    """Calibrated log-odds of two models for the same windows, of all legs through one channel."""

    def __init__(
        self,
        channel: str,
        scores: list[list[Score]],
        verifier_scores: list[list[VerifierScore]],
        is_fake: Labels,
        sources: list[str],
    ) -> None:
        """Take the scores of both models for each leg, the leg's label and its source."""
        self.channel, self.scores, self.verifier_scores = channel, scores, verifier_scores
        by_leg = [_entries_with_both(*leg) for leg in zip(scores, verifier_scores, strict=True)]
        entries = [entry for leg in by_leg for entry in leg]
        self.light = np.array([entry.light for entry in entries])
        self.verifier = np.array([entry.verifier for entry in entries], np.float64)
        self.narrow = np.array([entry.narrow for entry in entries], np.bool_)
        self.leg = np.repeat(np.arange(len(scores)), [len(leg) for leg in by_leg])
        self.is_fake = is_fake[self.leg]
        self.source = np.array(sources)[self.leg]

    def fused(self, maps: Sequence[Fusion]) -> NDArray[np.float64]:
        """Return the log-likelihood ratio of each window; `maps` has one fusion for each leg."""
        windows = zip(self.leg.tolist(), self.light, self.verifier, self.narrow.tolist(), strict=True)
        return np.array([maps[leg].llr(light, verifier, narrow) for leg, light, verifier, narrow in windows])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = DESCRIPTION
    parser.epilog = (
        "example: callscreen detect fuse models/tinyaudionet.onnx models/specnet.onnx --data calls.csv --out models/"
    )
    parser.add_argument("light", metavar="LIGHT", help="name or path of the model that scores every leg")
    parser.add_argument("verifier", metavar="VERIFIER", help="name or path of the verifier")
    heldout.add_arguments(parser, twins="LIGHT,VERIFIER")
    parser.add_argument(
        "--raise-p", type=float, metavar="P",
        help="set this threshold, chosen from the printed tables: for fewer false alarms an hour than the measured "
        "hours can show",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {FILE} and operating_points.csv")


def run(args: argparse.Namespace) -> int:
    """Score the legs, fit, measure and write. Raises `DataError` or `ModelError`."""
    if args.raise_p is not None and (args.alerts_per_hour is not None or not 0.5 < args.raise_p < 1):
        raise DataError(f"--raise-p: expected above 0.5 and below 1, without --alerts-per-hour, got {args.raise_p:g}")
    light, verifier = open_detector(args.light), open_detector(args.verifier)
    twins = [_pair(twin) for twin in args.twins]
    light_models = models_by_fold(args.light, [one for one, _ in twins], args.hold_out)
    verifier_models = models_by_fold(args.verifier, [other for _, other in twins], args.hold_out)
    material = Material.of(args)
    held_out = HeldOut(material, args.cache, args.jobs)
    scores = held_out.scores(light_models)
    verifier_scores = held_out.verifier_scores(verifier_models, Windowing.of(light))
    sources = [material.clips[leg[0]].source for leg in material.legs]
    pairs = [
        Pairs(
            channel,
            calibrated(scores[channel], light.card.calibration),
            calibrated(verifier_scores[channel], verifier.card.calibration),
            material.is_fake,
            sources,
        )
        for channel in scores
    ]
    plain = Fusion.by_mean(light, verifier)
    maps = cross_fitted(pairs, groups_of(material.clips, material.legs), plain)
    fusion = fitted(pairs, plain)
    for kind in ("wide", "narrow"):
        if getattr(fusion, kind) != MEAN and verifier_is_better(pairs, maps, kind):
            fusion, *maps = (one.model_copy(update={kind: VERIFIER_ALONE}) for one in (fusion, *maps))
    traces_at = {one.channel: partial(_traces, one, maps) for one in pairs}
    counts = measure(material.clips, material.legs, traces_at)
    alarms = worst_channel(counts, material.bank.hash)
    raise_p = args.raise_p or raise_p_for(args.alerts_per_hour, alarms, plain.raise_p)
    fusion = fusion.model_copy(update={"alarms": alarms, "raise_p": raise_p})
    _write(fusion, counts, args.out)
    _print_results(pairs, maps, fusion, counts, args.out)
    return 0


def _pair(twin: str) -> tuple[str, str]:
    light, comma, verifier = twin.partition(",")
    if not (light and comma and verifier):
        raise DataError(f"--twins: expected LIGHT,VERIFIER, got {twin!r}")
    return light, verifier


def calibrated(legs: list[list[WindowScore]], calibration: ChannelCalibration) -> list[list[WindowScore]]:
    """Return the legs with log-odds mapped by a card's calibration, for the channel class of each window."""
    raw = np.array([one.log_odds for leg in legs for one in leg], np.float32)
    narrow = np.array([one.narrow for leg in legs for one in leg], np.bool_)
    values = iter(calibration.apply(raw, narrow).tolist())
    return [[replace(one, log_odds=next(values)) for one in leg] for leg in legs]


def _entries_with_both(scores: Sequence[Score], verifier_scores: Sequence[VerifierScore]) -> list[Entry]:
    """Return the windows of a leg that both models scored, matched as in a live call (`LegEvidence`)."""
    evidence = LegEvidence(light_alone, np.inf, np.inf)
    waiting = deque(verifier_score for verifier_score in verifier_scores if not verifier_score.overlapping)
    entries = []
    for number, score in enumerate(scores):
        if score.speech_s >= MIN_SPEECH_S:
            entries.append(evidence.add(score.start_s, score.end_s, score.fresh_speech_s, score.log_odds, score.narrow))
        while waiting and waiting[0].after <= number:
            verifier_score = waiting.popleft()
            evidence.add_verifier_score(verifier_score.start_s, verifier_score.end_s, verifier_score.log_odds)
    return [entry for entry in entries if entry.verifier is not None]


def fitted(pairs: Sequence[Pairs], current: Fusion, legs: Labels | None = None) -> Fusion:
    """Return `current` with a map for each channel class, fitted on `legs`, ``(n_legs,)``; None for all legs.

    Both classes have equal weight; within a class, the weight of a source is the square root of its number of windows.
    Channel classes with too few windows get the mean.
    """
    light, verifier, is_fake, narrow, leg, source = (
        np.concatenate([getattr(one, name) for one in pairs])
        for name in ("light", "verifier", "is_fake", "narrow", "leg", "source")
    )
    chosen = np.ones(len(leg), np.bool_) if legs is None else legs[leg]

    def fit_or_mean(of: Labels) -> FusionWeights:
        if np.bincount(is_fake[of].astype(np.int64), minlength=2).min() < MIN_WINDOWS:
            return MEAN
        _, group, size = np.unique(
            np.char.add(source[of], is_fake[of].astype(str)), return_inverse=True, return_counts=True
        )
        weights = 1 / np.sqrt(size[group])
        found = logistic_regression(np.column_stack([light[of], verifier[of]]), is_fake[of], weights).tolist()
        return FusionWeights(light=found[0], verifier=found[1], offset=found[2])

    return current.model_copy(update={"wide": fit_or_mean(chosen & ~narrow), "narrow": fit_or_mean(chosen & narrow)})


def cross_fitted(pairs: Sequence[Pairs], groups: NDArray[np.int64], current: Fusion) -> list[Fusion]:
    """Return a fusion for each leg, fitted on the legs of all other `groups`, ``(n_legs,)``."""
    maps = {group: fitted(pairs, current, groups != group) for group in np.unique(groups).tolist()}
    return [maps[group] for group in groups.tolist()]


def verifier_is_better(pairs: Sequence[Pairs], maps: Sequence[Fusion], kind: Literal["wide", "narrow"]) -> bool:
    """Return whether the verifier alone has a lower Cllr than `maps`, on windows of this class that both scored.

    `maps` are those of `cross_fitted`. False without windows of both labels.
    """
    of_kind = [one.narrow == (kind == "narrow") for one in pairs]
    fused, alone, is_fake = (
        np.concatenate([values[which] for values, which in zip(those, of_kind, strict=True)])
        for those in (
            [one.fused(maps) for one in pairs],
            [one.verifier for one in pairs],
            [one.is_fake for one in pairs],
        )
    )
    if len(set(is_fake.tolist())) < 2:
        return False
    return log_likelihood_cost(alone, is_fake) < log_likelihood_cost(fused, is_fake)


def _traces(pairs: Pairs, maps: Sequence[Fusion], raise_p: float) -> list[Trace]:
    policy = Policy(raise_p=raise_p)
    return [
        trace_of(scores, policy, verifier_scores, fusion.llr)
        for scores, verifier_scores, fusion in zip(pairs.scores, pairs.verifier_scores, maps, strict=True)
    ]


def _write(fusion: Fusion, counts: OperatingPoints, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / FILE).write_text(fusion.model_dump_json(indent=2) + "\n", encoding="utf-8")
    figures = ("raised_per_hour", "confirmed_per_hour", "detected")
    with (out / "operating_points.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        ends = [f"{figure}{end}" for figure in figures for end in ("", "_low", "_high")]
        rows.writerow(["channel", "raise_p", "hours", "human_legs", "synthetic_legs", *ends])
        for channel, by_threshold in counts.items():
            for raise_p, row in by_threshold.items():
                values = [value for figure in figures for value in (row[figure], *row[f"{figure}_95"])]
                cells = [f"{value:.4f}" for value in (row["hours"], *values)]
                rows.writerow([channel, raise_p, cells[0], row["legs"], row["synthetic"], *cells[1:]])


def _print_results(
    pairs: Sequence[Pairs], maps: Sequence[Fusion], fusion: Fusion, counts: OperatingPoints, out: Path
) -> None:
    """Print Cllr and EER of each model and of their fusion, and the tables of thresholds."""
    table = Table("channel", "windows", *(f"{name}: Cllr, EER" for name in ("light", "verifier", "fused")))
    for one in pairs:
        cells = []
        for llr in (one.light, one.verifier, one.fused(maps)):
            curve = Curve.of(llr, one.is_fake, np.ones(len(llr)))
            rate = f"{curve.equal_error_rate:.1%}" if curve else ""
            cells.append(f"{log_likelihood_cost(llr, one.is_fake):.3f}, {rate}")
        table.add_row(one.channel, str(len(one.leg)), *cells)
    console = Console()
    console.print(table)
    for name, weights in (("wide", fusion.wide), ("narrow", fusion.narrow)):
        why = {
            MEAN: f" (the mean: fewer than {MIN_WINDOWS} windows of a label)",
            VERIFIER_ALONE: " (a fitted map of both costs more)",
        }.get(weights, "")
        formula = f"{weights.light:.3f} light + {weights.verifier:.3f} verifier + {weights.offset:.3f}"
        console.print(f"{name}: {formula}{why}", soft_wrap=True)
    console.print(alarms_table(counts, fusion.raise_p))
    console.print(detections_table(counts, fusion.raise_p))
    console.print(f"wrote {out / FILE} and operating_points.csv", soft_wrap=True)
