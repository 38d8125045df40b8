"""Whether a window of speech is unlike all that the models were trained and measured on, as far as physics tells.  [S]

Two measures, each of which must lie beyond what clean calls, every codec here and training's hardest augmentation
reach:

*Muffled.* The loudest moments from 2.75 to 3.4 kHz, which even the narrowest telephone carries, lie more than 42 dB
below the loudest from 250 Hz to 2.5 kHz: nothing is heard there but the noise of a codec. Only speech is looked at, not
the digits and beeps beside it. Training's narrowest band ends at 3 kHz.

*Clipped.* The mean magnitude of speech is nearly its root mean square, as of a square wave: 1, where Gaussian noise has
0.8 and speech, mostly soft and seldom loud, 0.5 to 0.75. Unlike counting the samples stuck at the peak it survives a
codec and a change of rate behind the overload. Training clips at a fifth of the peak at its hardest.

Measured with ``tests/benchmarks/bench_domain.py`` on 120 people and 60 machines of sources held out, a leg each: none
is out of domain as recorded, through the PSTN, G.722, GSM, AMR-NB, Opus, lossy, or in noise at 10 dB; 1 % are where
the band ends at 3 kHz, and 1 % clipped at a fifth of the peak. Of those that end at 2 kHz, steeply, 96 to 100 % are,
whatever codec follows; at 2.5 kHz 46 %. Of those clipped at 5 % of the peak 75 % are, 60 % behind G.711, but 4 % behind
a telephone's high pass, which tilts what was flat. A window costs 45 µs, its spectra being there already.

Tried and not kept, for the models heard as well as ever: a lower edge of the band, up to 1.5 kHz, and levels so low
that G.711 has but a few steps left; there speech activity finds hardly anything.
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
"""Of spectra that are softer: fricatives are short, clicks are shorter."""
_MUFFLED_DB = -42.0
_CLIPPED = 0.82
_EPSILON = np.float32(1e-9)


Bands = NDArray[np.float32]
"""Power of spectra in the treble and below it, shape ``(2, spectra)``."""


def bands(spectra: Spectra) -> Bands:
    """Return what is told of spectra one by one."""
    return np.stack([spectra[:, band].sum(axis=1) for band in (_TREBLE, _BELOW)])


def is_out_of_domain(told: Bands, speech: Samples) -> bool:
    """Tell it of a window from the bands of its speech's spectra and the samples of it, in any shape; False without."""
    if not told.size or not speech.size:
        return False
    return treble_db(told) < _MUFFLED_DB or flatness(speech) > _CLIPPED


def treble_db(told: Bands) -> float:
    """Return how far the loudest treble lies above the loudest of what is below it, in dB; at least one spectrum."""
    place = int(_SHARE * (told.shape[1] - 1))
    treble, below = np.partition(told, place, axis=1)[:, place] + _EPSILON
    return float(10 * np.log10(treble / below))


def flatness(speech: Samples) -> float:
    """Return the mean magnitude over the root mean square, 0 to 1; 0 of digital silence.

    The mean is taken out first: a constant offset, as cheap converters add, is as flat as a square wave.
    """
    samples = speech.ravel() - speech.mean()
    energy = float(blas.sdot(samples, samples))
    return float(blas.sasum(samples)) / (speech.size * energy) ** 0.5 if energy else 0.0
