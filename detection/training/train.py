"""`callscreen detect train`: trains a network on a manifest, and prints its error on held-out sources each epoch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import nn

from detection.card import Contract
from detection.measure.metrics import Labels, equal_error_rate
from detection.models import ARCHITECTURES
from detection.training.bank import ORIGINAL, Ragged
from detection.training.data import file_hash
from detection.training.facts import forget_facts, gather_facts, write_facts
from detection.training.fit import VALIDATION_HOP, Epoch, Trainer, WindowSampler, window_scores
from detection.training.material import DEFAULT_CACHE, Material, Source, gather
from detection.training.opinions import or_labels, read_opinions
from detection.training.runlog import save_weights, write_config, write_curves, write_seeds
from detection.training.sampling import FOLDS
from detection.training.settings import LossName, Settings

VALIDATION_CHANNELS = (ORIGINAL, "pstn", "amrnb", "opus12")
"""Renderings for validation: as recorded, and through three different telephone channels."""

TRAINED_WHOLE = [name for name, architecture in ARCHITECTURES.items() if not architecture.pretrained]

OF_THEIR_OWN = ("epochs", "windows_per_epoch", "heard", "loss", "seed")
"""Settings with an option of their own."""
FURTHER = [field.name for field in fields(Settings) if field.name not in OF_THEIR_OWN]

EPILOG = """\
examples:
  train --data clips/manifest.csv --out runs/first                          the reference network with its own recipe
  train --data clips/manifest.csv --out runs/ecapa --model ecapa_tdnn       another network with its own recipe
  train --data clips/manifest.csv --out runs/three --seed 1 2 3             three seeds, and their spread (seeds.csv)
  train --data clips/manifest.csv --out runs/focal --model tinystatnet --loss focal
  train --data clips/manifest.csv --out runs/noise --heard original only-noise --set masks=0 ranking=0.5

Settings that are not given are those of the architecture (`SETTINGS` in detection/models). The same command on the same
data gives the same weights."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description, parser.epilog = "Train a model on a manifest of labelled clips.", EPILOG
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--out", type=Path, required=True, help="folder of the run; a run found there is resumed")
    add("--model", choices=TRAINED_WHOLE, default="tinyaudionet", help="architecture (%(default)s)")
    add("--epochs", type=int, help="largest number of epochs")
    add("--windows", type=int, help=f"windows in an epoch ({Settings.windows_per_epoch})")
    add("--loss", choices=get_args(LossName), help="classification loss")
    add(
        "--set", type=setting, nargs="+", default=[], metavar="NAME=VALUE",
        help=f"any other setting: {', '.join(FURTHER)}",
    )  # fmt: skip
    add("--seed", type=int, nargs="+", default=[Settings.seed], help="several: one run each, and their spread")
    add("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    add(
        "--heard", nargs="+", metavar="RENDERING",
        help=f"versions of each clip to train on: {ORIGINAL}, a telephone channel, augmented-N, or one step, such as "
        f"only-noise ({' '.join(Settings.heard)})",
    )  # fmt: skip
    add(
        "--judged", nargs="+", metavar="RENDERING", default=VALIDATION_CHANNELS,
        help=f"versions of each clip to validate on ({' '.join(VALIDATION_CHANNELS)})",
    )  # fmt: skip
    add(
        "--more", type=Path, nargs="+", default=[], metavar="MANIFEST.csv",
        help="further clips to train on, such as `render` writes; those that share a source or a system with "
        "held-out ones are left out; a list with a held-out speaker in other clips is refused",
    )  # fmt: skip
    add(
        "--teacher", type=Path, metavar="SCORES.csv",
        help="also learn from a teacher's scores, which `regress` writes",
    )  # fmt: skip
    add(
        "--hold-out", type=int, nargs="*", choices=range(FOLDS), default=[0],
        help=f"which of {FOLDS} groups of sources to validate on; none: train on everything, without early stopping, "
        "as the final run beside a twin with held-out sources (0)",
    )  # fmt: skip
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train the network; return 0. Raises `DataError` or `ModelError`."""
    torch.set_num_threads(args.workers)
    contract = ARCHITECTURES[args.model].contract
    settings = settings_of(args)
    by_seed = {seed: replace(settings, seed=seed) for seed in args.seed}
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    source = Source(args.data, surroundings, args.cache, args.workers, args.hold_out)
    material = gather(source, contract, settings.heard, args.judged, args.more)
    best = {}
    for seed, seeded in by_seed.items():
        out = args.out if len(by_seed) == 1 else args.out / f"seed-{seed}"
        best[seed] = _run_once(args, material, seeded, out)
    if len(best) > 1:
        Console(stderr=True).print(write_seeds(best, args.out))
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the architecture's settings, with those of the command line; raises `DataError` as `Settings`."""
    given = {
        "epochs": args.epochs,
        "windows_per_epoch": args.windows,
        "loss": args.loss,
        "heard": args.heard and tuple(args.heard),
    }
    options = {key: value for key, value in given.items() if value is not None} | dict(args.set)
    return replace(ARCHITECTURES[args.model].settings, **options)


def setting(text: str) -> tuple[str, float | bool]:
    """Return a setting and its value from ``name=value``; raises `ArgumentTypeError` naming what was expected."""
    name, _, value = text.partition("=")
    if name not in FURTHER:
        raise argparse.ArgumentTypeError(f"{name!r}: expected one of {', '.join(FURTHER)}")
    kind = type(getattr(Settings, name))
    try:
        return name, {"False": False, "True": True}[value] if kind is bool else kind(value)
    except (KeyError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name}={value}: expected a value of type {kind.__name__}") from error


def _run_once(args: argparse.Namespace, material: Material, settings: Settings, out: Path) -> Epoch:
    """Train with one seed, or resume; return the best epoch."""
    torch.manual_seed(settings.seed)
    contract = ARCHITECTURES[args.model].contract
    teacher_log_odds = or_labels(read_opinions(args.teacher, material.clips), material.clips) if args.teacher else None
    sampler = WindowSampler(
        material.clips, material.train, material.heard, contract.input_shape[0], settings, teacher_log_odds
    )
    trainer = Trainer(ARCHITECTURES[args.model].build(contract), sampler, settings)
    made_of = {
        "model": args.model,
        "data_hash": material.data_hash,
        "more_data_hashes": list(material.more_hashes),
        "renderings": list(material.renderings),
        "manifest_hash": file_hash(args.data),
        "hold_out": sorted(set(args.hold_out)),
        "judged": list(material.judged),
        "more": [str(path) for path in args.more],
        "more_hashes": [file_hash(path) for path in args.more],
        "teacher": args.teacher and str(args.teacher),
        "teacher_hash": args.teacher and file_hash(args.teacher),
        "train_clips": len(material.train),
        "validation_clips": len(material.validation),
    }

    def keep(weights: Path, scores: Mapping[str, list[NDArray[np.float32]]]) -> None:
        forget_facts(weights)
        save_weights(trainer.average, args.model, weights)
        if args.hold_out:  # figures on training clips would mislead; otherwise a twin provides them
            labels = dict.fromkeys(scores, material.is_fake)
            facts = gather_facts(scores, labels, material.data_hash, _recipe(args, settings))
            write_facts(facts, weights)

    if (out / "last.pt").exists():
        trainer.load(out / "last.pt", made_of)
    write_config(out, settings, {**made_of, "data": str(args.data)})  # only after `load` has refused other runs
    for mean_loss in _epochs(trainer, args.model):
        scores = scores_of(trainer.average, material.judged, material.validation, contract)
        if trainer.validated(errors_of(scores, material.is_fake), mean_loss):
            keep(out / "best.pt", scores)
        trainer.save(out / "last.pt", made_of)
        write_curves(trainer.history, out)
    # Scored again, because a resumed run that was complete has no scores of its last epoch.
    judged = material.judged if args.hold_out else {}
    keep(out / "final.pt", scores_of(trainer.average, judged, material.validation, contract))
    return min(trainer.history, key=lambda epoch: epoch.mean_error)


def _epochs(trainer: Trainer, model: str) -> Iterator[float]:
    """Train epoch after epoch with a progress display; yield each one's mean loss, for validation before the next."""
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[note]}"), console=console) as progress:
        task = progress.add_task(model, total=trainer.settings.epochs, completed=len(trainer.history), note="")
        while not trainer.done:
            losses = []
            for loss in trainer.epoch():
                losses.append(loss)
                progress.update(task, advance=1 / trainer.steps_per_epoch, note=f"loss {np.mean(losses):.3f}")
            yield float(np.mean(losses))
            epoch = trainer.history[-1]
            errors = "  ".join(f"{name} {error:.1%}" for name, error in epoch.error.items())
            progress.console.print(f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}  EER {errors}")


def scores_of(
    network: nn.Module, judged: Mapping[str, Ragged], chosen: Sequence[int], contract: Contract
) -> dict[str, list[NDArray[np.float32]]]:
    """Return the raw log-odds of the windows of the clips `chosen`, by rendering."""
    n_frames = contract.input_shape[0]
    hop_frames = int(VALIDATION_HOP * n_frames)
    return {name: window_scores(network, rendering, chosen, n_frames, hop_frames) for name, rendering in judged.items()}


def errors_of(scores: Mapping[str, list[NDArray[np.float32]]], is_fake: Labels) -> dict[str, float]:
    """Return the equal error rate by rendering, with the mean over its windows as a clip's score."""
    return {
        name: equal_error_rate(np.array([part.mean() for part in parts]), is_fake) for name, parts in scores.items()
    }


def _recipe(args: argparse.Namespace, settings: Settings) -> str:
    held_out = " ".join(map(str, args.hold_out))
    more = f" --more {' '.join(path.name for path in args.more)}" if args.more else ""
    teacher = f" --teacher {args.teacher.name}" if args.teacher else ""
    return (
        f"python -m detection train --data MANIFEST.csv --out DIR --model {args.model} --hold-out {held_out}{teacher}"
        f" --seed {settings.seed} --epochs {settings.epochs} --windows {settings.windows_per_epoch}"
        f" --loss {settings.loss} --heard {' '.join(settings.heard)}{more}; {settings}"
    )
