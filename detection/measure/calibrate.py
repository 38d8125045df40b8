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
from detection.measure.figures import of_alarms
from detection.measure.metrics import Labels, log_likelihood_cost
from detection.measure.pictures import NEUTRAL, SYNTHETIC, draw_reliability
from detection.measure.scoring import MIN_SPEECH_S, Leg, legs_of
from detection.offline import score_windows
from detection.training.bank import Bank
from detection.training.data import Clip, is_known, read_manifest
from detection.training.sampling import FOLDS, split_by_source
from detection.types import Score

DESCRIPTION = """\
Fit the probabilities of a model to calls whose voices are known, by class of channel, and count its false alarms per
hour at rising thresholds; writes the model again, with these facts in its card, and a reliability diagram. The clips
must be such as the model never heard: your own calls, or with --hold-out the sources its training left out."""

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
        self.legs = [
            score_windows(np.concatenate([condition.samples(number) for number in leg]), detector, MIN_SPEECH_S)
            for leg in legs
        ]
        log_odds = np.array([score.log_odds for leg in self.legs for score in leg], np.float32)
        self._scored = ~np.isnan(log_odds)
        self.raw = log_odds[self._scored]
        self.is_fake = np.repeat(is_fake, [len(leg) for leg in self.legs])[self._scored]
        self.narrow = np.array(detector.narrow, np.bool_)
        """Whether the channel of each scored window is narrow."""

    def calibrated(self, calibration: ChannelCalibration) -> list[list[Score]]:
        """Return the legs with log-odds mapped."""
        log_odds = np.full(len(self._scored), np.nan)
        log_odds[self._scored] = calibration.apply(self.raw, self.narrow)
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
    calibration = fitted(heard, target.card.calibration)
    alarms = count_alarms(clips, legs, heard, calibration, bank.hash)
    card = target.card.model_copy(
        update={"calibration": calibration, "alarms": alarms, "raise_p": _raise_p(args, alarms, target.card.raise_p)}
    )
    _write(card, find_model(args.model), args.out)
    _tell(heard, target.card.calibration, card, args.out)
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


def fitted(heard: Sequence[Heard], current: ChannelCalibration) -> ChannelCalibration:
    """Return a map for each class of channel; the `current` one where there are not enough windows to fit it."""
    raw, is_fake, narrow = (
        np.concatenate([getattr(one, name) for one in heard]) for name in ("raw", "is_fake", "narrow")
    )

    def fit_or(current: Calibration, of: Labels) -> Calibration:
        counts = np.bincount(is_fake[of].astype(np.int64), minlength=2)
        return fit(raw[of], is_fake[of]) if counts.min() >= MIN_WINDOWS else current

    return ChannelCalibration(wide=fit_or(current.wide, ~narrow), narrow=fit_or(current.narrow, narrow))


def count_alarms(
    clips: Sequence[Clip], legs: Sequence[Leg], heard: Sequence[Heard], calibration: ChannelCalibration, data: str
) -> AlarmRates:
    """Return the alerts per hour of the human `legs` at each of `THRESHOLDS`, decided as live calls are."""
    channels = [one.calibrated(calibration) for one in heard]
    rates, hours = [], 0.0
    for raise_p in THRESHOLDS:
        row = of_alarms(clips, legs, channels, Policy(raise_p=raise_p))
        if not row["legs"]:
            raise DataError("no human clip holds enough speech to count false alarms on")
        low, high = row["raised_per_hour_95"]
        hours = row["hours"]
        rates.append(
            AlarmRate(
                raise_p=raise_p, per_hour=round(row["raised_per_hour"], 2), low=round(low, 2), high=round(high, 2)
            )
        )
    return AlarmRates(
        hours=round(hours, 3), channels=tuple(one.channel for one in heard), data_hash=data, rates=tuple(rates)
    )


def _write(card: Card, onnx: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{card.name}.onnx").write_bytes(onnx.read_bytes())
    (out / f"{card.name}.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _tell(heard: Sequence[Heard], before: ChannelCalibration, card: Card, out: Path) -> None:
    """Print both tables and draw the reliability diagram."""
    table = Table("channel", "windows", "narrow", "Cllr before", "Cllr after")
    panels = {}
    for one in heard:
        said = {name: calibration.apply(one.raw, one.narrow).astype(np.float64)
                for name, calibration in (("before", before), ("after", card.calibration))}  # fmt: skip
        costs = (f"{log_likelihood_cost(log_odds, one.is_fake):.3f}" for log_odds in said.values())
        table.add_row(one.channel, str(len(one.raw)), f"{one.narrow.mean():.0%}", *costs)
        panels[one.channel] = {name: (log_odds, one.is_fake) for name, log_odds in said.items()}
    assert card.alarms is not None
    rates = Table("threshold", f"false alarms per hour ({card.alarms.hours:.2f} h heard)", "95 %")
    for rate in card.alarms.rates:
        chosen = " *" if rate.raise_p == card.raise_p else ""
        rates.add_row(f"{rate.raise_p:g}{chosen}", f"{rate.per_hour:.1f}", f"{rate.low:.1f}–{rate.high:.1f}")
    draw_reliability(panels, out / "calibration.png", (NEUTRAL, SYNTHETIC))
    console = Console()
    console.print(table)
    console.print(rates)
    console.print(f"wrote {out / card.name}.onnx, .json and calibration.png", soft_wrap=True)
