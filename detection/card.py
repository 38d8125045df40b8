"""The model card: the JSON file beside each ONNX file, with the contract of the model's input.

Serving, training and evaluation all take window, hop and features from the contract, so they cannot diverge.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from detection.decision.alarms import AlarmRates
from detection.decision.calibration import ChannelCalibration
from detection.signal.features import Features
from detection.strict import Strict
from detection.types import SAMPLE_RATE_HZ


class Contract(Strict):
    """Input of a model: windows of a fixed length, as frames of features or as samples."""

    sample_rate_hz: Literal[16_000] = 16_000
    window_s: PositiveFloat
    hop_s: PositiveFloat
    """Step between two windows in serving; a whole number of feature hops, so that windows share frames."""
    features: Features

    @property
    def window_samples(self) -> int:
        """Samples in one window."""
        return round(self.window_s * SAMPLE_RATE_HZ)

    @property
    def input_shape(self) -> tuple[int, int]:
        """Shape of one model input: ``(n_frames, n_features)``; ``(n_samples, 1)`` for samples."""
        return self.features.n_frames(self.window_samples), self.features.n_features


class Provenance(Strict):
    """Origin of the weights, for human readers."""

    data: str
    """The training data."""
    data_hash: str
    """`detection.training.data.data_hash` of the training clips."""
    recipe: str
    """The command and settings that produced the weights."""
    date: str
    licence_note: str
    """Consequences of the training data's licences for users of the weights."""
    limits: str
    """What the model cannot detect, and what it must not be used for."""
    metrics: dict[str, float]
    """Figures by name and channel, for these weights or their twin's, on sources, systems and speakers held out.

    They are slightly optimistic: training selects its best epoch by the error rate on the same clips. They do not
    replace a test set.
    """


class Card(Strict):
    """The JSON file beside an ONNX file."""

    format: Literal[2] = 2
    name: str
    architecture: str
    """Name in `detection.models.ARCHITECTURES`."""
    contract: Contract
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the ONNX file."""
    calibration: ChannelCalibration
    raise_p: float = Field(gt=0.5, lt=1)
    """Probability from which an alert is raised; few human voices of held-out sources reach it (see `provenance`)."""
    alarms: AlarmRates | None = None
    """Measured false alarms per hour by threshold; None until `callscreen detect calibrate` has measured them."""
    provenance: Provenance
