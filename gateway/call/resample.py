"""Any telephone rate -> 16 kHz, as a stream.  [S]"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray

from detection.types import SAMPLE_RATE_HZ

AHEAD_S = 0.0125
"""A sample depends on those up to this much after it, and as much before it: half of soxr's longest filter, for 8 kHz.
"""
_KEPT_S = 0.15
"""How far a stream's output lags behind its input at most (115 ms at 8 kHz, where soxr collects blocks), and more."""


class Resampler:
    """A stateful resampler for one leg; exact in time: what comes out lines up with what went in.

    soxr's filter looks ahead, and it collects blocks for the sake of its transforms, so that pushes return nothing at
    first and come out of step later. `settle` returns at once all that does not depend on what is still to come.
    """

    def __init__(self, rate_hz: int) -> None:
        self.ahead_s = 0.0 if rate_hz == SAMPLE_RATE_HZ else AHEAD_S
        """How much must have been pushed after a sample for `settle` to return it."""
        self._rate_hz = rate_hz
        self._soxr = None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, "float32")
        common = math.gcd(rate_hz, SAMPLE_RATE_HZ)
        self._in_step, self._out_step = rate_hz // common, SAMPLE_RATE_HZ // common
        """Every so many samples, input and output fall together."""
        self._start()

    def _start(self) -> None:
        self._recent = np.zeros(0, np.float32)
        """The last that was pushed."""
        self._pushed = self._streamed = self._returned = 0
        """How many samples were pushed, came out of the stream, and were returned: with `settle`, more than came."""

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples, shape ``(n,)``; return what is ready at 16 kHz."""
        if self._soxr is None:
            return samples
        self._pushed += len(samples)
        self._recent = np.concatenate((self._recent, samples))[-round(_KEPT_S * self._rate_hz) :]
        return self._new(self._soxr.resample_chunk(samples))

    def settle(self) -> NDArray[np.float32]:
        """Return what `push` would return later whatever came, to within 1e-6: resampled by itself, again."""
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
        """Return the tail and start over: what is pushed next has no past."""
        if self._soxr is None:
            return np.zeros(0, np.float32)
        tail = self._new(self._soxr.resample_chunk(np.zeros(0, np.float32), last=True))
        self._soxr.clear()
        self._start()
        return tail

    def _new(self, streamed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what of the stream's next output was not returned yet."""
        known = self._returned - self._streamed
        self._streamed += len(streamed)
        self._returned = max(self._returned, self._streamed)
        return streamed[known:]
