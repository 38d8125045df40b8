"""Any telephone rate -> 16 kHz, as a stream.  [S]"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from detection.types import SAMPLE_RATE_HZ


class Resampler:
    """A stateful resampler for one leg; exact in time: what comes out lines up with what went in.

    soxr's filter looks ahead, so the first pushes may return nothing; the rest comes with `flush`.
    """

    def __init__(self, rate_hz: int) -> None:
        self._soxr = None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, "float32")

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples, shape ``(n,)``; return what is ready at 16 kHz."""
        return samples if self._soxr is None else self._soxr.resample_chunk(samples)

    def flush(self) -> NDArray[np.float32]:
        """Return the tail and start over: what is pushed next has no past."""
        if self._soxr is None:
            return np.zeros(0, np.float32)
        tail: NDArray[np.float32] = self._soxr.resample_chunk(np.zeros(0, np.float32), last=True)
        self._soxr.clear()
        return tail
