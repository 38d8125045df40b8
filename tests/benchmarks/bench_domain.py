"""Measure which speech is told to be out of domain, and how the model errs in it.

    python -m tests.benchmarks.bench_domain CORPUS_FOLDER [--model NAME_OR_PATH] [--humans 120] [--synthetic 60]

Clips come from the corpus's train and val splits, of the sources that `train --hold-out 0 2` never hears; a model that
heard all sources may be given, but its errors are then flattered. Each clip is a leg of its own, of 15 s at most. Legs
where too little speech is left to be scored count for nothing. Alerts, and what would be called human, are those of a
decision that doesn't know of domains: what the model errs, whatever is told.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.signal import butter, sosfilt

from detection import (
    DEFAULT_MODEL,
    SAMPLE_RATE_HZ,
    AlertState,
    Detector,
    Outcome,
    Policy,
    Samples,
    Score,
    open_detector,
)
from detection.measure.conditions import add_noise
from detection.measure.legs import trace_of
from detection.offline import score_windows
from detection.signal.audio import read_audio
from detection.signal.channels import apply_channel, limit_band
from detection.training.augment import load_surroundings, rms
from detection.training.data import Clip, read_manifest
from detection.training.sampling import split_by_source

LONGEST = 15 * SAMPLE_RATE_HZ
LEVEL_DBFS = -22.0

Change = Callable[[Samples], Samples]
Leg = tuple[bool, list[Score]]
"""Whether it is synthetic, and the scores of its windows."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure which speech is told to be out of domain.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME_OR_PATH")
    parser.add_argument("--humans", type=int, default=120)
    parser.add_argument("--synthetic", type=int, default=60)
    args = parser.parse_args()
    detector = open_detector(args.model)
    policy = Policy(raise_p=detector.raise_p)
    clips = _clips(args.corpus, args.humans, args.synthetic)
    audio = [_at_level(read_audio(clip.file)[:LONGEST], LEVEL_DBFS) for clip in clips]
    noises = load_surroundings(args.corpus / "noise_rir.csv").noises
    table = Table("", "legs", "out of domain", "people: alert", "human", "machines: alert", "human")
    for name, change in track(_changes(noises).items(), console=Console(stderr=True)):
        changed = zip(clips, (change(samples) for samples in audio), strict=True)
        legs = [(clip.is_fake, _scored(samples, detector, policy)) for clip, samples in changed]
        table.add_row(name, *_row([leg for leg in legs if leg[1]], policy))
    Console(width=120).print(table)


def _clips(corpus: Path, humans: int, synthetic: int) -> list[Clip]:
    clips = read_manifest(corpus / "manifest.csv", ("train", "val"))
    _, held_out = split_by_source(clips, (0, 2))
    draw = random.Random(5)
    of_people = [clips[index] for index in held_out if not clips[index].is_fake]
    of_machines = [clips[index] for index in held_out if clips[index].is_fake]
    return draw.sample(of_people, min(humans, len(of_people))) + draw.sample(
        of_machines, min(synthetic, len(of_machines))
    )


def _changes(noises: Sequence[Samples]) -> Mapping[str, Change]:
    """Return what is done to the clips: first what calls and training hold, then what they do not."""
    channels = ("clean", "pstn", "g722", "amrnb", "gsm", "opus6", "opus12", "lossy")
    changes: dict[str, Change] = {name: partial(apply_channel, name=name) for name in channels}
    changes["noise 10 dB"] = lambda samples: add_noise(noises, 10, samples, len(samples))
    changes["clipped at 20 % of the peak"] = partial(_clip, 0.2)
    for low_hz in (3_000, 2_500, 2_000, 1_500, 1_000):
        changes[f"up to {low_hz} Hz, 72 dB an octave"] = partial(_low_pass, low_hz)
    for low_hz in (2_500, 2_000, 1_500, 1_000):
        changes[f"up to {low_hz} Hz, 24 dB an octave"] = partial(limit_band, low_hz=20.0, high_hz=low_hz)
    for then in ("pstn", "gsm", "amrnb", "opus12"):
        changes[f"up to 2000 Hz, 72 dB an octave, then {then}"] = partial(_low_pass, 2_000, then=then)
    for share in (0.1, 0.05, 0.02):
        changes[f"clipped at {100 * share:g} % of the peak"] = partial(_clip, share)
    for then in ("mulaw", "gsm", "pstn"):
        changes[f"clipped at 5 % of the peak, then {then}"] = partial(_clip, 0.05, then=then)
    changes["from 1000 Hz on"] = partial(limit_band, low_hz=1_000.0, high_hz=8_000.0)
    changes["-58 dBFS, then mulaw"] = lambda samples: apply_channel(_at_level(samples, -58), "mulaw")
    return changes


def _low_pass(high_hz: float, samples: Samples, then: str = "clean") -> Samples:
    filtered = sosfilt(butter(12, high_hz, output="sos", fs=SAMPLE_RATE_HZ), samples)
    return apply_channel(np.asarray(filtered, np.float32), then)


def _clip(share: float, samples: Samples, then: str = "clean") -> Samples:
    most = float(np.abs(samples).max()) * share
    return apply_channel(_at_level(np.clip(samples, -most, most), LEVEL_DBFS), then)


def _at_level(samples: Samples, level_dbfs: float) -> Samples:
    return np.asarray(np.clip(samples * (10 ** (level_dbfs / 20) / rms(samples)), -1, 1), np.float32)


def _scored(samples: Samples, detector: Detector, policy: Policy) -> list[Score]:
    """Return the scores of a clip; none where a live leg would have none."""
    scores = score_windows(samples, detector, policy.min_window_speech_s)
    return scores if any(score.speech_s >= policy.min_window_speech_s for score in scores) else []


def _row(legs: Sequence[Leg], policy: Policy) -> tuple[str, ...]:
    believing = replace(policy, out_of_domain_share=1.0)
    cells = [f"{len(legs)}", f"{np.mean([_is_out_of_domain(scores, policy) for _, scores in legs]):.1%}"]
    for synthetic in (False, True):
        traces = [trace_of(scores, believing) for is_fake, scores in legs if is_fake is synthetic]
        cells.append(f"{np.mean([trace.alerts(AlertState.PROVISIONAL) > 0 for trace in traces]):.1%}")
        cells.append(f"{np.mean([trace.verdict.outcome is Outcome.HUMAN for trace in traces]):.1%}")
    return tuple(cells)


def _is_out_of_domain(scores: Sequence[Score], policy: Policy) -> bool:
    """Tell it of a leg whatever the model says of it: an alert would come first in a verdict."""
    unsure = [replace(score, log_odds=0.0) for score in scores]
    return trace_of(unsure, policy).verdict.reason == "out_of_domain"


if __name__ == "__main__":
    main()
