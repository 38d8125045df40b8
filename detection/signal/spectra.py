"""The power spectra of a window, taken once for all that is told from them: music, and where the heard band ends.  [S]

Judged at 8 kHz, as every line carries no more, and it halves the cost. They lie on another grid than those of speech
activity, 4 ms beside it: a window's begin with the window, activity's end with a frame of 20 ms, so that no frame waits
for audio after it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from detection.signal.framing import spans
from detection.types import SAMPLE_RATE_HZ, Samples

_RATE_HZ = SAMPLE_RATE_HZ // 2
_SPAN = 512  # tells two semitones apart from 130 Hz on
_STEP = 320

STEP_SAMPLES = _STEP * SAMPLE_RATE_HZ // _RATE_HZ
"""From the start of one spectrum to that of the next, in samples as they come."""
SPAN_S = _SPAN / _RATE_HZ
"""What one spectrum is taken of: 64 ms."""
STEP_S = _STEP / _RATE_HZ
"""From the start of one spectrum to that of the next: 40 ms."""
LINE_HZ = _RATE_HZ / _SPAN
"""From one line of a spectrum to the next."""

Spectra = NDArray[np.float32]
"""Power, shape ``(spectra, lines)``; line *n* lies at ``n * LINE_HZ``, the last at 4 kHz."""

_TAPER = np.hanning(_SPAN).astype(np.float32)


def power_spectra(samples: Samples) -> Spectra:
    """Return the spectra of samples, shape ``(n,)``; none when they don't fill one."""
    whole = len(samples) // 2 * 2
    halved = (samples[0:whole:2] + samples[1:whole:2]) * np.float32(0.5)
    framed = spans(halved, _SPAN, _STEP)
    if not len(framed):
        return np.zeros((0, _SPAN // 2 + 1), np.float32)
    spectrum = fft.rfft(framed * _TAPER, axis=1)
    power: Spectra = spectrum.real**2 + spectrum.imag**2
    return power


def lines(low_hz: float, high_hz: float) -> slice:
    """Return which lines of a spectrum lie from `low_hz` up to, not including, `high_hz`."""
    return slice(round(low_hz / LINE_HZ), round(high_hz / LINE_HZ))
