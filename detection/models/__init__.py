"""The networks by name. Importing this package imports torch, so serving does not use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from detection.card import Contract
from detection.models import ecapa_tdnn, rawnet2, rawnet3, specnet, tinyaudionet, tinystatnet
from detection.training.settings import Settings


@dataclass(frozen=True)
class Architecture:
    """A network, its contract and its training settings."""

    build: Callable[[Contract], nn.Module]
    contract: Contract
    settings: Settings = field(default_factory=Settings)
    """Recommended settings for training."""
    pretrained: bool = False
    """Whether training starts from published weights, with `regress`."""


ARCHITECTURES: dict[str, Architecture] = {
    "tinyaudionet": Architecture(tinyaudionet.TinyAudioNet, tinyaudionet.CONTRACT, tinyaudionet.SETTINGS),
    "tinystatnet": Architecture(tinystatnet.TinyStatNet, tinystatnet.CONTRACT, tinystatnet.SETTINGS),
    "specnet": Architecture(specnet.SpecNet, specnet.CONTRACT, pretrained=True),
    "rawnet2": Architecture(rawnet2.RawNet2, rawnet2.CONTRACT, rawnet2.SETTINGS),
    "rawnet3": Architecture(rawnet3.RawNet3, rawnet3.CONTRACT, rawnet3.SETTINGS),
    "ecapa_tdnn": Architecture(ecapa_tdnn.EcapaTdnn, ecapa_tdnn.CONTRACT, ecapa_tdnn.SETTINGS),
}


class LogOdds(nn.Module):
    """A network as exported for serving: returns the natural log-odds of 'synthetic', the difference of two logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, n_features)`` to log-odds ``(batch,)``."""
        logits: Tensor = self.network(frames)
        return logits[:, 1] - logits[:, 0]
