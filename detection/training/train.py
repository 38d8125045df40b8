"""`python -m detection train`: train a network on a manifest, and say at every epoch how it does on unheard sources."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import nn

from detection.backends.torch import load_network
from detection.card import Contract
from detection.measure.metrics import Labels, equal_error_rate
from detection.models import ARCHITECTURES
from detection.training.bank import ORIGINAL, SPOILED, Bank, Joined, Ragged
from detection.training.data import Clip, read_manifest, refuse_shared_speakers
from detection.training.facts import gather_facts
from detection.training.fit import Epoch, Trainer, WindowSampler, window_scores
from detection.training.sampling import FOLDS, split_by_source
from detection.training.settings import Settings

HEARD_CHANNELS = (ORIGINAL, "pstn")
"""What is heard besides the spoiled versions: those alone keep the network from fitting what it will meet."""
VALIDATION_CHANNELS = (ORIGINAL, "pstn", "amrnb", "opus12")
"""What an epoch is judged on: as recorded, and through three unlike telephone channels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a run found there goes on")
    parser.add_argument("--model", choices=ARCHITECTURES, default="tinyaudionet", help="architecture (%(default)s)")
    parser.add_argument("--epochs", type=int, help="most epochs to train (what suits the architecture)")
    parser.add_argument(
        "--windows", type=int, default=Settings.windows_per_epoch, help="windows heard in an epoch (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    parser.add_argument("--spoiled", type=int, default=3, help="augmented versions of each clip (%(default)s)")
    parser.add_argument(
        "--more", type=Path, nargs="+", default=[], metavar="MANIFEST.csv",
        help="further clips to train on, such as voices rendered here; those of held-out sources are left out",
    )  # fmt: skip
    parser.add_argument(
        "--hold-out", type=int, nargs="*", choices=range(FOLDS), default=[0],
        help=f"which of {FOLDS} groups of sources to validate on; none: train on everything, with nothing to stop "
        "early by, as the twin of a run that held out (0)",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "callscreen", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train as told; 0 when done. Raises `DataError` or `ModelError` with one clear line."""
    torch.set_num_threads(args.workers)
    torch.manual_seed(args.seed)
    clips = read_manifest(args.data, ("train", "val"))
    train, validation = choose(clips, args.hold_out)
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    bank = Bank(clips, surroundings, args.cache, args.workers)
    architecture = ARCHITECTURES[args.model]
    contract = architecture.contract
    settings = replace(architecture.settings, seed=args.seed, windows_per_epoch=args.windows)
    settings = replace(settings, epochs=args.epochs or settings.epochs)
    names = [*HEARD_CHANNELS, *(f"{SPOILED}{n}" for n in range(1, args.spoiled + 1))]
    heard: list[Ragged | Joined] = [bank.features(name, contract.features) for name in names]
    judged = {name: bank.features(name, contract.features) for name in VALIDATION_CHANNELS}
    held_out = {clips[index].source for index in validation} if args.hold_out else set()
    for manifest in args.more:
        more = read_manifest(manifest)
        train += [len(clips) + index for index, clip in enumerate(more) if clip.source not in held_out]
        clips += more
        more_bank = Bank(more, surroundings, args.cache, args.workers)
        heard = [
            Joined(part, more_bank.features(name, contract.features)) for part, name in zip(heard, names, strict=True)
        ]
    sampler = WindowSampler(clips, train, heard, contract.input_shape[0], settings)
    trainer = Trainer(architecture.build(contract), sampler, settings)
    _write_config(args, bank, settings, len(train), len(validation))
    if (args.out / "last.pt").exists():
        trainer.load(args.out / "last.pt")
    is_fake = np.array([clips[index].is_fake for index in validation])
    _train(trainer, args.out, args.model, lambda net: errors_of(scores_of(net, judged, validation, contract), is_fake))
    if not args.hold_out:  # figures on clips that were heard would mislead: a twin must give them
        return 0
    _, best = load_network(args.out / "best.pt")
    facts = gather_facts(scores_of(best, judged, validation, contract), is_fake, bank.hash, _recipe(args, settings))
    (args.out / "facts.json").write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return 0


def choose(clips: Sequence[Clip], held_out: Collection[int]) -> tuple[list[int], list[int]]:
    """Return the indices to train and to validate on; with nothing held out, `val` is both heard and validated on.

    Refuses a person who would be heard on both sides.
    """
    if not held_out:
        return list(range(len(clips))), [index for index, clip in enumerate(clips) if clip.split == "val"]
    train, validation = split_by_source(clips, held_out)
    refuse_shared_speakers([clips[index] for index in train], [clips[index] for index in validation])
    return train, validation


def scores_of(
    network: nn.Module, judged: Mapping[str, Ragged], chosen: Sequence[int], contract: Contract
) -> dict[str, list[NDArray[np.float32]]]:
    """Return the raw log-odds of the windows of each clip `chosen`, by rendering."""
    n_frames = contract.input_shape[0]
    hop_frames = n_frames * 3 // 4  # fewer windows than serving scores, which would cost more than the training
    return {name: window_scores(network, rendering, chosen, n_frames, hop_frames) for name, rendering in judged.items()}


def errors_of(scores: Mapping[str, list[NDArray[np.float32]]], is_fake: Labels) -> dict[str, float]:
    """Return the equal error rate of clips, each scored by the mean over its windows, by rendering."""
    return {
        name: equal_error_rate(np.array([part.mean() for part in parts]), is_fake) for name, parts in scores.items()
    }


def _train(trainer: Trainer, out: Path, model: str, error_of: Callable[[nn.Module], Mapping[str, float]]) -> None:
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[note]}"), console=console) as progress:
        task = progress.add_task(model, total=trainer.settings.epochs, completed=len(trainer.history), note="")
        while not trainer.done:
            losses = []
            for loss in trainer.epoch():
                losses.append(loss)
                progress.update(task, advance=1 / trainer.steps_per_epoch, note=f"loss {np.mean(losses):.3f}")
            is_best = trainer.validate(error_of, float(np.mean(losses)))
            if is_best:
                save_weights(trainer.average, model, out / "best.pt")
            trainer.save(out / "last.pt")
            write_curves(trainer.history, out)
            epoch = trainer.history[-1]
            errors = "  ".join(f"{name} {error:.1%}" for name, error in epoch.error.items())
            progress.console.print(f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}  EER {errors}")
    save_weights(trainer.average, model, out / "final.pt")


def save_weights(network: nn.Module, model: str, file: Path) -> None:
    """Write the weights alone, with the name of their architecture: what `export` reads."""
    torch.save({"architecture": model, "weights": network.state_dict()}, file)


def write_curves(history: Sequence[Epoch], out: Path) -> None:
    """Write the learning curves as `curves.csv` and `curves.png`."""
    with (out / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", "train_loss", *(f"eer_{name}" for name in history[0].error)])
        rows.writerows([epoch.epoch, epoch.train_loss, *epoch.error.values()] for epoch in history)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="equal error rate, unheard sources")
    for name in history[0].error:
        axes.plot([epoch.epoch for epoch in history], [epoch.error[name] for epoch in history], label=name)
    losses = axes.twinx()
    losses.plot([epoch.epoch for epoch in history], [epoch.train_loss for epoch in history], "k:", label="loss")
    losses.set_ylabel("training loss (dotted)")
    axes.legend()
    figure.savefig(out / "curves.png", dpi=120)


def _recipe(args: argparse.Namespace, settings: Settings) -> str:
    held_out = " ".join(map(str, args.hold_out))
    return (
        f"python -m detection train --data MANIFEST.csv --out DIR --model {args.model} --epochs {settings.epochs}"
        f" --windows {args.windows} --hold-out {held_out} --seed {args.seed} --spoiled {args.spoiled}; {settings}"
    )


def _write_config(args: argparse.Namespace, bank: Bank, settings: Settings, n_train: int, n_validation: int) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    config = {
        "model": args.model,
        "hold_out": args.hold_out,
        "more": [str(path) for path in args.more],
        "spoiled": args.spoiled,
        "settings": asdict(settings),
        "data_hash": bank.hash,
        "train_clips": n_train,
        "validation_clips": n_validation,
        "torch": torch.__version__,
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
