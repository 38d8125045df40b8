"""TinyAudioNet, the reference architecture: two convolution blocks, flatten, one fully connected layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detection.card import Contract
from detection.signal.features import FeatureSpec
from detection.training.settings import Settings

CONTRACT = Contract(window_s=3.0, hop_s=1.0, features=FeatureSpec(bands=64, coefficients=32))
SETTINGS = Settings(
    epochs=20, patience=20, heard=("original",), balanced=False, anchors=0, ranking=0.0, label_smoothing=0.0
)
"""The reference recipe: clips as recorded, drawn uniformly, class-weighted cross entropy, 20 epochs."""


class TinyAudioNet(nn.Module):
    """MFCC -> 2 x [conv, batch norm, ReLU, pool] -> flatten -> fully connected -> logits of human, synthetic.

    `softmax` of the logits gives the two probabilities; training works on the logits (cross entropy).
    """

    def __init__(self, contract: Contract = CONTRACT, channels: tuple[int, int] = (16, 32)) -> None:
        super().__init__()
        n_frames, n_features = contract.input_shape
        first, second = channels
        self.blocks = nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1),  # (batch, 16, frames, coefficients)
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d((4, 2)),  # (batch, 16, frames / 4, coefficients / 2)
            nn.Conv2d(first, second, 3, padding=1),  # (batch, 32, frames / 4, coefficients / 2)
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.MaxPool2d((4, 2)),  # (batch, 32, frames / 16, coefficients / 4)
        )
        self.dropout = nn.Dropout(0.5)
        self.decide = nn.Linear(second * (n_frames // 16) * (n_features // 4), 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Map MFCC frames ``(batch, n_frames, n_features)`` to logits ``(batch, 2)``."""
        hidden = self.blocks(standardise(frames).unsqueeze(1))
        logits: Tensor = self.decide(self.dropout(hidden.flatten(1)))
        return logits


def standardise(frames: Tensor) -> Tensor:
    """Standardise every feature over the window to mean 0 and deviation 1, so that level and microphone are no cue."""
    mean = frames.mean(dim=1, keepdim=True)
    deviation = torch.sqrt(((frames - mean) ** 2).mean(dim=1, keepdim=True) + 1e-2)
    return (frames - mean) / deviation
