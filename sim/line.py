"""Changes of the voice before the wire: room, noise, echo, codecs. Processes whole legs.  [S]"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import fftconvolve

from detection.signal.channels import CHANNELS, apply_channel
from gateway.client.codecs import CLIP_RATE_HZ, Samples

CODECS = tuple(name for name, channel in CHANNELS.items() if channel.codec and not channel.loss)
"""Names of codecs with their rates: ``mulaw``, ``alaw``, ``pstn`` (µ-law with 300 to 3400 Hz), ``g722``, ``gsm``,
``amrnb`` (12.2 kb/s), ``opus6`` to ``opus32`` (kb/s)."""
_ACTIVE_ABOVE_PEAK_DB = -35.0


def through_codecs(samples: Samples, names: Sequence[str]) -> Samples:
    """Send through codecs in series; the length stays the same, and each codec's delay remains in the audio."""
    for name in names:
        samples = apply_channel(samples, name)
    return samples


def in_room(samples: Samples, rt60_s: float, rng: np.random.Generator) -> Samples:
    """Convolve with a synthetic room impulse response: direct sound, then noise that decays by 60 dB in `rt60_s`.

    Polack's model of late reverberation, at 6 dB below the direct sound; same length.
    """
    tail = rng.standard_normal(round(rt60_s * CLIP_RATE_HZ)) * 10 ** (
        -3 * np.arange(round(rt60_s * CLIP_RATE_HZ)) / (rt60_s * CLIP_RATE_HZ)
    )
    early = round(0.004 * CLIP_RATE_HZ)
    tail[:early] = 0.0
    response = tail * 0.5 / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    return np.asarray(fftconvolve(samples, response)[: len(samples)], np.float32)


def with_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add `noise`, repeated, at this signal-to-noise ratio, measured while somebody speaks."""
    looped = np.resize(noise, len(samples))
    gain = speech_rms(samples) / (_rms(looped) + 1e-12) * 10 ** (-snr_db / 20)
    return np.asarray(samples + looped * np.float32(gain), np.float32)


def with_echo(samples: Samples, other: Samples, delay_ms: float, level_db: float) -> Samples:
    """Add the other leg, delayed and attenuated."""
    delay = round(delay_ms * CLIP_RATE_HZ / 1000)
    late = np.concatenate([np.zeros(delay, np.float32), other])[: len(samples)]
    return np.asarray(samples + late * np.float32(10 ** (level_db / 20)), np.float32)


def speech_rms(samples: Samples) -> float:
    """Return the RMS of the 20 ms frames within 35 dB of the loudest; for a silent leg, that of speech at -26 dB."""
    size = CLIP_RATE_HZ // 50
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    if not len(power) or power.max() < 1e-6:
        return float(10 ** (-26 / 20))
    return float(np.sqrt(np.mean(power[power > power.max() * 10 ** (_ACTIVE_ABOVE_PEAK_DB / 10)])))


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
