"""Distinguishes a leg's own voice from the voice of another leg that leaks into it: echo, crosstalk, loudspeakers.  [S]

A leaked synthetic voice must not raise an alert on the leg into which it leaks. So before a window is scored, its audio
is compared with that of the call's other legs around that time: a copy of another leg's audio, quieter and up to
`MAX_DELAY_S` later, is that leg's voice. Two people who talk at once are not copies of each other, however loud, and
neither is a speaker over an echo: those windows are scored.

Method: both legs are filtered to the band where voices are strongest (250 to 950 Hz), as complex samples at 1 kHz, so
that a constant phase shift does not matter, and levelled, so that a faint leak between loud words counts for its full
duration. One second of the leg is then correlated with the other at every delay. At the best delay, if it correlates,
each frame of 0.1 s that is a scaled copy is marked as leaked. The media clocks of two legs are unrelated; arrival times
relate them.

Measured on pairs of clips of the development corpus through G.711: unrelated voices correlate up to 0.2, the same voice
0.35 to 0.99 (delays 3 to 490 ms, -10 to -40 dB). A second of a leg costs 0.07 ms of CPU if speakers take turns and 0.13
ms if all talk all the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from detection import Samples, Window
from detection.types import SAMPLE_RATE_HZ
from gateway.ingest.events import LegId

MAX_DELAY_S = 0.5
"""Greatest delay of a leak."""
SKEW_S = 0.2
"""Greatest difference of the transport delays of two legs."""
MAX_GAIN = 0.7
"""A leak is quieter than its source, by at least 3 dB; of two equally loud ones, neither is known to be the copy."""
LEAKED_SHARE = 0.4
"""A window in which this share of the speech is leaked is not scored."""

_RATE_HZ = 1000
_STEP = SAMPLE_RATE_HZ // _RATE_HZ
_CENTRE_HZ = 600
_PIECES = 4
_TAPS = (
    _PIECES * _STEP
)  # a Hann window of 4 ms: -6 dB at 250 Hz off the centre, zero at 500 Hz, where aliasing would begin
_STRETCH = _RATE_HZ  # compared at a time
_FRAME = _RATE_HZ // 10
_HISTORY = 5 * _RATE_HZ
_FLAGS_KEPT = 30 * _RATE_HZ // _FRAME
_FILTER_S = 1.0
_BEHIND_S = 0.3  # the other leg's last block may not be decoded and resampled yet
_HOLD = round((SKEW_S + _BEHIND_S) * _RATE_HZ)
_LAGS = round((MAX_DELAY_S + 2 * SKEW_S) * _RATE_HZ)
_ARRIVALS = 10
_LEVELLING = 64  # samples

_ALIKE = 0.3
_ALIKE_FRAME = 0.5  # squared; two voiced sounds of equal pitch are alike for 0.1 s by chance
_MIN_ACTIVE = 0.15
_SILENCE = np.float32(1e-4)  # -80 dBFS: half a step of 13 bits

_TAPER = np.hanning(_TAPS + 2)[1:-1]
_CARRIER = np.exp(-2j * np.pi * _CENTRE_HZ * np.arange(_TAPS) / SAMPLE_RATE_HZ) * (_TAPER / _TAPER.sum())
_BAND = _CARRIER.astype(np.complex64).reshape(_PIECES, _STEP).T.copy().view(np.float32)
"""The filter in pieces of one output's length, shape ``(_STEP, 2 * _PIECES)``: so the audio need not be laid out in
overlapping spans."""

_Complex = NDArray[np.complex64]


class Crosstalk:
    """Compares all legs of one call: `add` the audio of each, then ask whether a window `is_leak`."""

    def __init__(self) -> None:
        self._legs: dict[LegId, _LegAudio] = {}

    def add(self, leg: LegId, start_s: float, samples: Samples, received_s: float) -> None:
        """Add the next samples of a leg, shape ``(n,)`` at 16 kHz.

        Args:
            leg: the leg.
            start_s: media time of the first sample, on this leg's own clock.
            samples: as in `gateway.call.leg.Run`.
            received_s: arrival of the last sample, on one clock for all legs.
        """
        if leg not in self._legs:
            self._legs[leg] = _LegAudio()
        self._legs[leg].push(start_s, samples, received_s)

    def forget(self, leg: LegId) -> None:
        """Remove a leg that has ended."""
        self._legs.pop(leg, None)

    def is_leak(self, leg: LegId, window: Window) -> bool:
        """Whether so much of a leg's newest window is another leg's voice that it must not be scored.

        The newest 0.5 s count as the leg's own voice, because the other leg's audio may not have arrived.
        """
        audio = self._legs[leg]
        others = [other for name, other in self._legs.items() if name != leg]
        for start in audio.uncompared():
            for other in others:
                audio.mark(start, other)
        return audio.leaked_s(window.start_s, window.end_s) >= LEAKED_SHARE * window.speech_s


class _LegAudio:
    """The last seconds of one leg, and the frames of it that are another leg's voice. Positions are in samples at 1
    kHz."""

    def __init__(self) -> None:
        self._pending: list[Samples] = []
        self._pending_s = 0.0
        self._rest = np.zeros(0, np.float32)
        self._end_s = 0.0
        self._end = 0
        """Media time after the last sample added, and position after the last one filtered."""
        self._band = np.zeros((2, _HISTORY), np.complex64)
        """The filtered audio, and the same levelled; it ends at `_end`."""
        self._power = np.zeros(_LEVELLING)
        self._arrivals: deque[float] = deque(maxlen=_ARRIVALS)
        self._compared = 0
        self._leaked: deque[int] = deque(maxlen=_FLAGS_KEPT)
        """Numbers of the leaked frames."""

    def push(self, start_s: float, samples: Samples, received_s: float) -> None:
        """Add the next samples."""
        if start_s - self._end_s > 1 / _RATE_HZ:
            self._skip_to(round(start_s * _RATE_HZ))
        self._pending.append(samples)
        self._pending_s += len(samples) / SAMPLE_RATE_HZ
        self._end_s = start_s + len(samples) / SAMPLE_RATE_HZ
        self._arrivals.append(received_s - self._end_s)
        if self._pending_s >= _FILTER_S:
            self._filter()

    def uncompared(self) -> Iterator[int]:
        """Yield the starts of the parts that can be compared by now and were not yet."""
        self._filter()
        end = (self._end - _HOLD) // _FRAME * _FRAME
        first = max(self._compared, self._end - _HISTORY)
        if end - _STRETCH < 0 or end - first < _FRAME:
            return
        self._compared = end
        for start in range(first // _FRAME * _FRAME, end, _STRETCH):
            yield min(start, end - _STRETCH)

    def mark(self, start: int, other: _LegAudio) -> None:
        """Mark the frames of a part of this leg that are the other leg's voice."""
        other._filter()
        offset = min(self._arrivals) - min(other._arrivals)
        earliest = start + round((offset - MAX_DELAY_S - SKEW_S) * _RATE_HZ)
        mine, theirs = self._slice(start, _STRETCH), other._slice(earliest, _STRETCH + _LAGS)
        lag = _best_lag(mine[1], theirs[1])
        if lag is None:
            return
        copies = _copies(mine[0], theirs[0, lag : lag + _STRETCH])
        self._leaked.extend(start // _FRAME + np.flatnonzero(copies))

    def leaked_s(self, from_s: float, to_s: float) -> float:
        """Return the duration of marked frames between two media times, in seconds."""
        first, end = from_s * _RATE_HZ / _FRAME, to_s * _RATE_HZ / _FRAME
        return len({frame for frame in self._leaked if first <= frame < end}) * _FRAME / _RATE_HZ

    def _skip_to(self, position: int) -> None:
        """Filter the audio before a gap, and put silence in place of the gap."""
        self._filter()
        self._rest = np.zeros(0, np.float32)
        missing = position - self._end
        self._append(np.zeros((2, min(missing, _HISTORY)), np.complex64))
        self._end = position

    def _filter(self) -> None:
        """Filter the pending audio in one piece, since the calls cost more than the arithmetic."""
        audio = np.concatenate([self._rest, *self._pending])
        self._pending, self._pending_s = [], 0.0
        count = len(audio) // _STEP - _PIECES + 1
        if count <= 0:
            self._rest = audio
            return
        self._rest = audio[count * _STEP :].copy()
        filtered = (audio[: (count + _PIECES - 1) * _STEP].reshape(-1, _STEP) @ _BAND).view(np.complex64)
        band = filtered[:count, 0].copy()
        for piece in range(1, _PIECES):
            band += filtered[piece : piece + count, piece]
        power = np.concatenate((self._power, band.real**2 + band.imag**2))
        self._power = power[-_LEVELLING:]
        sums = np.cumsum(power, dtype=np.float64)
        level = np.sqrt((sums[_LEVELLING:] - sums[:-_LEVELLING]) / _LEVELLING).astype(np.float32)
        self._append(np.stack((band, band / (level + _SILENCE))))

    def _append(self, band: _Complex) -> None:
        self._band = np.concatenate((self._band, band), axis=1)[:, -_HISTORY:]
        self._end += band.shape[1]

    def _slice(self, start: int, size: int) -> _Complex:
        """Return `size` samples from a position; zeros where nothing is known."""
        first = start - (self._end - _HISTORY)
        known = self._band[:, max(0, first) : max(0, first + size)]
        if known.shape[1] == size:
            return known
        padded = np.zeros((2, size), np.complex64)
        at = max(0, -first)
        padded[:, at : at + known.shape[1]] = known
        return padded


def _best_lag(mine: _Complex, theirs: _Complex) -> int | None:
    """Return the position in the levelled `theirs` at which the levelled `mine` is found, or None."""
    active = float(np.vdot(mine, mine).real)
    floor = _MIN_ACTIVE * len(mine)
    if active < floor or np.vdot(theirs, theirs).real < floor:  # most of a call: only one of both talks
        return None
    sums = np.cumsum(np.concatenate((np.zeros(1), theirs.real**2 + theirs.imag**2)))
    size = fft.next_fast_len(len(theirs))
    spectrum = fft.fft(theirs, size) * np.conj(fft.fft(mine, size))
    lags = len(theirs) - len(mine) + 1
    energy = np.maximum(sums[len(mine) :] - sums[:lags], floor)
    likeness = np.abs(fft.ifft(spectrum)[:lags]) / np.sqrt(active * energy)
    best = int(likeness.argmax())
    return best if likeness[best] > _ALIKE else None


def _copies(mine: _Complex, theirs: _Complex) -> NDArray[np.bool_]:
    """Return which frames of `mine` are scaled-down copies of `theirs`."""
    mine, theirs = mine.reshape(-1, _FRAME), theirs.reshape(-1, _FRAME)
    product = np.abs(np.einsum("ij,ij->i", mine.conj(), theirs)) ** 2
    energy = np.einsum("ij,ij->i", mine.conj(), mine).real
    source = np.einsum("ij,ij->i", theirs.conj(), theirs).real
    alike: NDArray[np.bool_] = (product > _ALIKE_FRAME * energy * source) & (energy > _FRAME * _SILENCE**2)
    quieter = bool(energy[alike].sum() <= MAX_GAIN**2 * source[alike].sum())
    return alike if quieter else np.zeros_like(alike)
