"""WhisperStat, the heavy verifier: the lower half of Whisper's encoder, never retrained, and a linear head.

Whisper base (Radford et al., "Robust speech recognition via large-scale weak supervision", 2022; weights under the MIT
licence) has heard 680,000 hours of people, in every room and over every line. Its lower layers still tell how a sound
was made, before the upper ones keep only what was said; networks trained on demonstration pages alone learn the pages
first. The head sees mean, deviation and mean step over time of `LAYERS` layers, over the frames that are loud enough to
be speech. Kawa et al. ("Improved deepfake detection using Whisper features", Interspeech 2023) led here; what differs
is that the encoder stays as it is (retrained, it learnt the pages, too: see detection/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.card import Contract
from detection.features import FeatureSpec
from detection.training.settings import Settings

CONTRACT = Contract(window_s=4.0, hop_s=2.0, features=FeatureSpec(fft_samples=400, bands=80))
"""Whisper's own input (80 mel bands of 25 ms every 10 ms), in decibels."""
SETTINGS = Settings(epochs=8, batch=128, windows_per_epoch=12_800, learning_rate=3e-4, average=0.99)

WIDTH = 512
HEADS = 8
LAYERS = 4
"""Of Whisper base's six; the upper two made it worse."""
MAX_POSITIONS = 400
"""Of Whisper's 1,500: 8 s of audio in one piece."""
LOUDEST = 1.1
"""Base-10 logarithm of power that the loudest band of a window is brought to, the median of the clips: no level."""
SPEECH_RANGE_DB = 40.0
"""Frames further below the window's loudest are no speech, and are not counted."""


class WhisperStat(nn.Module):
    """Log-mel -> frozen encoder layers -> statistics over time -> linear -> logits."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        super().__init__()
        self.encoder = Encoder(contract.features.n_features).requires_grad_(False)
        self.head = Head()

    def forward(self, frames: Tensor) -> Tensor:
        """Map log-mel frames in decibels ``(batch, n_frames, 80)`` to logits ``(batch, 2)``."""
        logits: Tensor = self.head(self.embed(frames))
        return logits

    def embed(self, frames: Tensor) -> Tensor:
        """Return what the head sees of frames in decibels: ``(batch, LAYERS * 3 * WIDTH)``; any number of frames."""
        log_power = frames / 10
        layers = self.encoder(log_power)
        loudness = log_power.mean(2)[:, ::2]  # the encoder halves the frame rate
        is_speech = (loudness > loudness.amax(1, keepdim=True) - SPEECH_RANGE_DB / 10).to(frames.dtype)
        return torch.cat([_statistics(layer, is_speech.unsqueeze(2)) for layer in layers], 1)


class Encoder(nn.Module):
    """The first `LAYERS` layers of Whisper base's encoder; every layer's output is returned."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(bands, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(MAX_POSITIONS, WIDTH))
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, log_power: Tensor) -> Sequence[Tensor]:
        """Map ``(batch, n_frames, bands)``, base-10 logarithms, to `LAYERS` times ``(batch, n_frames / 2, WIDTH)``."""
        levelled = log_power - log_power.amax((1, 2), keepdim=True) + LOUDEST
        scaled = (levelled.clamp(min=LOUDEST - 8) + 4) / 4  # as Whisper was trained, but for the level
        hidden = functional.gelu(self.conv1(scaled.transpose(1, 2)))
        hidden = functional.gelu(self.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.positions[: hidden.shape[1]]
        outputs = []
        for layer in self.layers:
            hidden = layer(hidden)
            outputs.append(hidden)
        return outputs


class _Layer(nn.Module):
    """A transformer layer, its norms first; shapes are ``(batch, positions, WIDTH)``."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.attend = nn.Linear(WIDTH, 3 * WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.feed_norm = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, hidden: Tensor) -> Tensor:
        """Keep the shape."""
        batch, positions, _ = hidden.shape
        parts = self.attend(self.attention_norm(hidden)).view(batch, positions, 3, HEADS, WIDTH // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        hidden = hidden + self.attended(attended)
        fed: Tensor = hidden + self.narrow(functional.gelu(self.widen(self.feed_norm(hidden))))
        return fed


class Head(nn.Sequential):
    """Embedding -> standardised -> logits: all that is trained.

    Logistic regression; hidden layers of 64 to 256 told unheard sources apart no better.
    """

    def __init__(self) -> None:
        size = LAYERS * 3 * WIDTH
        super().__init__(nn.BatchNorm1d(size, affine=False), nn.Dropout(0.2), nn.Linear(size, 2))


def _statistics(layer: Tensor, is_speech: Tensor) -> Tensor:
    """Return mean, deviation and mean step over speech of ``(batch, positions, WIDTH)``: ``(batch, 3 * WIDTH)``."""
    n_speech = is_speech.sum(1)
    mean = (layer * is_speech).sum(1) / n_speech
    deviation = torch.sqrt((((layer - mean.unsqueeze(1)) ** 2) * is_speech).sum(1) / n_speech + 1e-6)
    goes_on = is_speech[:, 1:]
    steps = (layer[:, 1:] - layer[:, :-1]).abs()
    step = (steps * goes_on).sum(1) / goes_on.sum(1).clamp(min=1)
    return torch.cat([mean, deviation, step], 1)
