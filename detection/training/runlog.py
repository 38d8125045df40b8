"""The files of a run: configuration, learning curves and weights."""

from __future__ import annotations

import csv
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from detection.training.fit import Epoch
from detection.training.settings import Settings

_LIBRARIES = ("torch", "numpy", "scipy", "soxr", "av", "soundfile")


def write_config(out: Path, settings: Settings, facts: Mapping[str, Any]) -> None:
    """Write `config.json`: `facts` of the run, settings, library versions and git commit."""
    out.mkdir(parents=True, exist_ok=True)
    config = {
        **facts,
        "settings": asdict(settings),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "commit": commit(),
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def commit() -> str | None:
    """Return the git commit of this code, with ``+`` for uncommitted changes; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)  # noqa: S603
        changed = subprocess.run(  # noqa: S603
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout else "")


def save_weights(network: nn.Module, model: str, file: Path) -> None:
    """Write the weights with the name of their architecture, for `export`."""
    torch.save({"architecture": model, "weights": network.state_dict()}, file)


def write_curves(history: Sequence[Epoch], out: Path) -> None:
    """Write the learning curves as `curves.csv` and `curves.png`."""
    with (out / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", "train_loss", *(f"eer_{name}" for name in history[0].error)])
        rows.writerows([epoch.epoch, epoch.train_loss, *epoch.error.values()] for epoch in history)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="equal error rate, held-out sources")
    for name in history[0].error:
        axes.plot([epoch.epoch for epoch in history], [epoch.error[name] for epoch in history], label=name)
    losses = axes.twinx()
    losses.plot([epoch.epoch for epoch in history], [epoch.train_loss for epoch in history], "k:", label="loss")
    losses.set_ylabel("training loss (dotted)")
    axes.legend()
    figure.savefig(out / "curves.png", dpi=120)


def write_seeds(best: Mapping[int, Epoch], out: Path) -> str:
    """Write `seeds.csv` with each seed's best epoch; return a line with mean and deviation of the EER by rendering."""
    names = list(next(iter(best.values())).error)
    with (out / "seeds.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["seed", "epoch", *(f"eer_{name}" for name in names)])
        rows.writerows([seed, epoch.epoch, *epoch.error.values()] for seed, epoch in best.items())
    errors = {name: np.array([epoch.error[name] for epoch in best.values()]) for name in names}
    spread = (f"{name} {error.mean():.1%} ± {error.std(ddof=1):.1%}" for name, error in errors.items())
    return f"{len(best)} seeds: EER {', '.join(spread)}"
