"""Buffer of the last seconds of one leg's audio, and its gaps.  [S]

The audio is kept as 16-bit samples at 16 kHz: 32,000 bytes per second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection import Samples
from detection.types import SAMPLE_RATE_HZ

_SAME = 2
"""Positions that differ by at most this many samples are equal: times are sums of durations."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a leg's audio. It starts and ends with audio that was received."""

    start_s: float
    """Media time of the first sample."""
    samples: NDArray[np.int16]
    """At 16 kHz, shape ``(n,)``; zeros where audio is missing."""
    gaps: tuple[tuple[float, float], ...]
    """Start and end of missing audio, in media time."""

    @property
    def end_s(self) -> float:
        """Media time after the last sample."""
        return self.start_s + len(self.samples) / SAMPLE_RATE_HZ

    @property
    def missing_s(self) -> float:
        """Total duration of the gaps, in seconds."""
        return sum(end - start for start, end in self.gaps)


class Recent:
    """The newest audio of a leg: `push` audio, and `cut` parts of it."""

    def __init__(self, keep_s: float) -> None:
        """Keep the newest `keep_s` seconds, and everything after `hold_from`."""
        self._keep = round(keep_s * SAMPLE_RATE_HZ)
        self._pieces: deque[tuple[int, NDArray[np.int16]]] = deque()
        """Position of the first sample, and samples; in order, not overlapping."""
        self._end = 0
        self._hold_from: int | None = None

    @property
    def end_s(self) -> float:
        """Media time after the last sample."""
        return self._end / SAMPLE_RATE_HZ

    def hold_from(self, start_s: float | None) -> None:
        """Keep everything from `start_s` on, until it is called again; None: no more than the newest."""
        self._hold_from = None if start_s is None else round(start_s * SAMPLE_RATE_HZ)

    def push(self, start_s: float, samples: Samples) -> None:
        """Add audio, shape ``(n,)`` at 16 kHz, -1 to 1; `start_s` is the media time of its first sample."""
        start = round(start_s * SAMPLE_RATE_HZ)
        if abs(start - self._end) <= _SAME:
            start = self._end
        self._pieces.append((start, np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)))
        self._end = start + len(samples)
        oldest = self._end - self._keep
        if self._hold_from is not None:
            oldest = min(oldest, self._hold_from)
        while self._pieces and self._pieces[0][0] + len(self._pieces[0][1]) <= oldest:
            self._pieces.popleft()

    def cut(self, from_s: float, to_s: float) -> Excerpt | None:
        """Return the audio between two media times; None if there is none."""
        from_, to = round(from_s * SAMPLE_RATE_HZ), round(to_s * SAMPLE_RATE_HZ)
        found = [
            (max(start, from_), piece[max(0, from_ - start) : max(0, to - start)])
            for start, piece in self._pieces
            if start < to and start + len(piece) > from_
        ]
        if not found:
            return None
        first, end = found[0][0], found[-1][0] + len(found[-1][1])
        samples, gaps, at = np.zeros(end - first, np.int16), [], first
        for start, piece in found:
            if start > at:
                gaps.append((at / SAMPLE_RATE_HZ, start / SAMPLE_RATE_HZ))
            samples[start - first : start - first + len(piece)] = piece
            at = start + len(piece)
        return Excerpt(first / SAMPLE_RATE_HZ, samples, tuple(gaps))
