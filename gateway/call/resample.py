"""Resamples a stream of any telephone rate to 16 kHz.  [S]"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray

from detection.types import SAMPLE_RATE_HZ

AHEAD_S = 0.0125
"""A sample depends on input up to this much after it, and as much before: half of soxr's longest filter, for 8 kHz."""
_KEPT_S = 0.15
"""More than the greatest delay of the stream's output (115 ms at 8 kHz, where soxr collects blocks)."""


class Resampler:
    """The stateful resampler of one leg; output is aligned with input.

    soxr's filter looks ahead, and collects blocks for its transforms, so its output comes late and irregularly.
    `settle` immediately returns everything that does not depend on later input.
    """

    def __init__(self, rate_hz: int) -> None:
        self.ahead_s = 0.0 if rate_hz == SAMPLE_RATE_HZ else AHEAD_S
        """Input needed after a sample before `settle` returns it, in seconds."""
        self._rate_hz = rate_hz
        self._soxr = None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, "float32")
        common = math.gcd(rate_hz, SAMPLE_RATE_HZ)
        self._in_step, self._out_step = rate_hz // common, SAMPLE_RATE_HZ // common
        """Numbers of samples after which input and output coincide."""
        self._start()

    def _start(self) -> None:
        self._recent = np.zeros(0, np.float32)
        """The last input."""
        self._pushed = self._streamed = self._returned = 0
        """Numbers of samples pushed, produced by the stream, and returned, which `settle` makes more than produced."""

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add samples, shape ``(n,)``; return the output at 16 kHz that is ready."""
        if self._soxr is None:
            return samples
        self._pushed += len(samples)
        self._recent = np.concatenate((self._recent, samples))[-round(_KEPT_S * self._rate_hz) :]
        return self._new(self._soxr.resample_chunk(samples))

    def settle(self) -> NDArray[np.float32]:
        """Return the output that later input cannot change, to within 1e-6; it is resampled separately."""
        ready = (self._pushed - math.ceil(self.ahead_s * self._rate_hz)) * self._out_step // self._in_step
        if self._soxr is None or ready <= self._returned:
            return np.zeros(0, np.float32)
        kept = self._pushed - len(self._recent)
        needed = self._returned * self._in_step // self._out_step - math.ceil(self.ahead_s * self._rate_hz)
        steps = max(needed // self._in_step, -(-kept // self._in_step))
        resampled = soxr.resample(self._recent[steps * self._in_step - kept :], self._rate_hz, SAMPLE_RATE_HZ)
        settled: NDArray[np.float32] = resampled[
            self._returned - steps * self._out_step : ready - steps * self._out_step
        ]
        self._returned = ready
        return settled

    def flush(self) -> NDArray[np.float32]:
        """Return the rest, and start again without history."""
        if self._soxr is None:
            return np.zeros(0, np.float32)
        tail = self._new(self._soxr.resample_chunk(np.zeros(0, np.float32), last=True))
        self._soxr.clear()
        self._start()
        return tail

    def _new(self, streamed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of the stream's next output that was not returned yet."""
        known = self._returned - self._streamed
        self._streamed += len(streamed)
        self._returned = max(self._returned, self._streamed)
        return streamed[known:]
