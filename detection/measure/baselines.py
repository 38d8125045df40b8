"""A baseline for comparison: mean and standard deviation of 32 MFCC, and logistic regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detection.measure.conditions import Condition
from detection.measure.metrics import Labels, Scores
from detection.signal.features import FeatureSpec, FeatureStream
from detection.types import Samples

_MFCC = FeatureSpec(bands=64, coefficients=32)


def mfcc_statistics(samples: Samples) -> NDArray[np.float32]:
    """Return mean and deviation over time of each coefficient, ``(64,)``; a clip shorter than a frame is repeated."""
    frames = FeatureStream(_MFCC).push(np.resize(samples, max(len(samples), _MFCC.fft_samples)))
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


class MfccStatistics:
    """Logistic regression on `mfcc_statistics`, with equal weight for both classes."""

    def __init__(self, trained_in: Sequence[Condition], is_fake: Labels) -> None:
        """Train on the same clips in each condition of `trained_in`."""
        from sklearn.linear_model import LogisticRegression  # only now: a command's --help does without it
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self._model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000, class_weight="balanced"))
        self._model.fit(
            np.stack([statistics for condition in trained_in for statistics in _all(condition, len(is_fake))]),
            np.tile(is_fake, len(trained_in)),
        )

    def score(self, condition: Condition, n_clips: int) -> Scores:
        """Return the log-odds of every clip, ``(n_clips,)``."""
        log_odds: Scores = self._model.decision_function(np.stack(list(_all(condition, n_clips))))
        return log_odds


def _all(condition: Condition, n_clips: int) -> Iterator[NDArray[np.float32]]:
    return (mfcc_statistics(condition.samples(number)) for number in range(n_clips))
