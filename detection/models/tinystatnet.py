"""TinyStatNet: TinyAudioNet's successor at the same cost; log-mel in, four strided convolutions, statistics pooling.

Differences, and why: all 64 log-mel bands instead of 32 cosine coefficients (vocoders blur the high bands, which MFCC
blur themselves); only each band's mean over the window is taken away, not its deviation; mean and deviation over time
instead of a flattened map, so that the time of an artefact does not matter (Snyder et al., x-vectors, 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detection.card import Contract
from detection.models.layers import audible
from detection.signal.features import FeatureSpec
from detection.training.settings import Settings

CONTRACT = Contract(window_s=3.0, hop_s=1.0, features=FeatureSpec(bands=64))
SETTINGS = Settings(
    epochs=14, windows_per_epoch=6_400, patience=14, masks=1, anchors=6, ranking=0.5, learning_rate=3e-3
)
"""Few epochs: with more, errors fall on the training sources and rise on held-out sources and systems."""


class TinyStatNet(nn.Module):
    """Log-mel -> 4 x [strided conv, batch norm, ReLU] -> frame-wise mix -> mean and deviation over time -> logits."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        super().__init__()
        bands = contract.features.n_features
        self.blocks = nn.Sequential(
            _block(1, 16, size=3, stride=(2, 2)),  # (batch, 16, frames / 2, bands / 2)
            _block(16, 16, size=3, stride=(2, 2)),  # (batch, 16, frames / 4, bands / 4)
            _block(16, 32, size=3, stride=(1, 2)),  # (batch, 32, frames / 4, bands / 8)
            _block(32, 48, size=3, stride=(2, 2)),  # (batch, 48, frames / 8, bands / 16)
        )
        self.mix = nn.Sequential(
            nn.Conv1d(48 * -(-bands // 16), 96, 1, bias=False), nn.BatchNorm1d(96), nn.ReLU()
        )  # (batch, 96, frames / 8)
        self.dropout = nn.Dropout(0.3)
        self.decide = nn.Linear(2 * 96, 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Map log-mel frames in decibels ``(batch, n_frames, n_features)`` to logits ``(batch, 2)``."""
        hidden = self.blocks(audible(frames).unsqueeze(1))
        over_time = self.mix(hidden.transpose(2, 3).flatten(1, 2))
        mean = over_time.mean(2)
        deviation = torch.sqrt(((over_time - mean.unsqueeze(2)) ** 2).mean(2) + 1e-4)
        logits: Tensor = self.decide(self.dropout(torch.cat([mean, deviation], 1)))
        return logits


def _block(inputs: int, outputs: int, size: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
