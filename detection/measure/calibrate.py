"""`python -m detection calibrate`: fit what a model says to labelled calls, and count its false alarms per hour."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from detection.alarms import AlarmRate, AlarmRates
from detection.bandwidth import is_narrow
from detection.calibration import Calibration, ChannelCalibration, fit
from detection.card import Card
from detection.channels import CHANNELS
from detection.decision import Policy
from detection.detector import CardDetector, find_model, open_detector
from detection.errors import DataError
from detection.features import WindowFrontend
from detection.measure.conditions import Condition, conditions
from detection.measure.figures import Figures
from detection.measure.legs import follow, of_alarms
from detection.measure.metrics import Labels, log_likelihood_cost
from detection.measure.pictures import NEUTRAL, SYNTHETIC, draw_reliability
from detection.measure.scoring import MIN_SPEECH_S, Leg, leg_samples, legs_of
from detection.offline import score_windows
from detection.training.bank import Bank
from detection.training.data import Clip, is_known, read_manifest
from detection.training.sampling import FOLDS, source_folds, split_by_source
from detection.types import Score

DESCRIPTION = """\
Fit the probabilities of a model to calls whose voices are known, by class of channel, and count its false alarms per
hour at rising thresholds; writes the model again, with these facts in its card, and a reliability diagram. The map is
fitted on all clips; alarms and costs are counted with maps that were fitted without the clip's own group of sources,
or of speakers where all are of one source. The card holds the alarms of the channel that has most. The clips must be
such as the model never heard: your own calls, or with --hold-out the sources its training left out."""

THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99)
MIN_WINDOWS = 100
"""Windows of either class from which a class of channel is calibrated anew."""


class Uncalibrated:
    """A detector that says its network's raw log-odds, and notes of each window whether its channel was narrow."""

    def __init__(self, detector: CardDetector) -> None:
        contract = detector.card.contract
        plain = ChannelCalibration(wide=Calibration(), narrow=Calibration())
        self._raw = CardDetector(detector.card.model_copy(update={"calibration": plain}), detector.backend)
        self._features = contract.features
        self.narrow: list[bool] = []
        self.name, self.window_s, self.hop_s = detector.name, contract.window_s, contract.hop_s
        self.raise_p = detector.raise_p

    def frontend(self) -> WindowFrontend:
        """Return a fresh front end for one leg."""
        return self._raw.frontend()

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return raw log-odds, ``(batch,)``."""
        self.narrow += is_narrow(inputs, self._features).tolist()
        return self._raw.score(inputs)


class Heard:
    """The windows of all legs through one channel."""

    def __init__(self, detector: Uncalibrated, condition: Condition, legs: Iterable[Leg], is_fake: Labels) -> None:
        detector.narrow.clear()
        self.channel = condition.name
        self.legs = [score_windows(leg_samples(condition, leg), detector, MIN_SPEECH_S) for leg in legs]
        log_odds = np.array([score.log_odds for leg in self.legs for score in leg], np.float32)
        self._scored = ~np.isnan(log_odds)
        self.raw = log_odds[self._scored]
        self.leg = np.repeat(np.arange(len(self.legs)), [len(leg) for leg in self.legs])[self._scored]
        """Number of the leg that each scored window is of."""
        self.is_fake = is_fake[self.leg]
        self.narrow = np.array(detector.narrow, np.bool_)
        """Whether the channel of each scored window is narrow."""

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
    add = parser.add_argument
    add("model", metavar="NAME_OR_PATH", help="the model whose card is to be written")
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--split", nargs="*", default=[], help="which of its splits (all)")
    add(
        "--hold-out", type=int, nargs="*", choices=range(FOLDS), default=[],
        help=f"only these of {FOLDS} groups of sources, which `train` held out by the same option",
    )  # fmt: skip
    add("--twin", metavar="NAME_OR_PATH", help="listen with this model, which held sources out that MODEL has heard")
    add("--channel", choices=CHANNELS, nargs="+", default=["clean"], help="send the clips through these (clean)")
    add("--alerts-per-hour", type=float, metavar="X", help="set the card's threshold so that no more are expected")
    add("--out", type=Path, required=True, help="folder for NAME.onnx, NAME.json and calibration.png")
    add("--cache", type=Path, default=Path.home() / ".cache" / "callscreen", help="for decoded audio (%(default)s)")
    add("--jobs", type=int, metavar="N", default=1, help="processes that decode (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Listen, fit, count, write. Raises `DataError` or `ModelError` with one clear line."""
    target = open_detector(args.model)
    listener = Uncalibrated(open_detector(args.twin) if args.twin else target)
    clips = read_manifest(args.data, args.split)
    chosen = split_by_source(clips, args.hold_out)[1] if args.hold_out else list(range(len(clips)))
    legs = _all_legs(clips, chosen)
    is_fake = np.array([clips[leg[0]].is_fake for leg in legs])
    if is_fake.all() or not is_fake.any():
        raise DataError(f"{args.data}: expected clips of both labels to calibrate on")
    bank = Bank(clips, args.data.parent / "noise_rir.csv", args.cache, args.jobs)
    channels = conditions(bank, args.channel, (), Path(), trimmed=False)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        heard = [
            Heard(listener, channel, progress.track(legs, description=channel.name), is_fake) for channel in channels
        ]
    current = target.card.calibration
    maps = cross_fitted(heard, groups_of(clips, legs), current)
    counts = count_alarms(clips, legs, heard, maps)
    alarms = worst_channel(counts, bank.hash)
    facts = {"calibration": fitted(heard, current), "alarms": alarms, "raise_p": _raise_p(args, alarms, target.raise_p)}
    card = target.card.model_copy(update=facts)
    _write(card, find_model(args.model), args.out)
    _tell(heard, [current] * len(legs), maps, counts, card, args.out)
    return 0


def _all_legs(clips: Sequence[Clip], chosen: Sequence[int]) -> list[Leg]:
    """Join the clips `chosen` by their speakers; those of unknown speakers stay alone."""
    joined = [tuple(chosen[place] for place in leg) for leg in legs_of([clips[number] for number in chosen])]
    return joined + [(number,) for number in chosen if not is_known(clips[number].speaker)]


def _raise_p(args: argparse.Namespace, alarms: AlarmRates, current: float) -> float:
    if args.alerts_per_hour is None:
        return current
    try:
        return alarms.raise_p_for(args.alerts_per_hour)
    except ValueError as error:
        raise DataError(f"--alerts-per-hour: {error}") from None


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


Counts = dict[str, dict[float, Figures]]
"""What `of_alarms` counts, by channel and threshold."""


def count_alarms(
    clips: Sequence[Clip], legs: Sequence[Leg], heard: Sequence[Heard], maps: Sequence[ChannelCalibration]
) -> Counts:
    """Return the alerts per hour of the human `legs` at each of `THRESHOLDS`, decided as live calls are."""
    counts: Counts = {}
    for one in heard:
        said = one.calibrated(maps)
        counts[one.channel] = {
            raise_p: of_alarms(clips, legs, [follow(scores, Policy(raise_p=raise_p)) for scores in said])
            for raise_p in THRESHOLDS
        }
        if not all(row["legs"] for row in counts[one.channel].values()):
            raise DataError(f"no human clip holds enough speech to count false alarms on ({one.channel})")
    return counts


def worst_channel(counts: Counts, data: str) -> AlarmRates:
    """Return, for each threshold, the rate of the channel that has most: nobody knows which one calls come through."""
    rates = []
    for raise_p in THRESHOLDS:
        row = max((rows[raise_p] for rows in counts.values()), key=_rate_and_upper_end)
        low, high = (round(end, 2) for end in row["raised_per_hour_95"])
        rates.append(AlarmRate(raise_p=raise_p, per_hour=round(row["raised_per_hour"], 2), low=low, high=high))
    hours = min(row["hours"] for rows in counts.values() for row in rows.values())
    return AlarmRates(hours=round(hours, 3), channels=tuple(counts), data_hash=data, rates=tuple(rates))


def _rate_and_upper_end(row: Figures) -> tuple[float, float]:
    """Return what channels are ranked by: of those with no alarm at all, the one heard least allows most."""
    return row["raised_per_hour"], row["raised_per_hour_95"][1]


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
    """Print both tables and draw the reliability diagram; `before` and `after` are the maps of the legs."""
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
    console.print(_alarms_table(counts, card))
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


def _alarms_table(counts: Counts, card: Card) -> Table:
    """Return false alarms per hour by threshold and channel; the star is at the card's threshold."""
    table = Table("threshold", *counts, title="false alarms per hour of speech (95 %)")
    for raise_p in THRESHOLDS:
        rows = [rows[raise_p] for rows in counts.values()]
        ends = [(row["raised_per_hour"], *row["raised_per_hour_95"]) for row in rows]
        chosen = " *" if raise_p == card.raise_p else ""
        table.add_row(f"{raise_p:g}{chosen}", *(f"{rate:.1f} ({low:.1f}–{high:.1f})" for rate, low, high in ends))
    hours = (f"{max(row['hours'] for row in rows.values()):.2f}" for rows in counts.values())
    table.add_row("hours heard", *hours)
    return table
