"""Overlapping frames of audio, without a copy.  [S]"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detection.types import Samples


def spans(audio: Samples, size: int, step: int) -> NDArray[np.float32]:
    """Return the whole spans of `size` samples that begin at every `step`-th, shape ``(n, size)``; `n` may be 0.

    `audio`, shape ``(n_samples,)``, is float32. The result shares its memory: do not write to it. numpy's own
    `sliding_window_view` takes as long as the Fourier transform of a dozen spans.
    """
    audio = np.ascontiguousarray(audio, np.float32)
    count = max(0, 1 + (len(audio) - size) // step)
    return np.ndarray((count, size), np.float32, audio, strides=(step * audio.itemsize, audio.itemsize))
