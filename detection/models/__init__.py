"""The networks, by name. Importing this package imports torch: serving never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from detection.card import Contract
from detection.models import ecapa_tdnn, rawnet2, rawnet3, specnet, tinyaudionet, tinystatnet
from detection.training.settings import Settings


@dataclass(frozen=True)
class Architecture:
    """A network and the windows it is made for."""

    build: Callable[[Contract], nn.Module]
    contract: Contract
    settings: Settings = field(default_factory=Settings)
    """How it is trained best."""
    pretrained: bool = False
    """Training starts from somebody's published weights, by `regress`."""


ARCHITECTURES: dict[str, Architecture] = {
    "tinyaudionet": Architecture(tinyaudionet.TinyAudioNet, tinyaudionet.CONTRACT, tinyaudionet.SETTINGS),
    "tinystatnet": Architecture(tinystatnet.TinyStatNet, tinystatnet.CONTRACT, tinystatnet.SETTINGS),
    "specnet": Architecture(specnet.SpecNet, specnet.CONTRACT, pretrained=True),
    "rawnet2": Architecture(rawnet2.RawNet2, rawnet2.CONTRACT, rawnet2.SETTINGS),
    "rawnet3": Architecture(rawnet3.RawNet3, rawnet3.CONTRACT, rawnet3.SETTINGS),
    "ecapa_tdnn": Architecture(ecapa_tdnn.EcapaTdnn, ecapa_tdnn.CONTRACT, ecapa_tdnn.SETTINGS),
}


class LogOdds(nn.Module):
    """A network as it is served: the natural log-odds of 'synthetic', which is what softmax over two logits says."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, n_features)`` to log-odds ``(batch,)``."""
        logits: Tensor = self.network(frames)
        return logits[:, 1] - logits[:, 0]
