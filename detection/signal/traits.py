"""Cache of the spectral measures of one leg's overlapping windows.  [S]

Windows overlap by two thirds, and their hop is a multiple of the step between spectra, so that windows share spectra.
Each spectrum is computed once and kept as the four numbers that the detectors of music and muffled speech use.
"""

from __future__ import annotations

import numpy as np

from detection.signal.domain import Bands, bands
from detection.signal.music import NO_PEAKS, Notes, notes
from detection.signal.spectra import STEP_SAMPLES, power_spectra
from detection.types import Samples


class Traits:
    """Spectral measures of one leg: call `of` for a window, or leave it out, and `advance` after each hop."""

    def __init__(self, hop_samples: int) -> None:
        self._hop = hop_samples
        self.clear()

    def clear(self) -> None:
        """Drop the cache: the next window does not overlap with the last one."""
        self._notes = Notes(np.zeros(0, np.float32), np.zeros(0, np.float32))
        self._bands: Bands = np.zeros((2, 0), np.float32)
        self._peaks = NO_PEAKS

    def advance(self) -> None:
        """Advance by one hop."""
        steps, beside = divmod(self._hop, STEP_SAMPLES)
        if beside or steps >= len(self._notes.loudness):
            self.clear()
        else:
            self._notes = Notes(self._notes.loudness[steps:], self._notes.steadiness[steps:])
            self._bands = self._bands[:, steps:]

    def of(self, samples: Samples) -> tuple[Notes, Bands]:
        """Return the measures of the next window, samples of shape ``(n,)``; the cache does not change the result."""
        spectra = power_spectra(samples[len(self._notes.loudness) * STEP_SAMPLES :])
        fresh, self._peaks = notes(spectra, self._peaks)
        self._notes = Notes(*map(np.concatenate, zip(self._notes, fresh, strict=True)))
        self._bands = np.concatenate((self._bands, bands(spectra)), axis=1)
        return self._notes, self._bands
