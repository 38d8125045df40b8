"""What is told of each spectrum of a window, kept for the next windows that hold that spectrum, too.  [S]

Windows overlap, by two thirds as they are cut here, and where their hop is a whole number of the spectra's steps, the
spectra of what they share are the same. So each is taken once, and as the four numbers by which music and muffled
speech are known it is carried from window to window.
"""

from __future__ import annotations

import numpy as np

from detection.signal.domain import Bands, bands
from detection.signal.music import NO_PEAKS, Notes, notes
from detection.signal.spectra import STEP_SAMPLES, power_spectra
from detection.types import Samples


class Traits:
    """Of one leg: ask `of` each window or leave it out, and `advance` between two that overlap."""

    def __init__(self, hop_samples: int) -> None:
        self._hop = hop_samples
        self.clear()

    def clear(self) -> None:
        """What comes next does not overlap with what came."""
        self._notes = Notes(np.zeros(0, np.float32), np.zeros(0, np.float32))
        self._bands: Bands = np.zeros((2, 0), np.float32)
        self._peaks = NO_PEAKS

    def advance(self) -> None:
        """Move on by one hop."""
        steps, beside = divmod(self._hop, STEP_SAMPLES)
        if beside or steps >= len(self._notes.loudness):
            self.clear()
        else:
            self._notes = Notes(self._notes.loudness[steps:], self._notes.steadiness[steps:])
            self._bands = self._bands[:, steps:]

    def of(self, samples: Samples) -> tuple[Notes, Bands]:
        """Return what is told of the spectra of the next window, shape ``(n,)``; the same as if nothing were kept."""
        spectra = power_spectra(samples[len(self._notes.loudness) * STEP_SAMPLES :])
        fresh, self._peaks = notes(spectra, self._peaks)
        self._notes = Notes(*map(np.concatenate, zip(self._notes, fresh, strict=True)))
        self._bands = np.concatenate((self._bands, bands(spectra)), axis=1)
        return self._notes, self._bands
