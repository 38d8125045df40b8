"""`python -m detection calibrate`: fit what a model says to labelled calls, and count its false alarms per hour."""

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
from detection.measure.legs import Course, course_of
from detection.measure.metrics import Labels, log_likelihood_cost
from detection.measure.operating import Counts, alarms_table, count, detections_table, raise_p_for, worst_channel
from detection.measure.pictures import NEUTRAL, SYNTHETIC, draw_reliability
from detection.measure.scoring import Leg
from detection.training.data import Clip, is_known
from detection.training.sampling import source_folds
from detection.types import Score

DESCRIPTION = """\
Fit the probabilities of a model to calls whose voices are known, by class of channel, and count its false alarms per
hour at rising thresholds; writes the model again, with these facts in its card, and a reliability diagram. The map is
fitted on all clips; alarms and costs are counted with maps that were fitted without the clip's own group of sources,
or of speakers where all are of one source. The card holds the alarms of the channel that has most. The clips must be
such as the model never heard: your own calls, or with --hold-out and --twins the sources that training left out."""

MIN_WINDOWS = 100
"""Windows of either class from which a class of channel is calibrated anew."""


class Heard:
    """What a network says of the windows of all legs through one channel, raw."""

    def __init__(self, channel: str, legs: list[list[Score]], is_fake: Labels) -> None:
        self.channel = channel
        self.legs = legs
        log_odds = np.array([score.log_odds for leg in legs for score in leg], np.float32)
        narrow = np.array([score.narrow for leg in legs for score in leg], np.bool_)
        self._scored = ~np.isnan(log_odds)
        self.raw = log_odds[self._scored]
        self.narrow = narrow[self._scored]
        """Whether the channel of each scored window is narrow."""
        self.leg = np.repeat(np.arange(len(legs)), [len(leg) for leg in legs])[self._scored]
        """Number of the leg that each scored window is of."""
        self.is_fake = is_fake[self.leg]

    def mapped(self, maps: Sequence[ChannelCalibration]) -> NDArray[np.float32]:
        """Return the log-odds of the scored windows, each by the one of `maps` that is for its leg."""
        log_odds = np.empty_like(self.raw)
        for calibration in set(maps):
            of = np.array([one == calibration for one in maps], np.bool_)[self.leg]
            log_odds[of] = calibration.apply(self.raw[of], self.narrow[of])
        return log_odds

    def calibrated(self, maps: Sequence[ChannelCalibration]) -> list[list[Score]]:
        """Return the legs with log-odds mapped, each by its own of `maps`."""
        log_odds = np.full(len(self._scored), np.nan)
        log_odds[self._scored] = self.mapped(maps)
        values = iter(log_odds.tolist())
        return [[replace(score, log_odds=next(values)) for score in leg] for leg in self.legs]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = DESCRIPTION
    parser.add_argument("model", metavar="NAME_OR_PATH", help="the model whose card is to be written")
    heldout.add_arguments(parser, twins="NAME_OR_PATH")
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.onnx, NAME.json and calibration.png")


def run(args: argparse.Namespace) -> int:
    """Listen, fit, count, write. Raises `DataError` or `ModelError` with one clear line."""
    target = open_detector(args.model)
    models = models_by_fold(args.model, args.twins, args.hold_out)
    material = Material.of(args)
    said = HeldOut(material, args.cache, args.jobs).scores(models)
    heard = [Heard(channel, legs, material.is_fake) for channel, legs in said.items()]
    current = target.card.calibration
    maps = cross_fitted(heard, groups_of(material.clips, material.legs), current)
    went = {one.channel: partial(_courses, one.calibrated(maps)) for one in heard}
    counts = count(material.clips, material.legs, went)
    alarms = worst_channel(counts, material.bank.hash)
    raise_p = raise_p_for(args.alerts_per_hour, alarms, target.raise_p)
    facts = {"calibration": fitted(heard, current), "alarms": alarms, "raise_p": raise_p}
    card = target.card.model_copy(update=facts)
    _write(card, find_model(args.model), args.out)
    _tell(heard, [current] * len(material.legs), maps, counts, card, args.out)
    return 0


def _courses(legs: Sequence[list[Score]], raise_p: float) -> list[Course]:
    policy = Policy(raise_p=raise_p)
    return [course_of(scores, policy) for scores in legs]


def fitted(
    heard: Sequence[Heard], current: ChannelCalibration, legs: NDArray[np.bool_] | None = None
) -> ChannelCalibration:
    """Return a map for each class of channel, fitted on these `legs` (all; ``(n_legs,)``).

    Where there are not enough windows to fit one, it stays the `current` one.
    """
    raw, is_fake, narrow, leg = (
        np.concatenate([getattr(one, name) for one in heard]) for name in ("raw", "is_fake", "narrow", "leg")
    )
    chosen = np.ones(len(raw), np.bool_) if legs is None else legs[leg]

    def fit_or(current: Calibration, of: Labels) -> Calibration:
        counts = np.bincount(is_fake[of].astype(np.int64), minlength=2)
        return fit(raw[of], is_fake[of]) if counts.min() >= MIN_WINDOWS else current

    return ChannelCalibration(
        wide=fit_or(current.wide, chosen & ~narrow), narrow=fit_or(current.narrow, chosen & narrow)
    )


def groups_of(clips: Sequence[Clip], legs: Sequence[Leg]) -> NDArray[np.int64]:
    """Return the group that each leg is dealt into, ``(n_legs,)``: its source's, or its speaker's where that is one.

    A person whom the list doesn't name is as many as there are legs.
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
    heard: Sequence[Heard], groups: NDArray[np.int64], current: ChannelCalibration
) -> list[ChannelCalibration]:
    """Return a map for each leg, fitted on the legs of all `groups`, ``(n_legs,)``, but its own.

    What is counted on the very legs that a map was fitted on is too kind to it. Where the others hold too few windows
    to fit one, it's the `current` one.
    """
    maps = {group: fitted(heard, current, groups != group) for group in np.unique(groups).tolist()}
    return [maps[group] for group in groups.tolist()]


def _write(card: Card, onnx: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{card.name}.onnx").write_bytes(onnx.read_bytes())
    (out / f"{card.name}.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _tell(
    heard: Sequence[Heard],
    before: Sequence[ChannelCalibration],
    after: Sequence[ChannelCalibration],
    counts: Counts,
    card: Card,
    out: Path,
) -> None:
    """Print the tables and draw the reliability diagram; `before` and `after` are the maps of the legs."""
    table = Table("channel", "windows", "narrow", "Cllr before", "Cllr after")
    panels = {}
    for one in heard:
        said = {name: one.mapped(maps).astype(np.float64) for name, maps in (("before", before), ("after", after))}
        costs = (f"{log_likelihood_cost(log_odds, one.is_fake):.3f}" for log_odds in said.values())
        table.add_row(one.channel, str(len(one.raw)), f"{one.narrow.mean():.0%}", *costs)
        panels[one.channel] = {name: (log_odds, one.is_fake) for name, log_odds in said.items()}
    draw_reliability(panels, out / "calibration.png", (NEUTRAL, SYNTHETIC))
    console = Console()
    console.print(table)
    console.print(alarms_table(counts, card.raise_p))
    console.print(detections_table(counts, card.raise_p))
    if kept := n_with_another_map(before, after, card.calibration):
        console.print(
            f"{kept} of {len(after)} legs are counted with the map that the card had, not with one like the new:"
            f" without their group there are fewer than {MIN_WINDOWS} windows of a label",
            soft_wrap=True,
        )
    console.print(f"wrote {out / card.name}.onnx, .json and calibration.png", soft_wrap=True)


def n_with_another_map(
    before: Sequence[ChannelCalibration], after: Sequence[ChannelCalibration], shipped: ChannelCalibration
) -> int:
    """Return how many legs keep a map of `before`, for some class of channel, that isn't what is `shipped`."""
    return sum(
        old.wide == new.wide != shipped.wide or old.narrow == new.narrow != shipped.narrow
        for old, new in zip(before, after, strict=True)
    )
