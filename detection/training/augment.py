"""Augmentation: room responses, noise, equipment, codecs and packet loss, applied equally to both classes.

Every step draws its strength at random without looking at the label, so no step can become a cue. Changing the code of
a step renders the clips anew (`bank.Bank`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from scipy.signal import fftconvolve

from detection.errors import AudioError, DataError
from detection.signal.audio import read_audio
from detection.signal.channels import ALAW, G722, GSM, MULAW, Codec, limit_band, lose_packets, opus, transcode
from detection.signal.features import hann
from detection.training import rawboost
from detection.training.data import read_rows
from detection.types import SAMPLE_RATE_HZ, Samples

_OPUS_BIT_RATES = (6_000, 8_000, 10_000, 12_000, 16_000, 20_000, 24_000, 32_000)
_PIECE_SAMPLES = 512
_RAMP_SAMPLES = 160
_SEEK_SAMPLES = 160
"""Largest offset of a piece from its nominal place; the period of the lowest voices is 200 samples."""
_AMR_BIT_RATES = (4_750, 5_150, 5_900, 6_700, 7_400, 7_950, 10_200, 12_200)


@dataclass(frozen=True)
class Surroundings:
    """Recordings used for augmentation."""

    noises: list[Samples]
    rooms: list[Samples]
    """Room impulse responses, starting at the direct sound, with peak 1."""


def load_surroundings(listing: Path) -> Surroundings:
    """Read noises and room impulse responses from a CSV with columns ``path`` and ``kind`` (``noise`` or ``rir``).

    Raises:
        DataError: as `read_rows`; another kind; audio that cannot be read; no noise, or no room response.
    """
    if not listing.is_file():
        raise DataError(f"{listing}: no such file (noise and room responses for augmentation)")
    noises, rooms = [], []
    for line, row in read_rows(listing, ("path", "kind")):
        if row["kind"] not in ("noise", "rir"):
            raise DataError(f"{listing}:{line}: kind: expected noise or rir, got {row['kind']!r}")
        try:
            samples = read_audio(listing.parent / row["path"])
        except AudioError as error:
            raise DataError(f"{listing}:{line}: path: {error}") from error
        peak = int(np.argmax(np.abs(samples)))
        if not samples[peak]:
            raise DataError(f"{listing}:{line}: path: expected audio, got silence: {row['path']}")
        if row["kind"] == "noise":
            noises.append(samples)
        else:
            rooms.append(samples[max(0, peak - 16) :] / np.abs(samples[peak]))
    if not noises or not rooms:
        raise DataError(f"{listing}: expected rows of kind noise and of kind rir")
    return Surroundings(noises, rooms)


def level(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add a faint noise floor and set a random level: neither silence nor loudness may be a cue."""
    floor_db = rng.uniform(-75, -45)
    with_floor = samples + _coloured_noise(len(samples), rng) * rms(samples) * 10 ** (floor_db / 20)
    target_rms = 10 ** (rng.uniform(-36, -16) / 20)
    return np.clip(with_floor * (target_rms / rms(with_floor)), -1, 1).astype(np.float32)


def augment_clip(samples: Samples, surroundings: Surroundings, rng: np.random.Generator) -> Samples:
    """Return one random augmentation of `samples`, of about the same length; one in eight stays clean."""
    if rng.random() < 0.125:
        return level(samples, rng)
    for chance, step in STEPS.values():
        if rng.random() < chance:
            samples = step(samples, surroundings, rng)
    samples = level(samples, rng)
    for _ in range(rng.choice([0, 1, 2], p=[0.2, 0.6, 0.2])):
        samples = through_codec(samples, rng)
    return samples


def augment_clip_by(name: str, samples: Samples, surroundings: Surroundings, rng: np.random.Generator) -> Samples:
    """Return `samples` augmented by one step of `STEPS` only, or by a codec, to measure the value of that step.

    Raises:
        DataError: no such step.
    """
    if name == "codec":
        return through_codec(level(samples, rng), rng)
    if name not in STEPS:
        raise DataError(f"{name!r}: expected a step of augmentation, one of {', '.join(STEPS)}, codec")
    return level(STEPS[name][1](samples, surroundings, rng), rng)


def with_pauses(samples: Samples, rng: np.random.Generator) -> Samples:
    """Keep a random part, a third to nine tenths, at a random place in a window of the same length over faint noise."""
    kept = int(len(samples) * rng.uniform(0.33, 0.9))
    start, at = (int(rng.integers(0, len(samples) - kept + 1)) for _ in range(2))
    voice = samples[start : start + kept].copy()
    ramp = min(_RAMP_SAMPLES, kept // 4)
    voice[:ramp] *= np.linspace(0, 1, ramp)
    voice[-ramp:] *= np.linspace(1, 0, ramp)
    window = np.zeros(len(samples), np.float32)
    window[at : at + kept] = voice
    noise = rng.standard_normal(len(samples)).astype(np.float32)
    return window + noise * np.float32(rms(voice) * 10 ** (-rng.uniform(45, 75) / 20))


def change_speed(samples: Samples, factor: float) -> Samples:
    """Play `factor` times faster: changes pitch, formants and tempo together, without vocoder artefacts."""
    return np.asarray(soxr.resample(samples, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ), np.float32)


def shift_pitch(samples: Samples, semitones: float) -> Samples:
    """Shift pitch and formants at constant tempo: time-domain stretching (no vocoder artefacts), then resampling."""
    factor = 2 ** (semitones / 12)
    return change_speed(stretch(samples, factor), factor)


def stretch(samples: Samples, factor: float) -> Samples:
    """Make the audio `factor` times longer at constant pitch, by overlap-add of 32 ms pieces aligned with the last one.

    WSOLA (Verhelst and Roelands, ICASSP 1993). Audio shorter than two pieces is returned unchanged.
    """
    if len(samples) < 2 * _PIECE_SAMPLES:
        return samples
    hop = _PIECE_SAMPLES // 2
    n_pieces = int(len(samples) * factor) // hop
    padded = np.pad(samples, (_PIECE_SAMPLES, 2 * _PIECE_SAMPLES))
    window = hann(_PIECE_SAMPLES)
    out = np.zeros((n_pieces + 1) * hop, np.float32)
    at = _PIECE_SAMPLES
    for piece in range(n_pieces):
        wanted = _PIECE_SAMPLES + int(piece * hop / factor)
        if piece:
            follows = padded[at + hop : at + hop + _PIECE_SAMPLES]
            near = padded[wanted - _SEEK_SAMPLES : wanted + _SEEK_SAMPLES + _PIECE_SAMPLES]
            at = wanted - _SEEK_SAMPLES + int(np.argmax(fftconvolve(near, follows[::-1], mode="valid")))
        out[piece * hop : piece * hop + _PIECE_SAMPLES] += window * padded[at : at + _PIECE_SAMPLES]
    return out


def clip_peaks(samples: Samples, rng: np.random.Generator) -> Samples:
    """Clip at 20 to 90 % of the peak, like an overdriven input."""
    most = float(np.max(np.abs(samples))) * rng.uniform(0.2, 0.9)
    return np.clip(samples, -most, most).astype(np.float32)


def in_room(samples: Samples, surroundings: Surroundings, rng: np.random.Generator) -> Samples:
    """Convolve with a room impulse response, with its reverberation attenuated at random."""
    room = surroundings.rooms[rng.integers(len(surroundings.rooms))].copy()
    room[48:] *= rng.uniform(0.2, 1.0)
    return np.asarray(fftconvolve(samples, room)[: len(samples)], np.float32)


def equalise(samples: Samples, rng: np.random.Generator) -> Samples:
    """Shape the spectrum like a microphone: a smooth random curve within ±10 dB, and random band limits."""
    spectrum = np.fft.rfft(samples)
    knots_db = rng.uniform(-10, 10, 9)
    gain_db = np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, 9) ** 2, knots_db)
    shaped = np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(samples)).astype(np.float32)
    high_hz = rng.uniform(3_000, 8_000) if rng.random() < 0.5 else SAMPLE_RATE_HZ / 2
    return limit_band(shaped, rng.uniform(20, 350), high_hz)


def distort(samples: Samples, rng: np.random.Generator) -> Samples:
    """Distort like equipment: overdrive, or one of RawBoost's three noises."""
    noises = (rawboost.convolutive, rawboost.impulsive, rawboost.stationary)
    kind = int(rng.integers(1 + len(noises)))
    if kind < len(noises):
        return noises[kind](samples, rng)
    peak = float(np.max(np.abs(samples))) + 1e-9
    drive = rng.uniform(1, 4)
    return np.asarray(np.tanh(samples / peak * drive) * peak / drive, np.float32)


def add_noise(samples: Samples, surroundings: Surroundings, rng: np.random.Generator) -> Samples:
    """Add a recorded noise, looped, at 5 to 30 dB below the speech."""
    noise = surroundings.noises[rng.integers(len(surroundings.noises))]
    noise = np.resize(np.roll(noise, rng.integers(len(noise))), len(samples))
    return np.asarray(samples + noise * (rms(samples) / rms(noise) * 10 ** (-rng.uniform(5, 30) / 20)), np.float32)


def through_codec(samples: Samples, rng: np.random.Generator) -> Samples:
    """Send through a random telephone codec; in 30 % of the cases with packet loss, concealed or silent."""
    codec = (
        MULAW,
        ALAW,
        G722,
        GSM,
        Codec("libopencore_amrnb", 8_000, int(rng.choice(_AMR_BIT_RATES))),
        opus(int(rng.choice(_OPUS_BIT_RATES))),
        Codec("g723_1", 8_000, 6_300),
    )[rng.choice(7, p=[0.2, 0.1, 0.12, 0.1, 0.15, 0.3, 0.03])]
    if codec.rate_hz == 8_000 and rng.random() < 0.5:
        samples = limit_band(samples, rng.uniform(50, 350), rng.uniform(3_200, 3_800))
    received = transcode(samples, codec)
    if rng.random() >= 0.3:
        return received
    return lose_packets(received, rng.uniform(0.005, 0.1), rng, concealed=bool(rng.random() < 0.6))


def rms(samples: Samples) -> float:
    """Return the root mean square plus 1e-7, so that it can be a divisor."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) + 1e-7


def _coloured_noise(n_samples: int, rng: np.random.Generator) -> Samples:
    """Return noise of unit power whose spectrum falls by a random 0 to 8 dB per octave."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples).astype(np.float32))
    spectrum *= np.maximum(np.arange(len(spectrum)), 8.0) ** -rng.uniform(0, 1.3)
    noise = np.fft.irfft(spectrum, n_samples).astype(np.float32)
    return noise / rms(noise)


Step = Callable[[Samples, Surroundings, np.random.Generator], Samples]

STEPS: Mapping[str, tuple[float, Step]] = {
    "speed": (0.4, lambda samples, _, rng: change_speed(samples, rng.uniform(0.92, 1.08))),
    "pitch": (0.15, lambda samples, _, rng: shift_pitch(samples, rng.uniform(-2, 2))),
    "room": (0.35, in_room),
    "equaliser": (0.4, lambda samples, _, rng: equalise(samples, rng)),
    "distortion": (0.25, lambda samples, _, rng: distort(samples, rng)),
    "noise": (0.45, add_noise),
    "clipping": (0.1, lambda samples, _, rng: clip_peaks(samples, rng)),
}
"""The steps of `augment_clip` before the codec, in order: probability and function."""
