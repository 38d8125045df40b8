"""Power spectra of a window, shared by the detectors of music and muffled speech.  [S]

Computed at 8 kHz: telephone lines carry no more, and it halves the cost. The voice activity detector has spectra of its
own, 4 ms apart from these: here the first one starts with the window, there each one ends with a frame of 20 ms, so
that no frame waits for later audio.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from detection.signal.framing import spans
from detection.types import SAMPLE_RATE_HZ, Samples

_RATE_HZ = SAMPLE_RATE_HZ // 2
_SPAN = 512  # resolves semitones from 130 Hz on
_STEP = 320

STEP_SAMPLES = _STEP * SAMPLE_RATE_HZ // _RATE_HZ
"""Step between spectra, in samples at 16 kHz."""
SPAN_S = _SPAN / _RATE_HZ
"""Length of audio in one spectrum: 64 ms."""
STEP_S = _STEP / _RATE_HZ
"""Step between spectra: 40 ms."""
LINE_HZ = _RATE_HZ / _SPAN
"""Distance between two lines of a spectrum."""

Spectra = NDArray[np.float32]
"""Power, shape ``(spectra, lines)``; line *n* is at ``n * LINE_HZ``, the last one at 4 kHz."""

_TAPER = np.hanning(_SPAN).astype(np.float32)


def power_spectra(samples: Samples) -> Spectra:
    """Return the spectra of samples at 16 kHz, shape ``(n,)``; empty where there are too few for one."""
    whole = len(samples) // 2 * 2
    halved = (samples[0:whole:2] + samples[1:whole:2]) * np.float32(0.5)
    framed = spans(halved, _SPAN, _STEP)
    if not len(framed):
        return np.zeros((0, _SPAN // 2 + 1), np.float32)
    spectrum = fft.rfft(framed * _TAPER, axis=1)
    power: Spectra = spectrum.real**2 + spectrum.imag**2
    return power


def lines(low_hz: float, high_hz: float) -> slice:
    """Return the lines of a spectrum from `low_hz` up to, and without, `high_hz`."""
    return slice(round(low_hz / LINE_HZ), round(high_hz / LINE_HZ))
