"""RawBoost's three noises of telephone equipment (Tak et al., ICASSP 2022), with the published parameters for 16 kHz.

Each function takes audio ``(n,)`` float32 and returns the same shape at about the same level.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin, freqz

from detection.types import SAMPLE_RATE_HZ, Samples

_NOTCHES = 5
_CENTRE_HZ = (20.0, 8_000.0)
_WIDTH_HZ = (100.0, 1_000.0)
_TAPS = (10, 100)
_POWERS = 5
_HARMONICS_DB = (-20.0, -5.0)
"""Gain of the higher powers relative to the linear part."""
_HIT_SHARE = 0.1
_HIT_GAIN = 2.0
_SNR_DB = (10.0, 40.0)


def convolutive(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add linear and non-linear convolutive noise: powers 1 to 5 of the signal, each through its own notch filters."""
    peak = float(np.max(np.abs(samples))) + 1e-9
    scaled = samples / peak
    total = np.zeros(len(samples))
    for power in range(1, _POWERS + 1):
        gain_db = 0.0 if power == 1 else rng.uniform(*_HARMONICS_DB)
        total += _filtered(scaled**power, notches(rng)) * 10 ** (gain_db / 20)
    total -= total.mean()
    return np.asarray(total / (np.max(np.abs(total)) + 1e-9) * peak, np.float32)


def impulsive(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add signal-dependent impulses: up to a tenth of the samples change in proportion to their value."""
    hit = rng.random(len(samples)) < rng.uniform(0, _HIT_SHARE)
    jolt = _HIT_GAIN * rng.uniform(-1, 1, len(samples)) * rng.uniform(-1, 1, len(samples))
    return np.where(hit, samples * (1 + jolt), samples).astype(np.float32)


def stationary(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add signal-independent noise, coloured by notch filters, 10 to 40 dB below the signal."""
    noise = _filtered(rng.standard_normal(len(samples)), notches(rng))
    share = np.linalg.norm(samples) / (np.linalg.norm(noise) + 1e-9) * 10 ** (-rng.uniform(*_SNR_DB) / 20)
    return np.asarray(samples + noise * share, np.float32)


def notches(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the impulse response of random band-stop filters in series, normalised to a peak gain of 1."""
    response = np.ones(1)
    for _ in range(_NOTCHES):
        centre_hz, width_hz = rng.uniform(*_CENTRE_HZ), rng.uniform(*_WIDTH_HZ)
        low_hz = max(centre_hz - width_hz / 2, 1.0)
        high_hz = min(centre_hz + width_hz / 2, SAMPLE_RATE_HZ / 2 - 1)
        taps = int(rng.integers(*_TAPS)) | 1  # a linear-phase band-stop needs an odd number
        response = np.convolve(response, firwin(taps, [low_hz, high_hz], fs=SAMPLE_RATE_HZ))
    _, gains = freqz(response)
    return np.asarray(response / np.max(np.abs(gains)), np.float64)


def _filtered(samples: NDArray[np.floating], response: NDArray[np.float64]) -> NDArray[np.float64]:
    late = len(response) // 2
    return np.asarray(fftconvolve(samples, response)[late : late + len(samples)], np.float64)
