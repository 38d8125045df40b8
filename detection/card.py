"""What a model file says about itself: the JSON card beside each ONNX file, and the contract in it.

Serving, training and evaluation all take window, hop and features from the contract, so they cannot drift apart.
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
    """What a model takes: windows of so many seconds, as frames of these features or as samples."""

    sample_rate_hz: Literal[16_000] = 16_000
    window_s: PositiveFloat
    hop_s: PositiveFloat
    """Step between two windows when serving; a whole number of feature hops, so that windows share frames."""
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
    """Where the weights come from, in plain words."""

    data: str
    """What it was trained on."""
    data_hash: str
    """`detection.training.data.data_hash` of the training clips."""
    recipe: str
    """The command and settings that made the weights."""
    date: str
    licence_note: str
    """What the licences of the training audio mean for whoever uses the weights."""
    limits: str
    """What the model cannot hear, and what it is not for."""
    metrics: dict[str, float]
    """Figures, by name and channel, of these weights or of their twin's, on sources, systems and people not trained on.

    No test: training stops, and picks its best epoch, by the error rate of these very clips, so they are somewhat kind.
    """


class Card(Strict):
    """The JSON beside an ONNX file."""

    format: Literal[2] = 2
    name: str
    architecture: str
    """Name in `detection.models.ARCHITECTURES`."""
    contract: Contract
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the ONNX file."""
    calibration: ChannelCalibration
    raise_p: float = Field(gt=0.5, lt=1)
    """Probability from which an alert is raised: few humans of unheard sources reach it (`provenance.metrics`)."""
    alarms: AlarmRates | None = None
    """False alarms per hour at other thresholds; None until `detection calibrate` has measured them."""
    provenance: Provenance
