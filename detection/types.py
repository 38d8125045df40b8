"""The few shapes that every part of the detector agrees on.

Audio is mono float32 in [-1, 1] at 16 kHz everywhere inside `detection`. Times are seconds of *media* time, counted
from the first sample of the leg; nothing here reads a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000

Samples = NDArray[np.float32]
"""Mono audio, float32, nominally in [-1, 1], at `SAMPLE_RATE_HZ`; shape ``(n_samples,)``."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one leg, as long as the model's contract says, that is scored as one piece."""

    start_s: float
    """Media time of the first sample."""
    samples: Samples
    """Shape ``(window_samples,)``."""
    fresh_samples: int
    """How many samples at the end the previous window of this leg did not hold; ``window_samples`` after a gap."""
    speech_s: float
    """Seconds of `samples` that hold speech: not silence, tones, DTMF, music or audio that never arrived."""
    fresh_speech_s: float
    """Seconds of speech among the fresh samples; over the windows of a leg they sum to the speech it held."""
    snr_db: float = math.inf
    """How far the speech stands out from what is heard between words, as far as a window tells."""
    out_of_domain: bool = False
    """Whether the speech is muffled or clipped beyond all that models are trained and measured on."""
    speech: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Which of its frames of 20 ms (`activity.FRAME_SAMPLES`) hold speech, ``(n_frames,)``; fewer than fill the window
    where a tail is repeated to fill it."""

    @property
    def end_s(self) -> float:
        """Media time just after the last sample."""
        return self.start_s + len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Score:
    """What the model said of one window."""

    start_s: float
    end_s: float
    speech_s: float
    """Seconds of speech in the window."""
    fresh_speech_s: float
    """Seconds of speech among the fresh samples: what this window adds to the windows before it."""
    log_odds: float
    """Calibrated natural log-odds that the voice is synthetic; 0 is even odds, positive is synthetic."""
    snr_db: float = math.inf
    """As in `Window`."""
    out_of_domain: bool = False
    """As in `Window`."""
    narrow: bool = False
    """Whether the window came through a narrow channel (`detection.signal.bandwidth`)."""

    @classmethod
    def of(cls, window: Window, log_odds: float, narrow: bool = False) -> Score:
        """Return the score of `window`."""
        return cls(
            window.start_s,
            window.end_s,
            window.speech_s,
            window.fresh_speech_s,
            log_odds,
            window.snr_db,
            window.out_of_domain,
            narrow,
        )


class WindowScores(NamedTuple):
    """What a model says of a batch of windows."""

    log_odds: NDArray[np.float32]
    """Calibrated natural log-odds of 'synthetic', shape ``(batch,)``."""
    narrow: NDArray[np.bool_]
    """Which windows came through a narrow channel (`detection.signal.bandwidth`), shape ``(batch,)``."""
