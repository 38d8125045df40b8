"""`python -m detection regress`: train `specnet`, a logistic regression on what DistillMOS's convolutions hear.

The convolutions stay as published, factorised; what they make of the clips is computed once (`encodings`). One
regression on the statistics of all windows, as recorded and over lines, is fitted for each group of sources held out,
without the group, its systems and its people, and one on everything. Each clip's score by the regression that did not
hear it is written down: grouped cross-validation, and what calibration is fitted on.

A strong penalty is what makes it hold on voices never heard: retraining the convolutions, or transformer layers over
them, told the training clips apart better, and others worse (detection/README.md, ablation).
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
"""scikit-learn's `C`; a quarter of the probe's, for three times the windows."""
WEIGHTS_OF_VIEWS = (1.0, 1.0, 0.3)
"""Windows with pauses count less: they hold less of a voice."""
JUDGED = ("original", "pstn")
ENCODER = "Convolutions of DistillMOS 0.9.1 (Microsoft, MIT licence: LICENSE-distillmos.txt), as published; classifier:"

DESCRIPTION = """\
Train `specnet` on DistillMOS's published convolutions, which stay as they are: a logistic regression on their
statistics for each group of sources held out, and one on everything. Writes the weights of each (whole.pt and
without-N.pt), the facts that `export` puts into a card, the score of each clip by the regression that did not hear it,
and error rates by grouped cross-validation. Neural codecs' copies of people are trained on, but not counted there."""

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
        help="never train on a source, a system or a person of this list: a twin to calibrate and fuse with on it",
    )  # fmt: skip
    add(
        "--more", type=Path, nargs="+", default=[], metavar="MANIFEST.csv",
        help="further clips to train on, such as `render` writes; those that share a source or a system with any held "
        "out are left out",
    )  # fmt: skip
    add("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train as told; 0 when done. Raises `DataError` or `ModelError` with one clear line."""
    torch.set_num_threads(args.workers)
    published = read_published(args.published)
    clips = read_manifest(args.data, ("train", "val"))
    held_back = read_manifest(args.without) if args.without else []
    everything = [*clips, *(clip for listed in read_further(args.more, held_back) for clip in listed)]
    heard = unlike(everything, held_back)
    if len({everything[index].is_fake for index in heard}) < 2:
        raise DataError(f"{args.data}: expected clips of both labels to train on")
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    bank = Bank(clips, surroundings, args.cache, args.workers)
    encoder = factorised_encoder(bank, published)
    further = [Bank(read_manifest(listed), surroundings, args.cache, args.workers) for listed in args.more]
    made_of = f"{file_hash(args.published)} {bank.hash}"
    encodings = joined([encode(one, surroundings, encoder, made_of, args.workers) for one in (bank, *further)])
    write_config(args.out, Settings(), {
        "model": MODEL, "data_hash": bank.hash, "manifest_hash": file_hash(args.data),
        "published_hash": file_hash(args.published), "clips": len(heard),
        "without": args.without and file_hash(args.without), "more": [file_hash(listed) for listed in args.more],
    })  # fmt: skip
    console = Console(stderr=True)
    judged: dict[str, list[int]] = {name: [] for name in JUDGED}
    scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in JUDGED}
    for group in range(FOLDS):
        held_out = split_by_source(clips, [group])[1]
        train = set(unlike(everything, [clips[index] for index in held_out])).intersection(heard)
        network = fitted(encoder, encodings, everything, sorted(train))
        save_weights(network, MODEL, args.out / f"without-{group}.pt")
        for name, rows in _judged(encodings, held_out).items():
            said = score(network, encodings, rows)
            judged[name] += rows
            scores[name] += list(said[:, None])
            console.print(f"without group {group}: {name} EER {_error(everything, rows, said):.1%}")
    save_weights(fitted(encoder, encodings, everything, heard), MODEL, args.out / "whole.pt")
    for name in JUDGED:
        error = _error(everything, judged[name], np.concatenate(scores[name]))
        console.print(f"{FOLDS}-fold grouped cross-validation: {name} EER {error:.1%}")
    _keep(args.out, everything, judged, scores, bank.hash)
    return 0


def fitted(encoder: specnet.Encoder, encodings: Encodings, clips: Sequence[Clip], train: Sequence[int]) -> SpecNet:
    """Return the network whose classifier is fitted on all windows of the clips `train`.

    Classes weigh alike; within them systems of machines and sources of people, by the root of their size.
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
    """Return the raw log-odds of these rows of `encodings`, ``(n,)``."""
    with torch.inference_mode():
        logits = network.classify(torch.from_numpy(encodings.statistics[rows].astype(np.float32)))
    return np.asarray((logits[:, 1] - logits[:, 0]).numpy(), np.float32)


def _judged(encodings: Encodings, held_out: Sequence[int]) -> dict[str, list[int]]:
    """Return the rows of clips held out: as recorded, and those of them that went through the PSTN alone."""
    n_clips = len(encodings.line)
    by_telephone = [n_clips + clip for clip in held_out if LINES[encodings.line[clip]] == "pstn"]
    return {"original": list(held_out), "pstn": by_telephone}


def _error(clips: Sequence[Clip], rows: Sequence[int], said: NDArray[np.float32]) -> float:
    """Return the equal error rate without neural codecs' copies: a legitimate line may carry one."""
    counted = np.array([clips[row % len(clips)].family != CODEC_COPIES for row in rows], np.bool_)
    labels = np.array([clips[row % len(clips)].is_fake for row in rows], np.bool_)
    return equal_error_rate(said[counted].astype(np.float64), labels[counted])


def _keep(
    out: Path,
    clips: Sequence[Clip],
    judged: dict[str, list[int]],
    scores: dict[str, list[NDArray[np.float32]]],
    data_hash: str,
) -> None:
    """Write what cross-validation found: facts for the card, and what was said of each clip as recorded."""
    labels = {name: np.array([clips[row % len(clips)].is_fake for row in rows]) for name, rows in judged.items()}
    recipe = (
        "python -m detection regress --data MANIFEST.csv --published WHEEL --out DIR; logistic regression, C ="
        f" {INVERSE_PENALTY}, on DistillMOS's convolutions, frozen, of ranks {specnet.RANKS}"
    )
    facts = gather_facts(scores, labels, data_hash, recipe)
    heard = f"{ENCODER} {facts.provenance.data}"
    facts = facts.model_copy(update={"provenance": facts.provenance.model_copy(update={"data": heard})})
    for weights in ("whole.pt", *(f"without-{group}.pt" for group in range(FOLDS))):
        write_facts(facts, out / weights)
    said = np.full(len(clips), np.nan, np.float32)
    said[judged["original"]] = np.concatenate(scores["original"])
    write_opinions(out / "opinions.csv", clips, said)
