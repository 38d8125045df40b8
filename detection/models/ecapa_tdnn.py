"""ECAPA-TDNN (Desplanques, Thienpondt, Demuynck, Interspeech 2020), with fewer channels and two classes.

As in the paper: dilated SE-Res2 blocks, each with the sum of all earlier outputs as input; their outputs concatenated;
attentive statistics. Differences: 128 channels instead of 512 or 1,024; 4 scales in a Res2 convolution instead of 8;
256 concatenated channels instead of 1,536; an embedding of 96 instead of 192 (0.41 M parameters instead of 6.2 or 14.7
M); 64 log-mel bands instead of 80 MFCC; one cosine (`Direction`) instead of one for each speaker.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detection.card import Contract
from detection.models.layers import AttentiveStatistics, Direction, Res2Convolution, audible
from detection.signal.features import FeatureSpec
from detection.training.settings import Settings

CONTRACT = Contract(window_s=3.0, hop_s=1.0, features=FeatureSpec(bands=64))
SETTINGS = Settings(epochs=12, masks=1, anchors=6, ranking=0.5, learning_rate=2e-3)


class EcapaTdnn(nn.Module):
    """Log-mel -> conv -> 3 SE-Res2 blocks -> concatenated -> attentive statistics -> embedding -> cosine -> logits."""

    def __init__(self, contract: Contract = CONTRACT, channels: int = 128, joined: int = 256) -> None:
        super().__init__()
        self.enter = _convolution(contract.features.n_features, channels, size=5)  # (batch, 128, frames)
        self.blocks = nn.ModuleList(_SeRes2Block(channels, dilation) for dilation in (2, 3, 4))
        self.join = nn.Sequential(nn.Conv1d(3 * channels, joined, 1), nn.ReLU())  # (batch, 256, frames)
        self.pool = AttentiveStatistics(joined, hidden=64)  # (batch, 512)
        self.embed = nn.Sequential(
            nn.BatchNorm1d(2 * joined), nn.Dropout(0.2), nn.Linear(2 * joined, 96), nn.BatchNorm1d(96)
        )
        self.decide = Direction(96)

    def forward(self, frames: Tensor) -> Tensor:
        """Map log-mel frames in decibels ``(batch, n_frames, n_features)`` to logits ``(batch, 2)``."""
        so_far = self.enter(audible(frames).transpose(1, 2))
        outputs = []
        for block in self.blocks:
            outputs.append(block(so_far))
            so_far = so_far + outputs[-1]
        embedding = self.embed(self.pool(self.join(torch.cat(outputs, dim=1))))
        logits: Tensor = self.decide(embedding)
        return logits


class _SeRes2Block(nn.Module):
    """Pointwise, Res2 and pointwise convolution, then squeeze-and-excitation, added to the input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            _convolution(channels, channels),
            Res2Convolution(channels, parts=4, size=3, dilation=dilation),
            _convolution(channels, channels),
        )
        self.gate = nn.Sequential(  # squeeze and excitation (Hu et al., 2018)
            nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels), nn.Sigmoid()
        )

    def forward(self, hidden: Tensor) -> Tensor:
        convolved = self.convolve(hidden)
        gates: Tensor = self.gate(convolved.mean(2))
        gated: Tensor = hidden + convolved * gates.unsqueeze(2)
        return gated


def _convolution(inputs: int, outputs: int, size: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, outputs, size, padding=size // 2), nn.ReLU(), nn.BatchNorm1d(outputs))
