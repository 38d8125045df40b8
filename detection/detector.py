"""The detector as its users see it: open one by name, make a front end per leg, score batches.

The split in two keeps the hot path cheap: a `Frontend` remembers what successive windows of one leg share, so that
the overlap of two windows is never computed twice, while `Detector.score` is stateless and takes windows of many legs
in one batch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detection.types import Window


class Frontend(Protocol):
    """Turns the successive windows of one leg into model inputs. One per leg; never shared between threads."""

    def inputs(self, window: Window) -> NDArray[np.float32]:
        """Return the model input of `window`, without the batch axis (for MFCC: ``(n_mfcc, n_frames)``)."""
        ...


class Detector(Protocol):
    """A loaded model: stateless, safe to call from one thread at a time."""

    @property
    def name(self) -> str:
        """Model name with the start of its hash, e.g. ``tinyaudionet@1f3a9c2e``: what events carry as `model`."""
        ...

    @property
    def window_s(self) -> float:
        """Length of the window the model was trained on, in seconds."""
        ...

    @property
    def hop_s(self) -> float:
        """Step between two windows, in seconds."""
        ...

    def frontend(self) -> Frontend:
        """Return a fresh front end for one leg."""
        ...

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return calibrated log-odds of 'synthetic', shape ``(batch,)``, for stacked front-end outputs."""
        ...
