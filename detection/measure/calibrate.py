"""`callscreen detect calibrate`: fits a model's probabilities to labelled calls, and measures its false alarms."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from detection.card import Card
from detection.decision.calibration import Calibration, ChannelCalibration, fit
from detection.decision.rule import Policy
from detection.detector import find_model, open_detector
from detection.measure import heldout
from detection.measure.heldout import HeldOut, Material, models_by_fold
from detection.measure.legs import Trace, trace_of
from detection.measure.metrics import Labels, log_likelihood_cost
from detection.measure.operating import (
    OperatingPoints,
    alarms_table,
    detections_table,
    measure,
    raise_p_for,
    worst_channel,
)
from detection.measure.pictures import NEUTRAL, SYNTHETIC, draw_reliability
from detection.measure.scoring import Leg
from detection.training.data import Clip, is_known
from detection.training.sampling import source_folds
from detection.types import Score

DESCRIPTION = """\
Fit the probabilities of a model to labelled calls, for each channel class, and measure its false alarms per hour at
rising thresholds. Writes the model with the result in its card, and a reliability diagram. The map is fitted on all
clips; false alarms and costs are measured by cross-validation over groups of sources, or of speakers if there is one
source. The card states the false alarms of the channel with the most. The model must not have been trained on the
clips: use your own calls, or with --hold-out and --twins the sources that training left out."""

MIN_WINDOWS = 100
"""Least number of windows of each label for fitting a channel class."""


class ChannelScores:
    """The raw log-odds of a network for the windows of all legs through one channel."""

    def __init__(self, channel: str, legs: list[list[Score]], is_fake: Labels) -> None:
        self.channel = channel
        self.legs = legs
        log_odds = np.array([score.log_odds for leg in legs for score in leg], np.float32)
        narrow = np.array([score.narrow for leg in legs for score in leg], np.bool_)
        self._scored = ~np.isnan(log_odds)
        self.raw = log_odds[self._scored]
        self.narrow = narrow[self._scored]
        """Whether each scored window came through a narrow channel."""
        self.leg = np.repeat(np.arange(len(legs)), [len(leg) for leg in legs])[self._scored]
        """Index of the leg of each scored window."""
        self.is_fake = is_fake[self.leg]

    def mapped(self, maps: Sequence[ChannelCalibration]) -> NDArray[np.float32]:
        """Return the calibrated log-odds of the scored windows; `maps` has one map for each leg."""
        log_odds = np.empty_like(self.raw)
        for calibration in set(maps):
            of = np.array([one == calibration for one in maps], np.bool_)[self.leg]
            log_odds[of] = calibration.apply(self.raw[of], self.narrow[of])
        return log_odds

    def calibrated(self, maps: Sequence[ChannelCalibration]) -> list[list[Score]]:
        """Return the legs with calibrated log-odds; `maps` has one map for each leg."""
        log_odds = np.full(len(self._scored), np.nan)
        log_odds[self._scored] = self.mapped(maps)
        values = iter(log_odds.tolist())
        return [[replace(score, log_odds=next(values)) for score in leg] for leg in self.legs]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = DESCRIPTION
    parser.epilog = "example: callscreen detect calibrate tinyaudionet --data calls.csv --out models/"
    parser.add_argument("model", metavar="NAME_OR_PATH", help="the model to calibrate")
    heldout.add_arguments(parser, twins="NAME_OR_PATH")
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.onnx, NAME.json and calibration.png")


def run(args: argparse.Namespace) -> int:
    """Score the legs, fit, measure and write. Raises `DataError` or `ModelError`."""
    target = open_detector(args.model)
    models = models_by_fold(args.model, args.twins, args.hold_out)
    material = Material.of(args)
    raw = HeldOut(material, args.cache, args.jobs).scores(models)
    channels = [ChannelScores(channel, legs, material.is_fake) for channel, legs in raw.items()]
    current = target.card.calibration
    maps = cross_fitted(channels, groups_of(material.clips, material.legs), current)
    traces_at = {one.channel: partial(_traces, one.calibrated(maps)) for one in channels}
    counts = measure(material.clips, material.legs, traces_at)
    alarms = worst_channel(counts, material.bank.hash)
    raise_p = raise_p_for(args.alerts_per_hour, alarms, target.raise_p)
    facts = {"calibration": fitted(channels, current), "alarms": alarms, "raise_p": raise_p}
    card = target.card.model_copy(update=facts)
    _write(card, find_model(args.model), args.out)
    _print_results(channels, [current] * len(material.legs), maps, counts, card, args.out)
    return 0


def _traces(legs: Sequence[list[Score]], raise_p: float) -> list[Trace]:
    policy = Policy(raise_p=raise_p)
    return [trace_of(scores, policy) for scores in legs]


def fitted(
    channels: Sequence[ChannelScores], current: ChannelCalibration, legs: NDArray[np.bool_] | None = None
) -> ChannelCalibration:
    """Return a map for each channel class, fitted on `legs`, ``(n_legs,)``; None for all legs.

    Channel classes with too few windows keep the map of `current`.
    """
    raw, is_fake, narrow, leg = (
        np.concatenate([getattr(one, name) for one in channels]) for name in ("raw", "is_fake", "narrow", "leg")
    )
    chosen = np.ones(len(raw), np.bool_) if legs is None else legs[leg]

    def fit_or(current: Calibration, of: Labels) -> Calibration:
        counts = np.bincount(is_fake[of].astype(np.int64), minlength=2)
        return fit(raw[of], is_fake[of]) if counts.min() >= MIN_WINDOWS else current

    return ChannelCalibration(
        wide=fit_or(current.wide, chosen & ~narrow), narrow=fit_or(current.narrow, chosen & narrow)
    )


def groups_of(clips: Sequence[Clip], legs: Sequence[Leg]) -> NDArray[np.int64]:
    """Return the cross-validation group of each leg, ``(n_legs,)``: by source, or by speaker if there is one source.

    Each leg of an unknown speaker counts as a speaker.
    """
    firsts = [clips[leg[0]] for leg in legs]
    speakers = [
        one.speaker.casefold() if is_known(one.speaker) else str(leg) for one, leg in zip(firsts, legs, strict=True)
    ]
    for names in ([one.source for one in firsts], speakers):
        folds = source_folds(
            [replace(clips[number], source=name) for name, leg in zip(names, legs, strict=True) for number in leg]
        )
        if len(set(folds.values())) > 1:
            break
    return np.array([folds[name] for name in names])


def cross_fitted(
    channels: Sequence[ChannelScores], groups: NDArray[np.int64], current: ChannelCalibration
) -> list[ChannelCalibration]:
    """Return a map for each leg, fitted on the legs of all other `groups`, ``(n_legs,)``.

    A map measured on the legs that it was fitted on looks better than it is. If the other groups have too few windows,
    the `current` map is used.
    """
    maps = {group: fitted(channels, current, groups != group) for group in np.unique(groups).tolist()}
    return [maps[group] for group in groups.tolist()]


def _write(card: Card, onnx: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{card.name}.onnx").write_bytes(onnx.read_bytes())
    (out / f"{card.name}.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _print_results(
    channels: Sequence[ChannelScores],
    before: Sequence[ChannelCalibration],
    after: Sequence[ChannelCalibration],
    counts: OperatingPoints,
    card: Card,
    out: Path,
) -> None:
    """Print the tables and draw the reliability diagram; `before` and `after` are the maps of the legs."""
    table = Table("channel", "windows", "narrow", "Cllr before", "Cllr after")
    panels = {}
    for one in channels:
        mapped = {"before": one.mapped(before).astype(np.float64), "after": one.mapped(after).astype(np.float64)}
        costs = (f"{log_likelihood_cost(log_odds, one.is_fake):.3f}" for log_odds in mapped.values())
        table.add_row(one.channel, str(len(one.raw)), f"{one.narrow.mean():.0%}", *costs)
        panels[one.channel] = {name: (log_odds, one.is_fake) for name, log_odds in mapped.items()}
    draw_reliability(panels, out / "calibration.png", (NEUTRAL, SYNTHETIC))
    console = Console()
    console.print(table)
    console.print(alarms_table(counts, card.raise_p))
    console.print(detections_table(counts, card.raise_p))
    if kept := n_with_another_map(before, after, card.calibration):
        console.print(
            f"{kept} of {len(after)} legs are measured with the previous map instead of a cross-fitted one:"
            f" without their group there are fewer than {MIN_WINDOWS} windows of a label",
            soft_wrap=True,
        )
    console.print(f"wrote {out / card.name}.onnx, .json and calibration.png", soft_wrap=True)


def n_with_another_map(
    before: Sequence[ChannelCalibration], after: Sequence[ChannelCalibration], shipped: ChannelCalibration
) -> int:
    """Return how many legs keep a map of `before` for a channel class whose `shipped` map is new."""
    return sum(
        old.wide == new.wide != shipped.wide or old.narrow == new.narrow != shipped.narrow
        for old, new in zip(before, after, strict=True)
    )
