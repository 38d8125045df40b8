"""A detector whose answer a test can foretell: where the model isn't the point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detection import Frontend, Fusion, Window, WindowScores
from detection.decision.calibration import Calibration, ChannelCalibration
from detection.decision.fusion import MEAN, FusedModel


class FakeDetector:
    """Gives every window the log-odds that `answer` holds for its place among the scored ones; the last one repeats."""

    name = "fake@00000000"
    raise_p = 0.9

    def __init__(self, *answer: float, window_s: float = 3.0, hop_s: float = 1.0) -> None:
        self.window_s = window_s
        self.hop_s = hop_s
        self.answer = answer
        self.seen: list[Window] = []

    def frontend(self) -> Frontend:
        """Return itself, having forgotten what it saw."""
        self.seen = []
        return self

    def inputs(self, window: Window) -> NDArray[np.float32]:
        """Note the window; its input is what it shall be answered."""
        self.seen.append(window)
        return np.array(self.answer[min(len(self.seen), len(self.answer)) - 1], np.float32)

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        """Answer as foretold."""
        return wide(inputs)


def wide(log_odds: NDArray[np.float32]) -> WindowScores:
    """Return these log-odds, of windows through a wide channel."""
    return WindowScores(log_odds, np.zeros(len(log_odds), np.bool_))


def mean_fusion(raise_p: float = 0.9) -> Fusion:
    """Return the fusion of two models by their mean."""
    plain = ChannelCalibration(wide=Calibration(), narrow=Calibration())
    light, heavy = (FusedModel(name=name, sha256="0" * 64, calibration=plain) for name in ("light", "heavy"))
    return Fusion(light=light, verifier=heavy, wide=MEAN, narrow=MEAN, raise_p=raise_p)
