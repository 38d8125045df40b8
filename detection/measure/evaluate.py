"""`callscreen detect evaluate`: measures a model on labelled clips, with the steps that `score` and live calls use."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from scipy.special import logit

from detection.decision.fusion import open_fusion
from detection.decision.rule import Policy
from detection.detector import DEFAULT_MODEL, VERIFIER, WEIGHTS, CardDetector, open_detector
from detection.errors import ModelError
from detection.measure import pictures
from detection.measure.baselines import MfccStatistics
from detection.measure.conditions import FIRST_S, Condition, channel_class, conditions
from detection.measure.figures import Figures, by_group, of_clips, of_scores, worst_codec
from detection.measure.legs import Trace, of_alarms, of_detections, of_legs, of_outcomes, trace_of
from detection.measure.metrics import Labels, Scores
from detection.measure.report import write_groups, write_json, write_markdown, write_scores
from detection.measure.scoring import LegScorer, clips_alone, legs_of
from detection.offline import ClipScore, Windowing, summarise
from detection.signal.channels import CHANNELS
from detection.training.bank import Bank
from detection.training.data import Clip, read_manifest
from detection.types import Score

DESCRIPTION = """\
Measure a model on a split of a manifest. For clips, in every condition: error rates, areas, costs and calibration. For
legs, joined from the clips of a speaker: outcomes, errors by seconds of speech and false alarms per hour, also together
with the verifier that a gateway uses beside the default model. Tables by system, family, language, source and by
whether training had the voice; baselines and other models for comparison. Intervals by bootstrap over sources. Writes
report.md, metrics.json, scores.csv, groups.csv and diagrams."""

TRAINING = ("train", "val")
"""Splits used for training: the baseline is trained on them, except on the split that is measured."""
SNRS_DB = (20.0, 10.0, 5.0)
NOISES = "noise_rir.csv"
BESIDE_CHANNELS = 2
"""Other models and the verifier are measured in the first channels only: over all, a large model takes hours."""
AUTO, OFF = "auto", "off"
"""Values of `--verifier` that are not models; `auto` is the default verifier of a gateway."""

ByCondition = Mapping[str, list[list[Score]]]
"""The scores of the windows of every clip or leg, by condition."""


@dataclass(frozen=True)
class TestSet:
    """The audio to be scored."""

    clips: list[Clip]
    training: list[Clip]
    """The clips of the manifest's training splits."""
    bank: Bank
    conditions: list[Condition]
    n_channels: int
    """How many of the conditions, from the first on, are channels in which legs are measured too."""

    @property
    def beside(self) -> list[Condition]:
        """Conditions in which other models are measured."""
        return self.conditions[: min(BESIDE_CHANNELS, self.n_channels)]

    @property
    def with_legs(self) -> list[Condition]:
        """Conditions in which legs are measured, not only clips."""
        noisy = [condition for condition in self.conditions if condition.kind == "noise"]
        return self.conditions[: self.n_channels] + noisy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = DESCRIPTION
    parser.epilog = "example: callscreen detect evaluate --data mine.csv --quick --out report/"
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--split", default="test", help="which of its splits (%(default)s)")
    add("--out", type=Path, required=True, help="folder for the report")
    add(
        "--quick", action="store_true",
        help="minutes instead of hours: as they are and over the PSTN, the model and its verifier alone",
    )  # fmt: skip
    add("--model", metavar="NAME_OR_PATH", default=DEFAULT_MODEL, help="shipped or own model (%(default)s)")
    add(
        "--beside", metavar="NAME_OR_PATH", nargs="*",
        help="further models, in the first two channels (all others that ship); `--beside` without names: none",
    )  # fmt: skip
    add(
        "--verifier", metavar="NAME_OR_PATH", default=AUTO,
        help="measure legs also with this model as the verifier beside MODEL, in the first two channels "
        f"({AUTO}: the shipped one, beside {DEFAULT_MODEL}; {OFF}: none)",
    )  # fmt: skip
    add(
        "--baseline", action=argparse.BooleanOptionalAction, default=True,
        help="MFCC statistics and logistic regression, trained on the manifest's other splits",
    )  # fmt: skip
    channels, further = ["clean", "pstn", "amrnb", "opus12"], ["g722", "gsm", "opus6", "lossy"]
    add(
        "--channel", choices=["all", *CHANNELS], nargs="+", default=channels, metavar="NAME",
        help=f"telephone channels to send clips and legs through: {', '.join(CHANNELS)} or all ({' '.join(channels)})",
    )  # fmt: skip
    add(
        "--clip-channel", choices=["all", *CHANNELS], nargs="*", default=further, metavar="NAME",
        help=f"further channels, for clips only; without names: none ({' '.join(further)})",
    )  # fmt: skip
    add(
        "--snr", type=float, nargs="*", metavar="DB",
        help="add noise at these ratios of speech to noise; no value: none "
        f"({' '.join(f'{snr:g}' for snr in SNRS_DB)} where there is a list of noises)",
    )  # fmt: skip
    add("--surroundings", type=Path, metavar="CSV", help=f"list of noises ({NOISES} beside the manifest)")
    add(
        "--trim", action=argparse.BooleanOptionalAction, default=True,
        help=f"also with silence cut at both ends, and the first {FIRST_S} s alone",
    )  # fmt: skip
    add("--cache", type=Path, default=Path.home() / ".cache" / "callscreen", help="for decoded audio (%(default)s)")
    add("--jobs", type=int, metavar="N", default=1, help="processes (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Score every clip in every condition and write the report.

    Faults of models, manifest or clips are found before scoring starts.
    """
    if args.quick:
        args.channel, args.clip_channel, args.snr = ["clean", "pstn"], [], []
        args.beside, args.baseline, args.trim = [], False, False
    detector = open_detector(args.model)
    beside = open_beside(args, detector)
    verifier = _open_verifier(args)
    test_set = _test_set(args)
    baseline = _baseline(args, test_set)
    windows, legs = _score_all(args.model, detector, test_set, test_set.conditions, test_set.with_legs, args.jobs)
    metrics, scored = _figures(detector, test_set, windows, legs)
    metrics["with_verifier"] = _with_verifier(verifier, detector, test_set, legs, args.jobs)
    metrics["beside"] = dict(_beside(model, other, test_set, args.jobs) for model, other in beside.items())
    metrics["beside"] |= _baselines(baseline, test_set)
    args.out.mkdir(parents=True, exist_ok=True)
    _write(metrics, test_set.clips, scored, args.out)
    _draw(metrics, test_set, scored, windows, float(logit(detector.raise_p)), args.out)
    _print_note(f"wrote {args.out / 'report.md'}")
    return 0


def open_beside(args: argparse.Namespace, detector: CardDetector) -> dict[str, CardDetector]:
    """Return the models to compare with; unless they are named, all shipped models but the measured one."""
    if args.beside is None:
        shipped = {file.stem: open_detector(file.stem) for file in sorted(WEIGHTS.glob("*.onnx"))}
        return {model: other for model, other in shipped.items() if other.name != detector.name}
    beside = {model: open_detector(model) for model in args.beside if model != args.model}
    _refuse_equal_names({args.model: detector, **beside})
    return beside


def _refuse_equal_names(models: Mapping[str, CardDetector]) -> None:
    """Raise `ModelError` where two models have the same name in the report: the name depends on the network alone."""
    called: dict[str, str] = {}
    for model, detector in models.items():
        other = called.setdefault(detector.name, model)
        if other != model:
            raise ModelError(f"--beside: {other} and {model} are both {detector.name}; leave one out")


def _test_set(args: argparse.Namespace) -> TestSet:
    """Read the manifest and decode the clips. Raises `DataError`."""
    channels = _channels(args.channel)
    further = [name for name in _channels(args.clip_channel) if name not in channels]
    clips = read_manifest(args.data, (args.split,))
    training = [clip for clip in read_manifest(args.data) if clip.split in TRAINING and clip.split != args.split]
    snrs_db, surroundings = _noises(args)
    bank = Bank(clips, surroundings, args.cache, args.jobs)
    in_conditions = conditions(bank, [*channels, *further], snrs_db, surroundings, trimmed=args.trim)
    return TestSet(clips, training, bank, in_conditions, len(channels))


def _noises(args: argparse.Namespace) -> tuple[Sequence[float], Path]:
    """Return the SNRs of added noise, and the list of noises; no SNR if none is requested or there is no list."""
    listing = args.surroundings or args.data.parent / NOISES
    if args.snr is not None:
        return args.snr, listing
    if args.surroundings is None and not listing.exists():
        _print_note(f"no noise is added: there is no {listing} (columns path and kind), and no --surroundings")
        return (), listing
    return SNRS_DB, listing


def _channels(names: Sequence[str]) -> list[str]:
    return list(CHANNELS) if "all" in names else list(dict.fromkeys(names))


def _open_verifier(args: argparse.Namespace) -> tuple[str, CardDetector] | None:
    """Return the verifier's name and the verifier; print a note if the default one cannot be opened."""
    if args.verifier == OFF:
        return None
    if args.verifier != AUTO:
        return args.verifier, open_detector(args.verifier)
    if VERIFIER is None or args.model != DEFAULT_MODEL:
        return None
    try:
        return VERIFIER, open_detector(VERIFIER)
    except ModelError as error:
        _print_note(f"no verifier: {error}")
        return None


def _baseline(args: argparse.Namespace, test_set: TestSet) -> MfccStatistics | None:
    """Train on the training splits; without clips of both labels, print a note and return None."""
    if not args.baseline:
        return None
    is_fake = np.array([clip.is_fake for clip in test_set.training], np.bool_)
    if is_fake.all() or not is_fake.any():
        _print_note(f"no baseline: {args.data} holds no clips of both labels to train it on ({', '.join(TRAINING)})")
        return None
    bank = Bank(test_set.training, args.data.parent / NOISES, args.cache, args.jobs)
    channels = [condition.name for condition in test_set.beside]
    return MfccStatistics(conditions(bank, channels, (), Path(), trimmed=False), is_fake)


def _score_all(
    model: str,
    detector: CardDetector,
    test_set: TestSet,
    in_conditions: Sequence[Condition],
    with_legs: Sequence[Condition],
    jobs: int,
) -> tuple[ByCondition, ByCondition]:
    """Return the scores of every clip, and of every leg in the conditions of `with_legs`."""
    alone, legs = clips_alone(test_set.clips), legs_of(test_set.clips)
    n_joined = sum(len(leg) > 1 for leg in legs)
    with _progress() as progress:
        task = progress.add_task(detector.name, total=len(alone) * len(in_conditions) + n_joined * len(with_legs))
        with LegScorer(detector, model, jobs, lambda: progress.advance(task)) as scorer:
            windows = {condition.name: scorer.score(condition, alone) for condition in in_conditions}
            by_leg = {one.name: scorer.score_legs(one, legs, windows[one.name]) for one in with_legs}
    return windows, by_leg


def _figures(
    detector: CardDetector, test_set: TestSet, windows: ByCondition, legs: ByCondition
) -> tuple[Figures, dict[str, list[ClipScore]]]:
    """Return the figures of all clips and legs, and the clips' scores by condition."""
    clips, joined, policy = test_set.clips, legs_of(test_set.clips), Policy(raise_p=detector.raise_p)
    scored = {name: [summarise(scores, policy) for scores in one] for name, one in windows.items()}
    by_condition = {name: of_clips(clips, scores) for name, scores in scored.items()}
    traces = {name: [trace_of(scores, policy) for scores in one] for name, one in legs.items()}
    uncut = [condition.name for condition in test_set.conditions if condition.kind != "cut"]
    metrics: Figures = {
        "model": detector.name,
        "split": clips[0].split,
        "clips": len(clips),
        "channels": [condition.name for condition in test_set.conditions[: test_set.n_channels]],
        "conditions": by_condition,
        "worst_codec": worst_codec(by_condition),
        "legs": {name: of_legs(clips, joined, one) for name, one in traces.items()},
        "outcomes": {name: of_outcomes(clips, joined, one) for name, one in traces.items()},
        "alarms": {name: of_alarms(clips, joined, one) for name, one in traces.items()},
        "detections": {name: of_detections(clips, joined, one) for name, one in traces.items()},
        "groups": {name: by_group(clips, _log_odds(scored[name]), test_set.training) for name in uncut},
    }
    return metrics, scored


def _log_odds(scores: Sequence[ClipScore]) -> Scores:
    return np.array([one.log_odds for one in scores])


def _with_verifier(
    verifier: tuple[str, CardDetector] | None, light: CardDetector, test_set: TestSet, legs: ByCondition, jobs: int
) -> Figures | None:
    """Return the figures of the legs with both models, by channel; None without a verifier."""
    if verifier is None:
        return None
    model, detector = verifier
    clips, joined = test_set.clips, legs_of(test_set.clips)
    fusion, plain = open_fusion(light, detector)
    if plain:
        _print_note(plain)
    policy = Policy(raise_p=fusion.raise_p)
    traces: dict[str, list[Trace]] = {}
    with _progress() as progress:
        task = progress.add_task(f"with {detector.name}", total=len(joined) * len(test_set.beside))
        with LegScorer(detector, model, jobs, lambda: progress.advance(task)) as scorer:
            for one in test_set.beside:
                pairs = zip(legs[one.name], scorer.verify(one, joined, Windowing.of(light)), strict=True)
                traces[one.name] = [trace_of(scores, policy, verified, fusion.llr) for scores, verified in pairs]
    return {
        "verifier": detector.name,
        "raise_p": fusion.raise_p,
        "legs": {name: of_legs(clips, joined, one) for name, one in traces.items()},
        "outcomes": {name: of_outcomes(clips, joined, one) for name, one in traces.items()},
        "alarms": {name: of_alarms(clips, joined, one) for name, one in traces.items()},
        "detections": {name: of_detections(clips, joined, one) for name, one in traces.items()},
    }


def _beside(model: str, detector: CardDetector, test_set: TestSet, jobs: int) -> tuple[str, dict[str, Figures]]:
    """Return a model's name and its figures for all clips by condition; in the first condition also for legs.

    Legs in one condition only: scoring them takes half as long again as scoring the clips.
    """
    clips, joined, policy = test_set.clips, legs_of(test_set.clips), Policy(raise_p=detector.raise_p)
    windows, legs = _score_all(model, detector, test_set, test_set.beside, test_set.beside[:1], jobs)
    scored = {name: [summarise(scores, policy) for scores in one] for name, one in windows.items()}
    figures = {
        name: of_clips(clips, scores) | by_group(clips, _log_odds(scores), groups=("family",))
        for name, scores in scored.items()
    }
    for name, windows_of_legs in legs.items():
        traces = [trace_of(scores, policy) for scores in windows_of_legs]
        figures[name]["outcomes"] = of_outcomes(clips, joined, traces)
    return detector.name, figures


def _baselines(baseline: MfccStatistics | None, test_set: TestSet) -> dict[str, dict[str, Figures]]:
    """Return the figures of the baselines for the same clips, by name."""
    if baseline is None:
        return {}
    clips = test_set.clips
    return {
        "MFCC mean and deviation, logistic regression": {
            one.name: of_scores(clips, baseline.score(one, len(clips))) for one in test_set.beside
        },
        "majority": {one.name: of_scores(clips, np.zeros(len(clips))) for one in test_set.beside},
    }


def _write(metrics: Figures, clips: Sequence[Clip], scored: Mapping[str, Sequence[ClipScore]], out: Path) -> None:
    write_json(metrics, out / "metrics.json")
    write_markdown(metrics, out / "report.md")
    write_scores(clips, scored, out / "scores.csv")
    write_groups(metrics["groups"], out / "groups.csv")


def _draw(
    metrics: Figures,
    test_set: TestSet,
    scored: Mapping[str, Sequence[ClipScore]],
    windows: ByCondition,
    raise_log_odds: float,
    out: Path,
) -> None:
    is_fake = np.array([clip.is_fake for clip in test_set.clips])
    log_odds = {name: _log_odds(scores) for name, scores in scored.items()}
    first, *_ = metrics["channels"]
    pictures.draw_det(log_odds, is_fake, out / "det.png")
    pictures.draw_histograms(log_odds, is_fake, raise_log_odds, out / "histogram.png")
    pictures.draw_over_speech({name: metrics["legs"][name] for name in metrics["channels"]}, out / "seconds.png")
    pictures.draw_systems(metrics["groups"][first]["system"], out / "systems.png")
    through = {one.name: windows[one.name] for one in test_set.conditions if one.kind == "channel"}
    pictures.draw_reliability(reliability_panels(through, is_fake), out / "reliability.png")


def reliability_panels(
    channels: Mapping[str, Sequence[list[Score]]], is_fake: Labels
) -> dict[str, dict[str, tuple[Scores, Labels]]]:
    """Return a panel for each class of `channels`: log-odds and labels of all windows through its channels."""
    panels = {}
    for kind in dict.fromkeys(map(channel_class, channels)):
        alike = [name for name in channels if channel_class(name) == kind]
        log_odds, labels = zip(*(windows_of(channels[name], is_fake) for name in alike), strict=True)
        panels[f"{kind}: {', '.join(alike)}"] = {"windows": (np.concatenate(log_odds), np.concatenate(labels))}
    return panels


def windows_of(clips: Sequence[list[Score]], is_fake: Labels) -> tuple[Scores, Labels]:
    """Return the log-odds and labels of all scored windows."""
    log_odds = np.array([score.log_odds for scores in clips for score in scores])
    labels = np.repeat(is_fake, [len(scores) for scores in clips])
    scored = ~np.isnan(log_odds)
    return log_odds[scored], labels[scored]


def _print_note(line: str) -> None:
    Console(stderr=True).print(line, soft_wrap=True, markup=False, highlight=False)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, disable=not console.is_terminal
    )
