"""Copy-synthesis: human speech analysed and synthesised again, as by a vocoder, as further synthetic training data.

A copy has the speaker, words, room, microphone and page of its original, so the only difference between them is the
synthesis (Wang and Yamagishi, "Spoofed training data for speech spoofing countermeasure can be efficiently created
using neural vocoders", ICASSP 2023; here with vocoders that need no training). It also gives synthetic clips to pages
that have human clips only.

Each function takes audio ``(n,)`` float32 at 16 kHz and a random generator, and returns a copy of the same length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyworld
from numpy.typing import NDArray
from scipy import fft
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from detection.signal.features import FeatureSpec, band_weights, hann
from detection.types import SAMPLE_RATE_HZ, Samples

Spectrum = NDArray[np.complex64]
Magnitude = NDArray[np.float32]

_FFT, _HOP = 1024, 256
_LPC_ORDER = 18
_LPC_FRAME, _LPC_HOP = 512, 128
_HANN_OVERLAP = 0.5
"""Hann windows at a quarter of their length sum to two."""


def griffin_lim(samples: Samples, rng: np.random.Generator) -> Samples:
    """Synthesise from 80 or 100 mel bands, with phases by fast Griffin-Lim (Perraudin et al., WASPAA 2013)."""
    magnitude = through_mel(np.abs(_analyse(samples)), int(rng.choice([80, 100])))
    turned = np.exp(2j * np.pi * rng.random(magnitude.shape)).astype(np.complex64)
    before = np.zeros_like(turned)
    for _ in range(int(rng.integers(8, 32))):
        consistent = _analyse(_synthesise(magnitude * turned, len(samples)))[: len(magnitude)]
        pushed = consistent + np.float32(0.99) * (consistent - before)
        before = consistent
        turned = pushed / np.maximum(np.abs(pushed), np.float32(1e-9))
    return _synthesise(magnitude * turned, len(samples))


def smoothed(samples: Samples, rng: np.random.Generator) -> Samples:
    """Synthesise from 80 mel bands and the original phases: the blurred spectrum of a vocoder with true phases."""
    del rng  # deterministic
    spectrum = _analyse(samples)
    magnitude = np.abs(spectrum)
    return _synthesise(spectrum * (through_mel(magnitude, 80) / np.maximum(magnitude, 1e-9)), len(samples))


def world(samples: Samples, rng: np.random.Generator) -> Samples:
    """Synthesise with WORLD (Morise et al., 2016) from pitch, envelope and aperiodicity; half the time at other
    pitch."""
    audio = samples.astype(np.float64)
    pitch_hz, times_s = pitch(audio)
    envelope = pyworld.cheaptrick(audio, pitch_hz, times_s, SAMPLE_RATE_HZ)
    aperiodicity = pyworld.d4c(audio, pitch_hz, times_s, SAMPLE_RATE_HZ)
    shift = rng.uniform(0.87, 1.15) if rng.random() < 0.5 else 1.0
    copy = pyworld.synthesize(pitch_hz * shift, envelope, aperiodicity, SAMPLE_RATE_HZ)[: len(samples)]
    return np.pad(copy, (0, len(samples) - len(copy))).astype(np.float32)


def lpc(samples: Samples, rng: np.random.Generator) -> Samples:
    """Synthesise by linear prediction (Atal, 1971): pulses at the pitch, or noise, through a filter updated every 8
    ms."""
    audio = np.pad(samples.astype(np.float64), _LPC_FRAME)
    excitation = _pulses_or_noise(audio, rng)
    window = np.asarray(hann(_LPC_FRAME), np.float64)
    out = np.zeros(len(audio))
    for start in range(0, len(audio) - _LPC_FRAME, _LPC_HOP):
        place = slice(start, start + _LPC_FRAME)
        frame = audio[place] * window
        lags = fft.irfft(np.abs(fft.rfft(frame, 2 * _LPC_FRAME)) ** 2)[: _LPC_ORDER + 1]
        if lags[0] < 1e-7:
            continue
        lags[0] *= 1 + 1e-4  # keeps the filter stable
        filtered = lfilter([1.0], [1.0, *-solve_toeplitz(lags[:-1], lags[1:])], excitation[place])
        out[place] += window * filtered * np.sqrt(lags[0] / (np.sum((filtered * window) ** 2) + 1e-9)) * _HANN_OVERLAP
    return out[_LPC_FRAME : _LPC_FRAME + len(samples)].astype(np.float32)


def _pulses_or_noise(audio: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return unit pulses at the pitch in voiced parts and noise elsewhere, ``(n,)``."""
    pitch_hz, times_s = pitch(audio)
    at_samples = np.interp(np.arange(len(audio)) / SAMPLE_RATE_HZ, times_s, pitch_hz)
    turns = np.floor(np.cumsum(at_samples) / SAMPLE_RATE_HZ)
    pulses = np.diff(turns, prepend=0.0) * np.sqrt(SAMPLE_RATE_HZ / np.maximum(at_samples, 50.0))
    return np.where(at_samples > 50, pulses, rng.standard_normal(len(audio)))


def pitch(audio: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return pitch in Hz, 0 if unvoiced, and times in seconds, each ``(frames,)``, one frame every 5 ms."""
    rough_hz, times_s = pyworld.dio(audio, SAMPLE_RATE_HZ)
    return pyworld.stonemask(audio, rough_hz, times_s, SAMPLE_RATE_HZ), times_s


def through_mel(magnitude: Magnitude, bands: int) -> Magnitude:
    """Return a non-negative spectrum ``(frames, bins)`` with the same mel bands, by multiplicative updates (Lee,
    Seung)."""
    mel = band_weights(FeatureSpec(fft_samples=_FFT, hop_samples=_HOP, bands=bands))
    wanted = magnitude @ mel
    guess = np.maximum(wanted @ np.linalg.pinv(mel), 1e-8).astype(np.float32)
    for _ in range(8):
        guess *= (wanted @ mel.T) / np.maximum(guess @ mel @ mel.T, 1e-9)
    return guess


def _analyse(samples: Samples) -> Spectrum:
    padded = np.pad(samples, _FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    return np.asarray(fft.rfft(frames * hann(_FFT)), np.complex64)


def _synthesise(spectrum: Spectrum, n_samples: int) -> Samples:
    frames = fft.irfft(spectrum, _FFT) * hann(_FFT)
    overlap = _FFT // _HOP
    blocks = np.zeros((len(frames) + overlap, _HOP), np.float32)
    for part in range(overlap):
        blocks[part : part + len(frames)] += frames[:, part * _HOP : (part + 1) * _HOP]
    audio = blocks.reshape(-1)[_FFT // 2 : _FFT // 2 + n_samples] / 1.5  # the squared windows overlap to 1.5
    return np.pad(audio, (0, n_samples - len(audio))).astype(np.float32)


VOCODERS: Mapping[str, Callable[[Samples, np.random.Generator], Samples]] = {
    "griffin-lim": griffin_lim,
    "smoothed": smoothed,
    "world": world,
    "lpc": lpc,
}
"""The methods of copy-synthesis by name."""
