"""Detects speech outside the models' domain: unlike all that they were trained and measured on.  [S]

There are two measures. The thresholds lie beyond the values of clean calls, of every codec supported here, and of the
strongest augmentation in training.

*Muffled.* The loudest spectra from 2.75 to 3.4 kHz, a range that even the narrowest telephone carries, are more than
42 dB below the loudest ones from 250 Hz to 2.5 kHz: the range holds only codec noise. Only spectra of speech count, not
those of digits and beeps. The narrowest band in training ends at 3 kHz.

*Clipped.* The ratio of the mean magnitude of speech to its root mean square is near 1, as in a square wave; it is 0.8
in Gaussian noise and 0.5 to 0.75 in speech. Unlike the number of samples at the peak, it survives a codec and a change
of rate after the overload. The strongest clipping in training is at a fifth of the peak.

Measured with ``tests/benchmarks/bench_domain.py`` on 120 people and 60 machines of held-out sources, one leg each: no
leg is out of domain as recorded, through the PSTN, G.722, GSM, AMR-NB, Opus, with packet loss, or in noise at 10 dB;
1 % are with a band that ends at 3 kHz, and 1 % with clipping at a fifth of the peak. With a band that ends steeply at
2 kHz 96 to 100 % are, whatever codec follows; at 2.5 kHz 46 %. With clipping at 5 % of the peak 75 % are, 60 % after
G.711, but only 4 % after a telephone's high-pass filter, which changes the flat wave form. A window costs 45 µs, given
its spectra.

Tried and not kept, because the models' accuracy did not suffer: a lower edge of the band up to 1.5 kHz, and levels so
low that G.711 has only a few steps left; there the voice activity detector finds hardly any speech.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from detection.signal.spectra import Spectra, lines
from detection.types import Samples

_TREBLE = lines(2_750.0, 3_400.0)
_BELOW = lines(250.0, 2_500.0)
_SHARE = 0.95
"""Share of spectra below the level that counts as loudest: fricatives are short, clicks are shorter."""
_MUFFLED_DB = -42.0
_CLIPPED = 0.82
_EPSILON = np.float32(1e-9)


Bands = NDArray[np.float32]
"""Power of spectra in the treble and in the range below it, shape ``(2, spectra)``."""


def bands(spectra: Spectra) -> Bands:
    """Return the power of each spectrum in the two ranges."""
    return np.stack([spectra[:, band].sum(axis=1) for band in (_TREBLE, _BELOW)])


def is_out_of_domain(levels: Bands, speech: Samples) -> bool:
    """Return whether a window is out of domain, from the bands of its speech and the samples of its speech.

    False where there is no speech. The samples may have any shape.
    """
    if not levels.size or not speech.size:
        return False
    return treble_db(levels) < _MUFFLED_DB or flatness(speech) > _CLIPPED


def treble_db(levels: Bands) -> float:
    """Return the level of the loudest treble relative to the loudest range below it, in dB; at least one spectrum."""
    place = int(_SHARE * (levels.shape[1] - 1))
    treble, below = np.partition(levels, place, axis=1)[:, place] + _EPSILON
    return float(10 * np.log10(treble / below))


def flatness(speech: Samples) -> float:
    """Return the mean magnitude divided by the root mean square, 0 to 1; 0 for digital silence.

    The mean is removed first: a DC offset, as cheap converters add, would raise the ratio.
    """
    samples = speech.ravel() - speech.mean()
    energy = float(blas.sdot(samples, samples))
    return float(blas.sasum(samples)) / (speech.size * energy) ** 0.5 if energy else 0.0
