"""The settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from detection.errors import DataError

LossName = Literal["cross-entropy", "focal", "one-class"]


@dataclass(frozen=True)
class Settings:
    """What a run is made of, besides data and architecture; logged with the run and in the model card.

    Raises `DataError`, naming the setting and what was expected, for one that no run can be made with.
    """

    epochs: int = 20
    batch: int = 64
    windows_per_epoch: int = 6_000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    patience: int = 8
    """Epochs without a better validation error before the run stops early."""
    heard: tuple[str, ...] = ("original", "pstn", "augmented-1", "augmented-2", "augmented-3")
    """Renderings of each clip (`bank.Bank`); with augmented ones alone the network does not fit what it will meet."""
    masks: int = 0
    """SpecAugment: this many stripes of bands and of frames are blanked in each window (Park et al., 2019)."""
    loss: LossName = "cross-entropy"
    """See `losses`; classes weigh alike in each."""
    label_smoothing: float = 0.05
    """Of cross entropy alone."""
    average: float = 0.995
    """Decay of the running average of the weights, which is what is validated and kept."""
    balanced: bool = True
    """Draw classes alike, and systems and sources by `temper`; False draws clips as they come."""
    temper: float = 0.5
    """`balanced_weights`' power: 0 hears all systems, and all human sources, alike; 1 as they come."""
    anchors: int = 8
    """Pages with both classes of which each batch holds two clips of either class; 0 draws all clips independently."""
    ranking: float = 1.0
    """Weight of the loss that ranks fakes above humans of the same page."""
    teaching: float = 2.0
    """Weight of the loss that draws the network to a teacher's opinion, where there is one."""
    seed: int = 1

    def __post_init__(self) -> None:
        losses = get_args(LossName)
        for name, is_possible, expected in (  # written so that what is not a number is possible nowhere
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
                raise DataError(f"{name}: expected {expected}; got {getattr(self, name)!r}")
