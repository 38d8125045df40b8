"""PyTorch, the second backend: the very network that was exported, for checking the first and for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detection.card import Contract
from detection.errors import ModelError
from detection.models import ARCHITECTURES, LogOdds


class TorchBackend:
    """Frames in, raw log-odds out."""

    def __init__(self, network: nn.Module) -> None:
        self._network = LogOdds(network).eval()

    def log_odds(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map ``(batch, n_frames, n_features)`` to raw log-odds ``(batch,)``."""
        with torch.inference_mode():
            return np.asarray(self._network(torch.from_numpy(frames)).numpy(), np.float32)


def load_network(file: Path, contract: Contract | None = None) -> tuple[str, nn.Module]:
    """Read weights that training wrote; return the architecture's name and the network.

    Raises:
        ModelError: no such file, not such a file, or weights of another architecture.
    """
    try:
        state = torch.load(file, weights_only=True)
        name, weights = state["architecture"], state["weights"]
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    except Exception as error:  # whatever unpickling a stray file raises
        raise ModelError(f"{file}: not weights written by `detection train`") from error
    if name not in ARCHITECTURES:
        raise ModelError(f"{file}: architecture: expected one of {', '.join(ARCHITECTURES)}; got {name!r}")
    network = ARCHITECTURES[name].build(contract or ARCHITECTURES[name].contract)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{file}: weights of another architecture than {name}") from error
    return name, network.eval()
