"""`callscreen detect regress`: trains `specnet`, a logistic regression on DistillMOS's convolutions.

The convolutions stay as published, factorised; their outputs for all clips are computed once (`encodings`). For each
group of sources, one regression on the statistics of all windows is fitted without the group, its systems and its
speakers; one more is fitted on all clips. Each clip is scored by the regression that was fitted without it: this is
grouped cross-validation, and the scores also serve for calibration.

The strong penalty is necessary for unknown voices: retraining the convolutions, or transformer layers on top of them,
reduced errors on the training clips and increased them on others (detection/README.md, ablation).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from detection.errors import DataError
from detection.measure.metrics import equal_error_rate
from detection.models import specnet
from detection.models.specnet import SpecNet
from detection.training.bank import Bank
from detection.training.data import CODEC_COPIES, Clip, file_hash, read_manifest
from detection.training.distillmos import read_published
from detection.training.encodings import LINES, VIEWS, Encodings, encode, factorised_encoder, joined
from detection.training.facts import gather_facts, write_facts
from detection.training.material import DEFAULT_CACHE, read_further
from detection.training.opinions import write_opinions
from detection.training.runlog import save_weights, write_config
from detection.training.sampling import FOLDS, split_by_source, unlike
from detection.training.settings import Settings

MODEL = "specnet"
INVERSE_PENALTY = 0.0007
"""scikit-learn's `C`; a quarter of the probe's, because there are three times as many windows."""
WEIGHTS_OF_VIEWS = (1.0, 1.0, 0.3)
"""Weights of the views; windows with pauses hold less speech."""
JUDGED = ("original", "pstn")
ENCODER = "Convolutions of DistillMOS 0.9.1 (Microsoft, MIT licence: LICENSE-distillmos.txt), as published; classifier:"

DESCRIPTION = """\
Train `specnet` on DistillMOS's published convolutions, which stay fixed: a logistic regression on their statistics for
each group of held-out sources, and one on all clips. Writes the weights of each (whole.pt and without-N.pt), the facts
that `export` puts into a card, each clip's score by the regression fitted without it, and error rates by grouped
cross-validation. Copies of human voices by neural codecs are used for training, but not counted in the error rates."""

EPILOG = """\
The published weights are not part of this package: pip download --no-deps distillmos==0.9.1

examples:
  regress --data clips/manifest.csv --published distillmos-0.9.1-py3-none-any.whl --out runs/specnet
  export runs/specnet --weights whole.pt --out weights/
  regress --data clips/manifest.csv --published WHEEL --out runs/twin --without calls.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--published", type=Path, required=True, metavar="WHEEL", help="the wheel of distillmos 0.9.1")
    add("--out", type=Path, required=True, help="folder of the run")
    add(
        "--without", type=Path, metavar="MANIFEST.csv",
        help="never train on a source, system or speaker of this list: makes a twin for calibration and fusion on it",
    )  # fmt: skip
    add(
        "--more", type=Path, nargs="+", default=[], metavar="MANIFEST.csv",
        help="further clips to train on, such as `render` writes; those that share a source or a system with "
        "held-out ones are left out",
    )  # fmt: skip
    add("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train the regressions; return 0. Raises `DataError` or `ModelError`."""
    torch.set_num_threads(args.workers)
    published = read_published(args.published)
    clips = read_manifest(args.data, ("train", "val"))
    held_back = read_manifest(args.without) if args.without else []
    everything = [*clips, *(clip for listed in read_further(args.more, held_back) for clip in listed)]
    chosen = unlike(everything, held_back)
    if len({everything[index].is_fake for index in chosen}) < 2:
        raise DataError(f"{args.data}: expected clips of both labels to train on")
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    bank = Bank(clips, surroundings, args.cache, args.workers)
    encoder = factorised_encoder(bank, published)
    further = [Bank(read_manifest(listed), surroundings, args.cache, args.workers) for listed in args.more]
    made_of = f"{file_hash(args.published)} {bank.hash}"
    encodings = joined([encode(one, surroundings, encoder, made_of, args.workers) for one in (bank, *further)])
    write_config(args.out, Settings(), {
        "model": MODEL, "data_hash": bank.hash, "manifest_hash": file_hash(args.data),
        "published_hash": file_hash(args.published), "clips": len(chosen),
        "without": args.without and file_hash(args.without), "more": [file_hash(listed) for listed in args.more],
    })  # fmt: skip
    console = Console(stderr=True)
    judged: dict[str, list[int]] = {name: [] for name in JUDGED}
    scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in JUDGED}
    for group in range(FOLDS):
        held_out = split_by_source(clips, [group])[1]
        train = set(unlike(everything, [clips[index] for index in held_out])).intersection(chosen)
        network = fitted(encoder, encodings, everything, sorted(train))
        save_weights(network, MODEL, args.out / f"without-{group}.pt")
        for name, rows in _judged(encodings, held_out).items():
            log_odds = score(network, encodings, rows)
            judged[name] += rows
            scores[name] += list(log_odds[:, None])
            console.print(f"without group {group}: {name} EER {_error(everything, rows, log_odds):.1%}")
    save_weights(fitted(encoder, encodings, everything, chosen), MODEL, args.out / "whole.pt")
    for name in JUDGED:
        error = _error(everything, judged[name], np.concatenate(scores[name]))
        console.print(f"{FOLDS}-fold grouped cross-validation: {name} EER {error:.1%}")
    _keep(args.out, everything, judged, scores, bank.hash)
    return 0


def fitted(encoder: specnet.Encoder, encodings: Encodings, clips: Sequence[Clip], train: Sequence[int]) -> SpecNet:
    """Return the network with its classifier fitted on all windows of the clips `train`.

    Classes have equal weight; within them, systems (synthetic) and sources (human) count by the square root of their
    size.
    """
    rows = np.concatenate([np.asarray(train) + view * len(clips) for view in range(VIEWS)])
    chosen = [clips[row % len(clips)] for row in rows]
    is_fake = np.array([clip.is_fake for clip in chosen])
    groups = [(clip.is_fake, clip.system if clip.is_fake else clip.source) for clip in chosen]
    sizes = Counter(groups)
    weights = np.array([sizes[group] ** -0.5 for group in groups]) * np.repeat(WEIGHTS_OF_VIEWS, len(train))
    for fake in (False, True):
        weights[is_fake == fake] *= 0.5 * len(rows) / weights[is_fake == fake].sum()
    scaler = StandardScaler()
    statistics = scaler.fit_transform(encodings.statistics[rows].astype(np.float32))
    np.clip(statistics, -specnet.FURTHEST, specnet.FURTHEST, out=statistics)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=200, tol=1e-3)
    model.fit(statistics, is_fake, sample_weight=weights)
    network = SpecNet()
    network.encoder.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        network.normalise.running_mean.copy_(torch.from_numpy(scaler.mean_))  # type: ignore[union-attr]
        network.normalise.running_var.copy_(torch.from_numpy(scaler.scale_**2))  # type: ignore[union-attr]
        network.decide.weight.copy_(torch.from_numpy(np.concatenate([np.zeros_like(model.coef_), model.coef_])))
        network.decide.bias.copy_(torch.tensor([0.0, float(model.intercept_[0])]))
    return network.eval()


def score(network: SpecNet, encodings: Encodings, rows: Sequence[int]) -> NDArray[np.float32]:
    """Return the raw log-odds of the given rows of `encodings`, ``(n,)``."""
    with torch.inference_mode():
        logits = network.classify(torch.from_numpy(encodings.statistics[rows].astype(np.float32)))
    return np.asarray((logits[:, 1] - logits[:, 0]).numpy(), np.float32)


def _judged(encodings: Encodings, held_out: Sequence[int]) -> dict[str, list[int]]:
    """Return the rows of the held-out clips: as recorded, and of those clips that went through the PSTN."""
    n_clips = len(encodings.line)
    by_telephone = [n_clips + clip for clip in held_out if LINES[encodings.line[clip]] == "pstn"]
    return {"original": list(held_out), "pstn": by_telephone}


def _error(clips: Sequence[Clip], rows: Sequence[int], log_odds: NDArray[np.float32]) -> float:
    """Return the equal error rate without copies by neural codecs, which a legitimate line may use."""
    counted = np.array([clips[row % len(clips)].family != CODEC_COPIES for row in rows], np.bool_)
    labels = np.array([clips[row % len(clips)].is_fake for row in rows], np.bool_)
    return equal_error_rate(log_odds[counted].astype(np.float64), labels[counted])


def _keep(
    out: Path,
    clips: Sequence[Clip],
    judged: dict[str, list[int]],
    scores: dict[str, list[NDArray[np.float32]]],
    data_hash: str,
) -> None:
    """Write the results of cross-validation: facts for the card, and the scores of the clips as recorded."""
    labels = {name: np.array([clips[row % len(clips)].is_fake for row in rows]) for name, rows in judged.items()}
    recipe = (
        "python -m detection regress --data MANIFEST.csv --published WHEEL --out DIR; logistic regression, C ="
        f" {INVERSE_PENALTY}, on DistillMOS's convolutions, frozen, of ranks {specnet.RANKS}"
    )
    facts = gather_facts(scores, labels, data_hash, recipe)
    data = f"{ENCODER} {facts.provenance.data}"
    facts = facts.model_copy(update={"provenance": facts.provenance.model_copy(update={"data": data})})
    for weights in ("whole.pt", *(f"without-{group}.pt" for group in range(FOLDS))):
        write_facts(facts, out / weights)
    log_odds = np.full(len(clips), np.nan, np.float32)
    log_odds[judged["original"]] = np.concatenate(scores["original"])
    write_opinions(out / "opinions.csv", clips, log_odds)
