"""The last seconds of one leg's audio, with what is missing in them.  [S]

Kept as 16-bit samples at 16 kHz: 32,000 bytes a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection import Samples
from detection.types import SAMPLE_RATE_HZ

_SAME = 2
"""Positions that differ by so many samples are the same: times are sums of durations."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Audio of one leg. It begins and ends with audio that was heard."""

    start_s: float
    """Media time of the first sample."""
    samples: NDArray[np.int16]
    """At 16 kHz, shape ``(n,)``; zeros where audio is missing."""
    gaps: tuple[tuple[float, float], ...]
    """Where audio is missing: media time from, to."""

    @property
    def end_s(self) -> float:
        """Media time after the last sample."""
        return self.start_s + len(self.samples) / SAMPLE_RATE_HZ

    @property
    def missing_s(self) -> float:
        """Seconds of the gaps together."""
        return sum(end - start for start, end in self.gaps)


class Recent:
    """The newest audio of a leg: `push` it as it comes, `cut` what is wanted of it."""

    def __init__(self, keep_s: float) -> None:
        """Keep the newest `keep_s` seconds, and more after `hold_from`."""
        self._keep = round(keep_s * SAMPLE_RATE_HZ)
        self._pieces: deque[tuple[int, NDArray[np.int16]]] = deque()
        """Position of the first sample, and samples; in order, without overlap."""
        self._end = 0
        self._hold_from: int | None = None

    @property
    def end_s(self) -> float:
        """Media time after the last sample that came."""
        return self._end / SAMPLE_RATE_HZ

    def hold_from(self, start_s: float | None) -> None:
        """Forget nothing from `start_s` on, until another is given; None: hold nothing."""
        self._hold_from = None if start_s is None else round(start_s * SAMPLE_RATE_HZ)

    def push(self, start_s: float, samples: Samples) -> None:
        """Take audio, shape ``(n,)`` at 16 kHz, -1 to 1; `start_s` is the media time of its first sample."""
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
        """Return what is there between two media times; None where nothing is."""
        from_, to = round(from_s * SAMPLE_RATE_HZ), round(to_s * SAMPLE_RATE_HZ)
        found = [
            (max(start, from_), piece[max(0, from_ - start) : max(0, to - start)])
            for start, piece in self._pieces
            if start < to and start + len(piece) > from_
        ]
        if not found:
            return None
        first, end = found[0][0], found[-1][0] + len(found[-1][1])
        samples, gaps, heard = np.zeros(end - first, np.int16), [], first
        for start, piece in found:
            if start > heard:
                gaps.append((heard / SAMPLE_RATE_HZ, start / SAMPLE_RATE_HZ))
            samples[start - first : start - first + len(piece)] = piece
            heard = start + len(piece)
        return Excerpt(first / SAMPLE_RATE_HZ, samples, tuple(gaps))
