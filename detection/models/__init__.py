"""The networks, by name. Importing this package imports torch: serving never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from detection.card import Contract
from detection.models import tinyaudionet, tinystatnet
from detection.training.settings import Settings


@dataclass(frozen=True)
class Architecture:
    """A network and the windows it is made for."""

    build: Callable[[Contract], nn.Module]
    contract: Contract
    settings: Settings = field(default_factory=Settings)
    """How it is trained best."""


ARCHITECTURES: dict[str, Architecture] = {
    "tinyaudionet": Architecture(tinyaudionet.TinyAudioNet, tinyaudionet.CONTRACT),
    "tinystatnet": Architecture(tinystatnet.TinyStatNet, tinystatnet.CONTRACT, tinystatnet.SETTINGS),
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
