"""Types shared by all of `detection`.

Audio is mono float32 in [-1, 1] at 16 kHz everywhere in `detection`. Times are *media* times: seconds from the first
sample of the leg. Nothing here reads a clock.
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
    """A stretch of one leg, of the length in the model's contract, that is scored as a unit."""

    start_s: float
    """Media time of the first sample."""
    samples: Samples
    """Shape ``(window_samples,)``."""
    fresh_samples: int
    """Samples at the end that the previous window of this leg did not contain; ``window_samples`` after a gap."""
    speech_s: float
    """Seconds of speech in `samples`, without silence, tones, DTMF, music and missing audio."""
    fresh_speech_s: float
    """Seconds of speech in the fresh samples; summed over the windows of a leg, they give its speech."""
    snr_db: float = math.inf
    """Ratio of speech level to the background level between words, as far as one window shows it."""
    out_of_domain: bool = False
    """Whether the speech is more muffled or clipped than the data that models are trained and measured on."""
    speech: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Which of its 20 ms frames (`activity.FRAME_SAMPLES`) hold speech, ``(n_frames,)``. A window that was filled by
    repeating its audio has fewer frames than its length."""

    @property
    def end_s(self) -> float:
        """Media time just after the last sample."""
        return self.start_s + len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Score:
    """The model's score of one window."""

    start_s: float
    end_s: float
    speech_s: float
    """Seconds of speech in the window."""
    fresh_speech_s: float
    """Seconds of speech in the fresh samples, which earlier windows did not contain."""
    log_odds: float
    """Calibrated natural log-odds; 0 is even odds, positive is synthetic."""
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
    """Scores of a batch of windows."""

    log_odds: NDArray[np.float32]
    """Calibrated natural log-odds of 'synthetic', shape ``(batch,)``."""
    narrow: NDArray[np.bool_]
    """Which windows came through a narrow channel (`detection.signal.bandwidth`), shape ``(batch,)``."""
