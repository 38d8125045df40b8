"""A detector whose truth a test can set: loud speech is synthetic, quiet speech is human.

Everything around it is real; it stands in where a test is about what the gateway does with scores, not about the model.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from detection import Samples, Window, WindowScores
from detection.signal.audio import read_audio
from tests.conftest import REPOSITORY
from tests.detection.fakes import wide

LOUD_RMS = 0.03
VOICES = REPOSITORY / "sim" / "voices"


def speech(seconds: float, *, synthetic: bool) -> Samples:
    """Nearly unbroken speech, at the level that says what it is.

    Two voices: the quiet one must not pass for a leak of the loud one.
    """
    voice = "flite_slt" if synthetic else "flite_rms"
    samples = np.resize(read_audio(VOICES / voice / "1.ogg"), round(seconds * 16_000))
    rms = float(np.sqrt(np.mean(samples**2)))
    return np.asarray(samples * ((0.08 if synthetic else 0.012) / rms), np.float32)


class _Frontend:
    def inputs(self, window: Window) -> NDArray[np.float32]:
        return np.array([np.sqrt(np.mean(window.samples**2))], np.float32)


class LoudnessDetector:
    """Scores the level of a window. `hold` keeps it busy, as a machine that is too slow would."""

    name = "loudness@00000000"
    window_s = 3.0
    hop_s = 1.0
    raise_p = 0.9
    calibration_id = "loudness"

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()

    def frontend(self) -> _Frontend:
        return _Frontend()

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        self.free.wait(10)
        return wide(np.where(inputs[:, 0] > LOUD_RMS, 4.0, -4.0).astype(np.float32))
