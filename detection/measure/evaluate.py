"""`python -m detection evaluate`: measure a model on labelled clips along the very path that `score` and calls take."""

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
from detection.measure.legs import Course, course_of, of_alarms, of_detections, of_legs, of_outcomes
from detection.measure.metrics import Labels, Scores
from detection.measure.report import write_groups, write_json, write_markdown, write_scores
from detection.measure.scoring import Listener, clips_alone, legs_of
from detection.offline import ClipScore, Cut, summarise
from detection.signal.channels import CHANNELS
from detection.training.bank import Bank
from detection.training.data import Clip, read_manifest
from detection.types import Score

DESCRIPTION = """\
Measure a model on a split of a manifest: error rates, areas, costs and calibration of clips in every condition; of
legs, joined from the clips of a speaker, outcomes, errors by seconds of speech and false alarms per hour, also with the
verifier that a gateway puts beside the default model; tables by system, family, language, source and by what training
heard; the baselines and other models beside it. Intervals by bootstrap over sources. Writes report.md, metrics.json,
scores.csv, groups.csv and pictures."""

TRAINING = ("train", "val")
"""Splits that training hears: the baseline is trained on them, where they aren't what is measured."""
BESIDE_CHANNELS = 2
"""Other models, and the verifier, are measured in the first channels only: a heavy one would take hours over all."""
AUTO, OFF = "auto", "off"
"""Values of `--verifier` that name no model; `auto` is the one that a gateway has by default."""

Heard = Mapping[str, list[list[Score]]]
"""The windows' scores of every clip or leg, by condition."""


@dataclass(frozen=True)
class Voices:
    """What all models hear."""

    clips: list[Clip]
    training: list[Clip]
    """Those of the manifest's splits that training hears."""
    bank: Bank
    conditions: list[Condition]
    n_channels: int
    """How many of the conditions, the first ones, are channels through which legs are heard, too."""

    @property
    def beside(self) -> list[Condition]:
        """Conditions in which other models are heard."""
        return self.conditions[: min(BESIDE_CHANNELS, self.n_channels)]

    @property
    def with_legs(self) -> list[Condition]:
        """Conditions in which legs are heard, and not only clips."""
        noisy = [condition for condition in self.conditions if condition.kind == "noise"]
        return self.conditions[: self.n_channels] + noisy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--split", default="test", help="(%(default)s)")
    add("--out", type=Path, required=True, help="folder for the report")
    add("--model", metavar="NAME_OR_PATH", default=DEFAULT_MODEL, help="(%(default)s)")
    add(
        "--beside", metavar="NAME_OR_PATH", nargs="*",
        help="further models, in the first two channels (all others that ship); `--beside` without names: no model",
    )  # fmt: skip
    add(
        "--verifier", metavar="NAME_OR_PATH", default=AUTO,
        help="judge legs also with this model as the verifier beside MODEL, in the first two channels "
        f"({AUTO}: the one that ships, beside {DEFAULT_MODEL}); {OFF}: don't",
    )  # fmt: skip
    add(
        "--baseline", action=argparse.BooleanOptionalAction, default=True,
        help="MFCC statistics and logistic regression, trained on the manifest's other splits",
    )  # fmt: skip
    channels, further = ["clean", "pstn", "amrnb", "opus12"], ["g722", "gsm", "opus6", "lossy"]
    add("--channel", choices=["all", *CHANNELS], nargs="+", default=channels, help=f"({' '.join(channels)})")
    add(
        "--clip-channel", choices=["all", *CHANNELS], nargs="*", default=further,
        help=f"further channels, for clips alone: no legs; none: no channel ({' '.join(further)})",
    )  # fmt: skip
    add("--snr", type=float, nargs="*", default=[20, 10, 5], metavar="DB", help="noise added, none: no noise (20 10 5)")
    add("--surroundings", type=Path, metavar="CSV", help="noises (noise_rir.csv beside the manifest)")
    add(
        "--trim", action=argparse.BooleanOptionalAction, default=True,
        help=f"also with silence cut at both ends, and the first {FIRST_S} s alone",
    )  # fmt: skip
    add("--cache", type=Path, default=Path.home() / ".cache" / "callscreen", help="for decoded audio (%(default)s)")
    add("--jobs", type=int, metavar="N", default=1, help="processes (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Score every clip in every condition and write the report.

    Whatever can be wrong with models, manifest or clips is found before anything is scored.
    """
    detector = open_detector(args.model)
    beside = open_beside(args, detector)
    verifier = _open_verifier(args)
    voices = _voices(args)
    baseline = _baseline(args, voices)
    windows, legs = _listen(args.model, detector, voices, voices.conditions, voices.with_legs, args.jobs)
    metrics, scored = _figures(detector, voices, windows, legs)
    metrics["with_verifier"] = _with_verifier(verifier, detector, voices, legs, args.jobs)
    metrics["beside"] = dict(_beside(model, other, voices, args.jobs) for model, other in beside.items())
    metrics["beside"] |= _baselines(baseline, voices)
    args.out.mkdir(parents=True, exist_ok=True)
    _write(metrics, voices.clips, scored, args.out)
    _draw(metrics, voices, scored, windows, float(logit(detector.raise_p)), args.out)
    _tell(f"wrote {args.out / 'report.md'}")
    return 0


def open_beside(args: argparse.Namespace, detector: CardDetector) -> dict[str, CardDetector]:
    """Return the models to stand beside; unless they are named, all that ship but the measured one."""
    if args.beside is None:
        shipped = {file.stem: open_detector(file.stem) for file in sorted(WEIGHTS.glob("*.onnx"))}
        return {model: other for model, other in shipped.items() if other.name != detector.name}
    beside = {model: open_detector(model) for model in args.beside if model != args.model}
    _refuse_equal_names({args.model: detector, **beside})
    return beside


def _refuse_equal_names(models: Mapping[str, CardDetector]) -> None:
    """Raise `ModelError` where two models would be one in the report: a name tells networks apart, not cards."""
    called: dict[str, str] = {}
    for model, detector in models.items():
        other = called.setdefault(detector.name, model)
        if other != model:
            raise ModelError(f"--beside: {other} and {model} are both {detector.name}; leave one out")


def _voices(args: argparse.Namespace) -> Voices:
    """Read the manifest and decode what is to be heard. Raises `DataError`."""
    channels = _channels(args.channel)
    further = [name for name in _channels(args.clip_channel) if name not in channels]
    clips = read_manifest(args.data, (args.split,))
    training = [clip for clip in read_manifest(args.data) if clip.split in TRAINING and clip.split != args.split]
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    bank = Bank(clips, surroundings, args.cache, args.jobs)
    heard_in = conditions(bank, [*channels, *further], args.snr, surroundings, trimmed=args.trim)
    return Voices(clips, training, bank, heard_in, len(channels))


def _channels(names: Sequence[str]) -> list[str]:
    return list(CHANNELS) if "all" in names else list(dict.fromkeys(names))


def _open_verifier(args: argparse.Namespace) -> tuple[str, CardDetector] | None:
    """Return the verifier's name and itself; one that merely ships and can't be used is only told of."""
    if args.verifier == OFF:
        return None
    if args.verifier != AUTO:
        return args.verifier, open_detector(args.verifier)
    if VERIFIER is None or args.model != DEFAULT_MODEL:
        return None
    try:
        return VERIFIER, open_detector(VERIFIER)
    except ModelError as error:
        _tell(f"no verifier: {error}")
        return None


def _baseline(args: argparse.Namespace, voices: Voices) -> MfccStatistics | None:
    """Train on all that `train` hears; None, with a word, where that isn't clips of both labels."""
    if not args.baseline:
        return None
    is_fake = np.array([clip.is_fake for clip in voices.training], np.bool_)
    if is_fake.all() or not is_fake.any():
        _tell(f"no baseline: {args.data} holds no clips of both labels to train it on ({', '.join(TRAINING)})")
        return None
    bank = Bank(voices.training, args.data.parent / "noise_rir.csv", args.cache, args.jobs)
    channels = [condition.name for condition in voices.beside]
    return MfccStatistics(conditions(bank, channels, (), Path(), trimmed=False), is_fake)


def _listen(
    model: str,
    detector: CardDetector,
    voices: Voices,
    heard_in: Sequence[Condition],
    with_legs: Sequence[Condition],
    jobs: int,
) -> tuple[Heard, Heard]:
    """Return the windows' scores of every clip, and of every leg in those of the conditions that are `with_legs`."""
    alone, legs = clips_alone(voices.clips), legs_of(voices.clips)
    n_joined = sum(len(leg) > 1 for leg in legs)
    with _progress() as progress:
        task = progress.add_task(detector.name, total=len(alone) * len(heard_in) + n_joined * len(with_legs))
        with Listener(detector, model, jobs, lambda: progress.advance(task)) as listener:
            windows = {condition.name: listener.listen(condition, alone) for condition in heard_in}
            heard = {one.name: listener.listen_to_legs(one, legs, windows[one.name]) for one in with_legs}
    return windows, heard


def _figures(
    detector: CardDetector, voices: Voices, windows: Heard, legs: Heard
) -> tuple[Figures, dict[str, list[ClipScore]]]:
    """Return what the model makes of all clips and legs, and the clips' scores by condition."""
    clips, joined, policy = voices.clips, legs_of(voices.clips), Policy(raise_p=detector.raise_p)
    scored = {name: [summarise(scores, policy) for scores in heard] for name, heard in windows.items()}
    of_conditions = {name: of_clips(clips, scores) for name, scores in scored.items()}
    courses = {name: [course_of(scores, policy) for scores in heard] for name, heard in legs.items()}
    uncut = [condition.name for condition in voices.conditions if condition.kind != "cut"]
    metrics: Figures = {
        "model": detector.name,
        "split": clips[0].split,
        "clips": len(clips),
        "channels": [condition.name for condition in voices.conditions[: voices.n_channels]],
        "conditions": of_conditions,
        "worst_codec": worst_codec(of_conditions),
        "legs": {name: of_legs(clips, joined, one) for name, one in courses.items()},
        "outcomes": {name: of_outcomes(clips, joined, one) for name, one in courses.items()},
        "alarms": {name: of_alarms(clips, joined, one) for name, one in courses.items()},
        "detections": {name: of_detections(clips, joined, one) for name, one in courses.items()},
        "groups": {name: by_group(clips, _log_odds(scored[name]), voices.training) for name in uncut},
    }
    return metrics, scored


def _log_odds(scores: Sequence[ClipScore]) -> Scores:
    return np.array([one.log_odds for one in scores])


def _with_verifier(
    verifier: tuple[str, CardDetector] | None, light: CardDetector, voices: Voices, legs: Heard, jobs: int
) -> Figures | None:
    """Return what both models together make of the legs, by channel; None where there is no verifier."""
    if verifier is None:
        return None
    model, detector = verifier
    clips, joined = voices.clips, legs_of(voices.clips)
    fusion, plain = open_fusion(light, detector)
    if plain:
        _tell(plain)
    policy = Policy(raise_p=fusion.raise_p)
    courses: dict[str, list[Course]] = {}
    with _progress() as progress:
        task = progress.add_task(f"with {detector.name}", total=len(joined) * len(voices.beside))
        with Listener(detector, model, jobs, lambda: progress.advance(task)) as listener:
            for one in voices.beside:
                said = zip(legs[one.name], listener.verify(one, joined, Cut.of(light)), strict=True)
                courses[one.name] = [course_of(scores, policy, answers, fusion.llr) for scores, answers in said]
    return {
        "verifier": detector.name,
        "raise_p": fusion.raise_p,
        "legs": {name: of_legs(clips, joined, one) for name, one in courses.items()},
        "outcomes": {name: of_outcomes(clips, joined, one) for name, one in courses.items()},
        "alarms": {name: of_alarms(clips, joined, one) for name, one in courses.items()},
        "detections": {name: of_detections(clips, joined, one) for name, one in courses.items()},
    }


def _beside(model: str, detector: CardDetector, voices: Voices, jobs: int) -> tuple[str, dict[str, Figures]]:
    """Return a model's name, and what it makes of all clips, by condition; in the first, also how it leaves the legs.

    To hear joined legs takes a heavy model half as long again as to hear the clips.
    """
    clips, joined, policy = voices.clips, legs_of(voices.clips), Policy(raise_p=detector.raise_p)
    windows, legs = _listen(model, detector, voices, voices.beside, voices.beside[:1], jobs)
    scored = {name: [summarise(scores, policy) for scores in heard] for name, heard in windows.items()}
    figures = {
        name: of_clips(clips, scores) | by_group(clips, _log_odds(scores), groups=("family",))
        for name, scores in scored.items()
    }
    for name, heard in legs.items():
        figures[name]["outcomes"] = of_outcomes(clips, joined, [course_of(scores, policy) for scores in heard])
    return detector.name, figures


def _baselines(baseline: MfccStatistics | None, voices: Voices) -> dict[str, dict[str, Figures]]:
    """Return what the baselines make of the same clips, by their names."""
    if baseline is None:
        return {}
    clips = voices.clips
    return {
        "MFCC mean and deviation, logistic regression": {
            one.name: of_scores(clips, baseline.score(one, len(clips))) for one in voices.beside
        },
        "majority": {one.name: of_scores(clips, np.zeros(len(clips))) for one in voices.beside},
    }


def _write(metrics: Figures, clips: Sequence[Clip], scored: Mapping[str, Sequence[ClipScore]], out: Path) -> None:
    write_json(metrics, out / "metrics.json")
    write_markdown(metrics, out / "report.md")
    write_scores(clips, scored, out / "scores.csv")
    write_groups(metrics["groups"], out / "groups.csv")


def _draw(
    metrics: Figures,
    voices: Voices,
    scored: Mapping[str, Sequence[ClipScore]],
    windows: Heard,
    raise_log_odds: float,
    out: Path,
) -> None:
    is_fake = np.array([clip.is_fake for clip in voices.clips])
    log_odds = {name: _log_odds(scores) for name, scores in scored.items()}
    first, *_ = metrics["channels"]
    pictures.draw_det(log_odds, is_fake, out / "det.png")
    pictures.draw_histograms(log_odds, is_fake, raise_log_odds, out / "histogram.png")
    pictures.draw_over_speech({name: metrics["legs"][name] for name in metrics["channels"]}, out / "seconds.png")
    pictures.draw_systems(metrics["groups"][first]["system"], out / "systems.png")
    through = {one.name: windows[one.name] for one in voices.conditions if one.kind == "channel"}
    pictures.draw_reliability(reliability_panels(through, is_fake), out / "reliability.png")


def reliability_panels(
    channels: Mapping[str, Sequence[list[Score]]], is_fake: Labels
) -> dict[str, dict[str, tuple[Scores, Labels]]]:
    """Return a panel for each class of the `channels` heard: the log-odds and labels of all windows through them."""
    panels = {}
    for kind in dict.fromkeys(map(channel_class, channels)):
        alike = [name for name in channels if channel_class(name) == kind]
        log_odds, labels = zip(*(windows_of(channels[name], is_fake) for name in alike), strict=True)
        panels[f"{kind}: {', '.join(alike)}"] = {"windows": (np.concatenate(log_odds), np.concatenate(labels))}
    return panels


def windows_of(heard: Sequence[list[Score]], is_fake: Labels) -> tuple[Scores, Labels]:
    """Return the log-odds of all windows that were scored, and whether they are of synthetic clips."""
    log_odds = np.array([score.log_odds for scores in heard for score in scores])
    labels = np.repeat(is_fake, [len(scores) for scores in heard])
    scored = ~np.isnan(log_odds)
    return log_odds[scored], labels[scored]


def _tell(line: str) -> None:
    Console(stderr=True).print(line, soft_wrap=True, markup=False, highlight=False)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, disable=not console.is_terminal
    )
