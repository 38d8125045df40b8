"""The settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from detection.errors import DataError

LossName = Literal["cross-entropy", "focal", "one-class"]


@dataclass(frozen=True)
class Settings:
    """The settings of a run besides data and architecture; written to the run's log and the model card.

    Raises:
        DataError: a value is out of range; names the setting and the expected range.
    """

    epochs: int = 20
    batch: int = 64
    windows_per_epoch: int = 6_000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    patience: int = 8
    """Epochs without a better validation error before the run stops early."""
    heard: tuple[str, ...] = ("original", "pstn", "augmented-1", "augmented-2", "augmented-3")
    """Renderings of each clip to train on (`bank.Bank`); augmented ones alone do not cover clean audio."""
    masks: int = 0
    """SpecAugment: number of stripes of bands, and of frames, blanked in each window (Park et al., 2019)."""
    loss: LossName = "cross-entropy"
    """See `losses`; classes have equal weight in each."""
    label_smoothing: float = 0.05
    """For cross entropy only."""
    average: float = 0.995
    """Decay of the running average of the weights; the average is validated and saved."""
    balanced: bool = True
    """Draw classes equally, and systems and sources by `temper`; False draws clips uniformly."""
    temper: float = 0.5
    """Exponent of `balanced_weights`: 0 draws all systems and human sources equally often, 1 by their size."""
    anchors: int = 8
    """Pages with both classes of which each batch has two clips of each class; 0 draws all clips independently."""
    ranking: float = 1.0
    """Weight of the loss that ranks synthetic above human clips of the same page."""
    teaching: float = 2.0
    """Weight of the distillation loss, if there is a teacher."""
    seed: int = 1

    def __post_init__(self) -> None:
        losses = get_args(LossName)
        for name, is_possible, expected in (  # each condition is False for NaN
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch", self.batch >= 2, "at least 2, since one window alone cannot be normalised by its batch"),
            ("windows_per_epoch", self.windows_per_epoch >= self.batch, f"at least a batch, which is {self.batch}"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "more than 0"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
            ("patience", self.patience >= 1, "at least 1"),
            ("heard", len(self.heard) > 0, "at least one rendering"),
            ("masks", self.masks >= 0, "at least 0"),
            ("loss", self.loss in losses, f"one of {', '.join(losses)}"),
            ("label_smoothing", 0 <= self.label_smoothing <= 1, "0 to 1"),
            ("average", 0 <= self.average <= 1, "0 to 1"),
            ("temper", 0 <= self.temper <= 1, "0 to 1"),
            ("anchors", self.anchors >= 0, "at least 0"),
            ("ranking", 0 <= self.ranking < math.inf, "at least 0"),
            ("teaching", 0 <= self.teaching < math.inf, "at least 0"),
            ("seed", 0 <= self.seed < 2**64, "0 to 2**64 - 1"),
        ):
            if not is_possible:
                raise DataError(f"{name}: expected {expected}, got {getattr(self, name)!r}")
