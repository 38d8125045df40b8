"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LossName = Literal["cross-entropy", "focal", "one-class"]


@dataclass(frozen=True)
class Settings:
    """What a run is made of, besides data and architecture; logged with the run and in the model card."""

    epochs: int = 20
    batch: int = 64
    windows_per_epoch: int = 6_000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    patience: int = 8
    """Epochs without a better validation error before the run stops early."""
    heard: tuple[str, ...] = ("original", "pstn", "spoiled-1", "spoiled-2", "spoiled-3")
    """Renderings of each clip (`bank.Bank`); with spoiled ones alone the network does not fit what it will meet."""
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
