"""A detector whose answer a test can foretell: where the model isn't the point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detection import Frontend, Window


class FakeDetector:
    """Gives every window the log-odds that `answer` holds for its place among the scored ones; the last one repeats."""

    name = "fake@00000000"
    raise_p = 0.9

    def __init__(self, *answer: float, window_s: float = 3.0, hop_s: float = 1.0) -> None:
        self.window_s = window_s
        self.hop_s = hop_s
        self.answer = answer
        self.seen: list[Window] = []

    def frontend(self) -> Frontend:
        """Return itself, having forgotten what it saw."""
        self.seen = []
        return self

    def inputs(self, window: Window) -> NDArray[np.float32]:
        """Note the window; its input is what it shall be answered."""
        self.seen.append(window)
        return np.array(self.answer[min(len(self.seen), len(self.answer)) - 1], np.float32)

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answer as foretold."""
        return inputs
