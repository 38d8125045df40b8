"""Synthetic sounds of telephone lines: tones, music, noise.  [S]"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from gateway.client.codecs import CLIP_RATE_HZ, Samples

NOISES = ("white", "pink", "babble")
_DTMF_ROWS, _DTMF_COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
_DTMF_KEYS = "123A456B789C*0#D"
DTMF_S, DTMF_PAUSE_S = 0.1, 0.1
_CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))
"""Am, F, C, G, as MIDI notes."""
_BEAT_S = 0.5


def dtmf(digits: str, level_db: float) -> Samples:
    """Return DTMF digits: 100 ms for each key, with pauses of 100 ms (ITU-T Q.23, Q.24)."""
    pause = np.zeros(round(DTMF_PAUSE_S * CLIP_RATE_HZ), np.float32)
    pieces = []
    for digit in digits:
        row, column = divmod(_DTMF_KEYS.index(digit), 4)
        pieces += [_tones((_DTMF_ROWS[row], _DTMF_COLUMNS[column]), DTMF_S, level_db), pause]
    return np.concatenate(pieces)


def ringback(duration_s: float, level_db: float) -> Samples:
    """Return the North American ringing tone: 440 and 480 Hz, 2 s on, 4 s off (ITU-T E.180)."""
    return _cadence((440, 480), 2.0, 4.0, duration_s, level_db)


def busy(duration_s: float, level_db: float) -> Samples:
    """Return the North American busy tone: 480 and 620 Hz, half a second on, half off (ITU-T E.180)."""
    return _cadence((480, 620), 0.5, 0.5, duration_s, level_db)


def beep(level_db: float) -> Samples:
    """Return the tone of a voicemail: 1 kHz, 0.4 s."""
    return _tones((1000,), 0.4, level_db)


def hold_music(duration_s: float, level_db: float, rng: np.random.Generator) -> Samples:
    """Return plucked chords with a bass and a random melody."""
    samples = np.zeros(round((duration_s + 2.0) * CLIP_RATE_HZ), np.float32)
    for beat in range(round(duration_s / _BEAT_S)):
        chord = _CHORDS[beat // 4 % len(_CHORDS)]
        notes = [(chord[beat % 3], 0.5), (chord[int(rng.integers(3))] + 12, 0.7)]
        if beat % 4 == 0:
            notes.append((chord[0] - 12, 1.0))
        start = round(beat * _BEAT_S * CLIP_RATE_HZ)
        for note, gain in notes:
            plucked = _pluck(440 * 2 ** ((note - 69) / 12), 1.6, rng)
            samples[start : start + len(plucked)] += gain * plucked[: len(samples) - start]
    return _levelled(samples[: round(duration_s * CLIP_RATE_HZ)], level_db)


def noise(kind: str, duration_s: float, rng: np.random.Generator) -> Samples:
    """Return ``white`` or ``pink`` noise (3 dB an octave) at an RMS of 0.1."""
    white = rng.standard_normal(round(duration_s * CLIP_RATE_HZ))
    if kind == "pink":
        spectrum = np.fft.rfft(white)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1.0))
        white = np.fft.irfft(spectrum, len(white))
    return _levelled(white, -20.0)


def babble(voices: list[Samples], duration_s: float, rng: np.random.Generator) -> Samples:
    """Return babble noise at an RMS of 0.1: the sum of recordings, repeated from random positions."""
    count = round(duration_s * CLIP_RATE_HZ)
    mixed = np.zeros(count, np.float32)
    for voice in voices:
        mixed += np.resize(np.roll(voice, int(rng.integers(len(voice)))), count)
    return _levelled(mixed, -20.0)


def _tones(frequencies_hz: tuple[int, ...], duration_s: float, level_db: float) -> Samples:
    times = np.arange(round(duration_s * CLIP_RATE_HZ)) / CLIP_RATE_HZ
    return _levelled(sum(np.sin(2 * np.pi * hz * times) for hz in frequencies_hz) + 0 * times, level_db)


def _cadence(tones_hz: tuple[int, ...], on_s: float, off_s: float, duration_s: float, level_db: float) -> Samples:
    once = np.concatenate([_tones(tones_hz, on_s, level_db), np.zeros(round(off_s * CLIP_RATE_HZ), np.float32)])
    return np.resize(once, round(duration_s * CLIP_RATE_HZ))


def _pluck(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Samples:
    """Return a plucked string by Karplus and Strong (Computer Music Journal, 1983)."""
    period = max(2, round(CLIP_RATE_HZ / frequency_hz))
    excitation = np.zeros(round(duration_s * CLIP_RATE_HZ))
    excitation[:period] = rng.uniform(-1, 1, period)
    feedback = np.zeros(period + 2)
    feedback[0], feedback[period], feedback[period + 1] = 1.0, -0.498, -0.498
    return np.asarray(lfilter([1.0], feedback, excitation), np.float32)


def _levelled(samples: NDArray[np.floating], level_db: float) -> Samples:
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) + 1e-12
    return np.asarray(np.clip(samples * (10 ** (level_db / 20) / rms), -1.0, 1.0), np.float32)
