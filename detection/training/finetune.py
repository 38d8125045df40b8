"""`python -m detection finetune`: train `specnet`'s transformer layers and classifier, group by group of sources.

The convolutions stay as published, factorised; what they make of the clips is computed once (`encodings`). For each
group of sources one network is trained that never hears the group, nor a system or a person in it, and one that hears
all. Each clip's score by the network that did not hear it is written down: grouped cross-validation, and what
calibration is fitted on.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from detection.measure.metrics import equal_error_rate
from detection.models import specnet
from detection.training.bank import Bank
from detection.training.data import Clip, file_hash, read_manifest
from detection.training.distillmos import load_context, read_published
from detection.training.encodings import LINES, Encodings, encode, factorised_encoder
from detection.training.facts import gather_facts, write_facts
from detection.training.losses import training_loss
from detection.training.material import DEFAULT_CACHE
from detection.training.opinions import write_opinions
from detection.training.runlog import save_weights, write_config
from detection.training.sampling import FOLDS, PageSampler, split_by_source
from detection.training.settings import Settings

MODEL = "specnet"
CLASSIFIER_RATE = 0.5
"""Learning rate of the classifier, to that of the transformer layers: it takes thousands of numbers that say much the
same."""
CLASSIFIER_PENALTY = 0.02
"""Weight of half the square of the classifier's weights in the loss, about that of the linear probe."""
WARM_UP = 0.1
"""Share of a run in which the learning rate rises; it then falls along a cosine."""
JUDGED = ("original", "pstn")

DESCRIPTION = """\
Train `specnet` from DistillMOS's published weights. For each group of sources held out, and once for all clips, the
transformer layers and the classifier are trained on what the frozen convolutions make of the clips. Writes the weights
of each network, the scores of each clip by the network that did not hear it, and error rates by grouped
cross-validation. A network found in OUT is not trained again."""

EPILOG = """\
The published weights are not part of this package: pip download --no-deps distillmos==0.9.1

examples:
  finetune --data clips/manifest.csv --published distillmos-0.9.1-py3-none-any.whl --out runs/specnet
  export runs/specnet --weights whole.pt --out weights/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--published", type=Path, required=True, metavar="WHEEL", help="the wheel of distillmos 0.9.1")
    add("--out", type=Path, required=True, help="folder of the run")
    add(
        "--group", type=int, nargs="*", choices=range(FOLDS), default=list(range(FOLDS)),
        help=f"which of {FOLDS} groups of sources to hold out, one network for each (all)",
    )  # fmt: skip
    add("--windows", type=int, default=specnet.SETTINGS.windows_per_epoch, help="windows heard (%(default)s)")
    add("--rate", type=float, default=specnet.SETTINGS.learning_rate, help="learning rate (%(default)s)")
    add("--seed", type=int, default=Settings.seed)
    add("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train as told; 0 when done. Raises `DataError` or `ModelError` with one clear line."""
    torch.set_num_threads(args.workers)
    settings = replace(specnet.SETTINGS, windows_per_epoch=args.windows, learning_rate=args.rate, seed=args.seed)
    published = read_published(args.published)
    clips = read_manifest(args.data, ("train", "val"))
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    bank = Bank(clips, surroundings, args.cache, args.workers)
    encoder = factorised_encoder(bank, published)
    encodings = encode(bank, surroundings, encoder, args.workers)
    write_config(args.out, settings, {
        "model": MODEL, "data_hash": bank.hash, "manifest_hash": file_hash(args.data),
        "published_hash": file_hash(args.published), "groups": args.group,
    })  # fmt: skip
    scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in JUDGED}
    judged: dict[str, list[int]] = {name: [] for name in JUDGED}
    for group in (None, *args.group):
        train, held_out = (range(len(clips)), []) if group is None else split_by_source(clips, [group])
        weights = args.out / ("whole.pt" if group is None else f"without-{group}.pt")
        network = _network(encoder, published, settings)
        if weights.exists():
            network.load_state_dict(torch.load(weights, weights_only=True)["weights"])
        else:
            network = fit(network, clips, list(train), encodings, settings, weights.stem)
            save_weights(network, MODEL, weights)
        for name, rows in _judged(encodings, held_out).items():
            said = score(network, encodings, rows)
            is_fake = _labels(clips, rows)
            if len(rows):
                Console(stderr=True).print(f"{weights.stem}: {name} EER {equal_error_rate(said, is_fake):.1%}")
            scores[name] += list(said[:, None])
            judged[name] += rows
    if args.group:
        _keep(args, clips, scores, judged, bank.hash, settings)
    return 0


def _network(encoder: specnet.Encoder, published: dict[str, Tensor], settings: Settings) -> specnet.SpecNet:
    torch.manual_seed(settings.seed)
    network = specnet.SpecNet()
    network.encoder.load_state_dict(encoder.state_dict())
    network.encoder.requires_grad_(False)
    load_context(network, published)
    return network


def fit(
    network: specnet.SpecNet,
    clips: Sequence[Clip],
    train: Sequence[int],
    encodings: Encodings,
    settings: Settings,
    title: str,
) -> specnet.SpecNet:
    """Train `network` on the clips `train`; return the average of its weights."""
    average = copy.deepcopy(network).eval().requires_grad_(False)
    rate = settings.learning_rate
    optimiser = torch.optim.AdamW(
        [
            {"params": list(network.context.parameters()), "lr": rate},
            {"params": list(network.decide.parameters()), "lr": CLASSIFIER_RATE * rate},
        ],
        weight_decay=settings.weight_decay,
    )
    steps = settings.windows_per_epoch * settings.epochs // settings.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / steps))
    shown = track(_batches(clips, train, encodings, settings, steps), title, steps, console=Console(stderr=True))
    for number, (statistics, sequences, labels, sources) in enumerate(shown):
        logits = network.train().classify(statistics, sequences)
        taught = torch.full(labels.shape, torch.nan)
        loss = training_loss(logits, labels, sources, taught, torch.ones(2), settings)
        loss = loss + network.decide.weight.square().sum() * (CLASSIFIER_PENALTY / 2)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        _follow(average, network, 1 - min(settings.average, number / (number + 10)))
    return average


def _rate(progress: float) -> float:
    """Return the learning rate so far through the run, 0 to 1."""
    rise = min(1.0, (progress + 1e-3) / WARM_UP)
    return rise * (0.5 + 0.5 * math.cos(math.pi * max(0.0, progress - WARM_UP) / (1 - WARM_UP)))


def _follow(average: specnet.SpecNet, network: specnet.SpecNet, share: float) -> None:
    """Move `average` towards `network`; their encoders are one and the same."""
    for name in ("context", "normalise", "decide"):
        mine, theirs = (getattr(one, name).state_dict() for one in (average, network))
        for value, other in zip(mine.values(), theirs.values(), strict=True):
            if value.dtype.is_floating_point:
                value.lerp_(other, share)
            else:
                value.copy_(other)


def _batches(
    clips: Sequence[Clip], train: Sequence[int], encodings: Encodings, settings: Settings, steps: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield statistics, sequences, labels and numbers of sources of windows drawn by `PageSampler`."""
    chosen = [clips[index] for index in train]
    pages = PageSampler(chosen, settings.temper, settings.anchors, settings.balanced)
    names = {source: number for number, source in enumerate(sorted({clip.source for clip in chosen}))}
    is_fake = np.array([int(clip.is_fake) for clip in chosen])
    sources = np.array([names[clip.source] for clip in chosen])
    rng = np.random.default_rng(settings.seed)
    for _ in range(steps):
        drawn = pages.draw(settings.batch, rng)
        rows = np.asarray(train)[drawn] + len(clips) * rng.integers(2, size=len(drawn))
        yield (
            torch.from_numpy(encodings.statistics[rows].astype(np.float32)),
            torch.from_numpy(encodings.sequences[rows].astype(np.float32)),
            torch.from_numpy(is_fake[drawn]),
            torch.from_numpy(sources[drawn]),
        )


def score(network: specnet.SpecNet, encodings: Encodings, rows: Sequence[int], batch: int = 64) -> NDArray[np.float32]:
    """Return the raw log-odds of these rows of `encodings`, ``(n,)``."""
    said = [np.empty(0, np.float32)]
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            parts = (
                torch.from_numpy(array[part].astype(np.float32))
                for array in (encodings.statistics, encodings.sequences)
            )
            logits = network.eval().classify(*parts)
            said.append((logits[:, 1] - logits[:, 0]).numpy())
    return np.concatenate(said)


def _judged(encodings: Encodings, held_out: Sequence[int]) -> dict[str, list[int]]:
    """Return the rows of clips held out: as recorded, and those of them that went through the PSTN alone."""
    n_clips = len(encodings.line)
    by_telephone = [n_clips + clip for clip in held_out if LINES[encodings.line[clip]] == "pstn"]
    return {"original": list(held_out), "pstn": by_telephone}


def _labels(clips: Sequence[Clip], rows: Sequence[int]) -> NDArray[np.bool_]:
    return np.array([clips[row % len(clips)].is_fake for row in rows], np.bool_)


def _keep(
    args: argparse.Namespace,
    clips: Sequence[Clip],
    scores: dict[str, list[NDArray[np.float32]]],
    judged: dict[str, list[int]],
    data_hash: str,
    settings: Settings,
) -> None:
    """Write the figures of grouped cross-validation beside the weights of the network that heard all."""
    labels = {name: _labels(clips, rows) for name, rows in judged.items()}
    recipe = f"python -m detection finetune --data MANIFEST.csv --published WHEEL --out DIR; {asdict(settings)}"
    facts = gather_facts(scores, labels, data_hash, recipe)
    write_facts(facts, args.out / "whole.pt")
    opinions = np.full(len(clips), np.nan, np.float32)
    opinions[judged["original"]] = np.concatenate(scores["original"])
    write_opinions(args.out / "opinions.csv", clips, opinions)
    np.savez_compressed(
        args.out / "scores.npz",
        **{f"{name}_row": np.array(rows) for name, rows in judged.items()},
        **{name: np.concatenate(said) for name, said in scores.items()},
    )
    said = "  ".join(
        f"{name} {equal_error_rate(np.concatenate(parts), labels[name]):.1%}" for name, parts in scores.items()
    )
    Console(stderr=True).print(f"EER by grouped cross-validation: {said}")
