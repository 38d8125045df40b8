"""PyTorch, the second backend: runs the network before export, for training and for checking the ONNX file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detection.card import Card
from detection.errors import ModelError
from detection.models import ARCHITECTURES, LogOdds


class TorchBackend:
    """Runs a PyTorch network."""

    def __init__(self, network: nn.Module) -> None:
        self._network = LogOdds(network).eval()

    def log_odds(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map ``(batch, n_frames, n_features)`` to raw log-odds ``(batch,)``."""
        with torch.inference_mode():
            return np.asarray(self._network(torch.from_numpy(frames)).numpy(), np.float32)


def load_network(file: Path, card: Card | None = None) -> tuple[str, nn.Module]:
    """Read weights that training wrote; return the architecture's name and the network.

    The network is built for the contract of `card`, or else for that of the architecture.

    Raises:
        ModelError: no such file, another kind of file, or weights of another architecture than stated.
    """
    state = read_saved(file, "weights", ("architecture", "weights"))
    name = state["architecture"]
    if name not in ARCHITECTURES:
        raise ModelError(f"{file}: architecture: expected one of {', '.join(ARCHITECTURES)}; got {name!r}")
    if card and card.architecture != name:
        raise ModelError(f"{file}: weights of {name}, card of {card.architecture}")
    network = ARCHITECTURES[name].build(card.contract if card else ARCHITECTURES[name].contract)
    load_weights(network, state["weights"], file)
    return name, network.eval()


def read_saved(file: Path, what: str, fields: Collection[str]) -> dict[str, Any]:
    """Read a dictionary with at least these `fields` that training saved; `what` names its content in errors.

    Raises:
        ModelError: no such file, or not written by training, or truncated.
    """
    try:
        state = torch.load(file, weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    except Exception as error:  # unpickling an arbitrary file can raise anything
        raise ModelError(f"{file}: not {what} written by `detection train`") from error
    if not isinstance(state, dict) or not set(fields) <= state.keys():
        raise ModelError(f"{file}: not {what} written by `detection train`")
    return state


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], file: Path) -> None:
    """Load `weights` strictly.

    Raises:
        ModelError: they belong to another architecture.
    """
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"{file}: weights of another architecture than {type(network).__name__}") from error
