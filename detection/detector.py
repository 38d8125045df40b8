"""The public interface of the detector: open a model by name, make a front end for each leg, score batches.

`Frontend` and `Detector` are separate for speed: a `Frontend` keeps the features that successive windows of one leg
share, so the overlap of two windows is computed once. `Detector.score` is stateless and takes windows of many legs in
one batch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from detection.backends.onnx import OnnxBackend
from detection.card import Card
from detection.decision.calibration import fingerprint
from detection.errors import ModelError
from detection.signal.bandwidth import is_narrow
from detection.signal.features import WindowFrontend
from detection.strict import read_strictly
from detection.types import Window, WindowScores

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped models."""

DEFAULT_MODEL = "tinyaudionet"
"""The model that `open_detector` opens by default."""

VERIFIER: str | None = "specnet"
"""The shipped verifier, which scores legs again as far as the CPU allows; None if none is shipped."""


class Frontend(Protocol):
    """Turns the successive windows of one leg into model inputs. One for each leg; not thread-safe."""

    def inputs(self, window: Window) -> NDArray[np.float32]:
        """Return the model input of `window`, without the batch axis: ``(n_frames, n_features)``.

        For a network on raw waveforms, ``(n_samples, 1)``.
        """
        ...


class Detector(Protocol):
    """A loaded model: stateless, safe to call from one thread at a time."""

    @property
    def name(self) -> str:
        """Model name with the start of its hash, e.g. ``tinyaudionet@1f3a9c2e``: the field `model` of events."""
        ...

    @property
    def window_s(self) -> float:
        """Length of the window the model was trained on, in seconds."""
        ...

    @property
    def hop_s(self) -> float:
        """Step between two windows, in seconds."""
        ...

    @property
    def raise_p(self) -> float:
        """Rolling probability from which an alert is raised, chosen with the model's calibration."""
        ...

    def frontend(self) -> Frontend:
        """Return a fresh front end for one leg."""
        ...

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        """Return the scores of stacked front-end outputs, ``(batch, n_frames, n_features)``."""
        ...


class Backend(Protocol):
    """Runs a network."""

    def log_odds(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map frames ``(batch, n_frames, n_features)`` to raw log-odds ``(batch,)``."""
        ...


class CardDetector:
    """The `Detector` that a model card describes, on either backend."""

    def __init__(self, card: Card, backend: Backend, folder: Path | None = None) -> None:
        """Take the card, the backend, and the folder of the model's files; None if it has none."""
        self.card = card
        self.backend = backend
        self.folder = folder

    @property
    def name(self) -> str:
        """Model name with the start of its hash."""
        return f"{self.card.name}@{self.card.sha256[:8]}"

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.card.contract.window_s

    @property
    def hop_s(self) -> float:
        """Step between two windows in seconds."""
        return self.card.contract.hop_s

    @property
    def raise_p(self) -> float:
        """Rolling probability from which an alert is raised."""
        return self.card.raise_p

    @property
    def calibration_id(self) -> str:
        """Fingerprint of its calibration."""
        return fingerprint(self.card.calibration)

    def raise_p_for(self, alerts_per_hour: float) -> float:
        """Return the lowest threshold with at most `alerts_per_hour` false alarms expected per hour of human speech.

        Raises:
            ModelError: they were never measured, or the measurement is too short to show so low a rate.
        """
        if self.card.alarms is None:
            raise ModelError(f"{self.name}: no measured false alarms (`callscreen detect calibrate` measures them)")
        return self.card.alarms.raise_p_for(alerts_per_hour)

    def frontend(self) -> WindowFrontend:
        """Return a fresh front end for one leg."""
        return WindowFrontend(self.card.contract.features, self.card.contract.window_samples)

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        """Return calibrated log-odds and channel classes of windows, ``(batch, n_frames, n_features)``."""
        narrow = is_narrow(inputs, self.card.contract.features)
        return WindowScores(self.card.calibration.apply(self.backend.log_odds(inputs), narrow), narrow)


class Elsewhere:
    """The `Backend` of a model that another process runs."""

    def log_odds(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ARG002
        """Raise `ModelError`."""
        raise ModelError("the network was not loaded here")


def open_detector(
    name_or_path: str | Path = DEFAULT_MODEL, backend: Literal["onnx", "torch", "elsewhere"] = "onnx"
) -> CardDetector:
    """Open a shipped model by name, or an ONNX file with its card beside it (``X.onnx`` and ``X.json``) by path.

    Backend ``torch`` runs the weights that `train` wrote, ``X.pt`` beside the card; it needs the `train` extra.
    ``elsewhere`` loads no network: for who needs to know the model, and lets another process score.

    Raises:
        ModelError: no such model, a card with missing or unknown fields, a file that is not the one its card
            describes, a network that takes another input than the card says, or weights of another architecture.
    """
    file = find_model(name_or_path)
    card = read_card(file.with_suffix(".json"))
    if backend == "torch":
        from detection.backends.torch import TorchBackend, load_network  # optional, and slow to import

        _, network = load_network(file.with_suffix(".pt"), card)
        return CardDetector(card, TorchBackend(network), file.parent)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    if sha256 != card.sha256:
        raise ModelError(f"{file}: not the file its card describes: sha256 {sha256[:8]}…, card {card.sha256[:8]}…")
    runs = OnnxBackend(file, card.contract.input_shape) if backend == "onnx" else Elsewhere()
    return CardDetector(card, runs, file.parent)


def read_card(file: Path) -> Card:
    """Read a model card strictly; raise `ModelError` naming the first field that is wrong."""
    return read_strictly(Card, file)


def find_model(name_or_path: str | Path) -> Path:
    """Return the ONNX file of a shipped model, or the one at a path; raise `ModelError` where there is none."""
    if Path(name_or_path).suffix == ".onnx":
        file = Path(name_or_path)
        if not file.is_file():
            raise ModelError(f"{file}: no such model file")
        return file
    file = WEIGHTS / f"{name_or_path}.onnx"
    if not file.is_file():
        known = ", ".join(sorted(model.stem for model in WEIGHTS.glob("*.onnx")))
        raise ModelError(f"model: expected a path to an .onnx file or one of {known}; got {str(name_or_path)!r}")
    return file
