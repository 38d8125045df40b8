"""`python -m detection evaluate`: measure a model on labelled clips along the very path that `score` and calls take."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from scipy.special import logit

from detection.channels import CHANNELS
from detection.decision import Policy
from detection.detector import DEFAULT_MODEL, open_detector
from detection.measure import pictures
from detection.measure.baselines import MfccStatistics
from detection.measure.conditions import Condition, channel_class, conditions
from detection.measure.figures import Figures, by_group, of_alarms, of_clips, of_legs, of_scores, worst_codec
from detection.measure.metrics import Labels, Scores
from detection.measure.report import write_groups, write_json, write_markdown, write_scores
from detection.measure.scoring import Listener, clips_alone, legs_of
from detection.offline import ClipScore, summarise
from detection.training.bank import Bank
from detection.training.data import Clip, read_manifest
from detection.types import Score

DESCRIPTION = """\
Measure a model on a split of a manifest: error rates, areas, costs and calibration of clips in every condition; of
legs, joined from the clips of a speaker, errors by seconds of speech and false alarms per hour; tables by system,
family, language, source and by what training heard; the baselines and other models beside it. Intervals by bootstrap
over sources. Writes report.md, metrics.json, scores.csv, groups.csv and pictures."""

TRAINING = ("train", "val")
"""Splits that training hears: the baseline is trained on them, where they aren't what is measured."""
REFERENCE = "tinyaudionet"
"""The model that stands beside the one measured unless others are named."""
BESIDE_CHANNELS = 2
"""Other models are measured in the first conditions only: a heavy one would take hours over all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--split", default="test", help="(%(default)s)")
    add("--out", type=Path, required=True, help="folder for the report")
    add("--model", metavar="NAME_OR_PATH", default=DEFAULT_MODEL, help="(%(default)s)")
    add(
        "--beside", metavar="NAME_OR_PATH", nargs="*", default=[REFERENCE],
        help=f"further models, in the first two channels; none: no model ({REFERENCE})",
    )  # fmt: skip
    add(
        "--baseline", action=argparse.BooleanOptionalAction, default=True,
        help="MFCC statistics and logistic regression, trained on the manifest's other splits",
    )  # fmt: skip
    channels, further = ["clean", "pstn", "amrnb", "opus12"], ["g722", "gsm", "opus6", "lossy"]
    add("--channel", choices=["all", *CHANNELS], nargs="+", default=channels, help=f"({' '.join(channels)})")
    add(
        "--clip-channel", choices=["all", *CHANNELS], nargs="*", default=further,
        help=f"further channels, for clips alone: no legs, no groups; none: no channel ({' '.join(further)})",
    )  # fmt: skip
    add("--snr", type=float, nargs="*", default=[20, 10, 5], metavar="DB", help="noise added, none: no noise (20 10 5)")
    add("--surroundings", type=Path, metavar="CSV", help="noises (noise_rir.csv beside the manifest)")
    add("--trim", action=argparse.BooleanOptionalAction, default=True, help="also with silence cut at both ends")
    add("--cache", type=Path, default=Path.home() / ".cache" / "callscreen", help="for decoded audio (%(default)s)")
    add("--jobs", type=int, metavar="N", default=1, help="processes (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Score every clip in every condition and write the report."""
    channels = _channels(args.channel)
    further = [name for name in _channels(args.clip_channel) if name not in channels]
    clips = read_manifest(args.data, (args.split,))
    training = [clip for clip in read_manifest(args.data) if clip.split in _training_splits(args.split)]
    detector = open_detector(args.model)
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    bank = Bank(clips, surroundings, args.cache, args.jobs)
    heard_in = conditions(bank, [*channels, *further], args.snr, surroundings, trimmed=args.trim)
    policy = Policy(raise_p=detector.raise_p)
    windows, legs = _listen(args.model, clips, heard_in, len(channels), args.jobs)
    scored = {name: [summarise(scores, policy) for scores in heard] for name, heard in windows.items()}
    joined = legs_of(clips)
    log_odds = {name: np.array([one.log_odds for one in scores]) for name, scores in scored.items()}
    of_conditions = {name: of_clips(clips, scores) for name, scores in scored.items()}
    metrics: Figures = {
        "model": detector.name,
        "split": args.split,
        "clips": len(clips),
        "conditions": of_conditions,
        "worst_codec": worst_codec(of_conditions),
        "legs": {name: of_legs(clips, joined, heard, policy) for name, heard in legs.items()},
        "alarms": {name: of_alarms(clips, joined, [heard], policy) for name, heard in legs.items()},
        "beside": _beside(args, clips, heard_in[: min(BESIDE_CHANNELS, len(channels))]),
        "groups": {name: by_group(clips, log_odds[name], training) for name in legs},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    _write(metrics, clips, scored, args.out)
    _draw(metrics, clips, log_odds, windows, float(logit(detector.raise_p)), args.out)
    Console(stderr=True).print(f"wrote {args.out / 'report.md'}", soft_wrap=True)
    return 0


def _channels(names: Sequence[str]) -> list[str]:
    return list(CHANNELS) if "all" in names else list(dict.fromkeys(names))


def _training_splits(measured: str) -> tuple[str, ...]:
    return tuple(split for split in TRAINING if split != measured)


def _listen(
    model: str, clips: Sequence[Clip], heard_in: Sequence[Condition], n_channels: int, jobs: int
) -> tuple[dict[str, list[list[Score]]], dict[str, list[list[Score]]]]:
    """Return the windows' scores of every clip in every condition, and of every leg in the first `n_channels`."""
    alone, joined = clips_alone(clips), legs_of(clips)
    with _progress() as progress:
        task = progress.add_task("scoring", total=len(alone) * len(heard_in) + len(joined) * n_channels)
        with Listener(open_detector(model), model, jobs, lambda: progress.advance(task)) as listener:
            windows = {condition.name: listener.listen(condition, alone) for condition in heard_in}
            legs = {condition.name: listener.listen(condition, joined) for condition in heard_in[:n_channels]}
    return windows, legs


def _beside(args: argparse.Namespace, clips: Sequence[Clip], heard_in: Sequence[Condition]) -> dict[str, Figures]:
    """Return what other models and the baselines make of the same clips, by their names."""
    models = [model for model in args.beside if model != args.model]
    beside = dict(_figures_of(model, clips, heard_in, args.jobs) for model in models)
    if args.baseline:
        baseline = _baseline(args, [condition.name for condition in heard_in])
        beside["MFCC mean and deviation, logistic regression"] = {
            condition.name: of_scores(clips, baseline.score(condition, len(clips))) for condition in heard_in
        }
        beside["majority"] = {condition.name: of_scores(clips, np.zeros(len(clips))) for condition in heard_in}
    return beside


def _figures_of(
    model: str, clips: Sequence[Clip], heard_in: Sequence[Condition], jobs: int
) -> tuple[str, dict[str, Figures]]:
    """Return a model's name, and what it makes of all clips, by condition."""
    detector = open_detector(model)
    policy = Policy(raise_p=detector.raise_p)
    with _progress() as progress:
        task = progress.add_task(detector.name, total=len(clips) * len(heard_in))
        with Listener(detector, model, jobs, lambda: progress.advance(task)) as listener:
            heard = {condition.name: listener.listen(condition, clips_alone(clips)) for condition in heard_in}
    return detector.name, {
        name: of_clips(clips, [summarise(scores, policy) for scores in legs]) for name, legs in heard.items()
    }


def _baseline(args: argparse.Namespace, channels: Sequence[str]) -> MfccStatistics:
    """Train on all that `train` hears. Raises `DataError` where the manifest has no such splits."""
    clips = read_manifest(args.data, _training_splits(args.split))
    bank = Bank(clips, args.data.parent / "noise_rir.csv", args.cache, args.jobs)
    heard = conditions(bank, channels, (), Path(), trimmed=False)
    return MfccStatistics(heard, np.array([clip.is_fake for clip in clips]))


def _write(metrics: Figures, clips: Sequence[Clip], scored: Mapping[str, Sequence[ClipScore]], out: Path) -> None:
    write_json(metrics, out / "metrics.json")
    write_markdown(metrics, out / "report.md")
    write_scores(clips, scored, out / "scores.csv")
    write_groups(metrics["groups"], out / "groups.csv")


def _draw(
    metrics: Figures,
    clips: Sequence[Clip],
    log_odds: Mapping[str, Scores],
    windows: Mapping[str, list[list[Score]]],
    raise_log_odds: float,
    out: Path,
) -> None:
    is_fake = np.array([clip.is_fake for clip in clips])
    pictures.draw_det(log_odds, is_fake, out / "det.png")
    pictures.draw_histograms(log_odds, is_fake, raise_log_odds, out / "histogram.png")
    pictures.draw_over_speech(metrics["legs"], out / "seconds.png")
    pictures.draw_systems(next(iter(metrics["groups"].values()))["system"], out / "systems.png")
    classes: dict[str, list[tuple[Scores, Labels]]] = {}
    for name in metrics["legs"]:
        classes.setdefault(channel_class(name), []).append(windows_of(windows[name], is_fake))
    panels = {
        f"{kind}: {', '.join(name for name in metrics['legs'] if channel_class(name) == kind)}": {
            "windows": (np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts]))
        }
        for kind, parts in classes.items()
    }
    pictures.draw_reliability(panels, out / "reliability.png")


def windows_of(heard: Sequence[list[Score]], is_fake: Labels) -> tuple[Scores, Labels]:
    """Return the log-odds of all windows that were scored, and whether they are of synthetic clips."""
    log_odds = np.array([score.log_odds for scores in heard for score in scores])
    labels = np.repeat(is_fake, [len(scores) for scores in heard])
    scored = ~np.isnan(log_odds)
    return log_odds[scored], labels[scored]


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, disable=not console.is_terminal
    )
