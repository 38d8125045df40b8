"""From a network's raw log-odds to log-odds that mean what they say: an affine map, fitted on clips never trained on.

One map for each class of channel that can be told by ear (`detection.signal.bandwidth`): through a telephone line a
network is less sure than through a wide one, and differently so for humans and machines.

Platt, "Probabilistic outputs for support vector machines", 1999; with both classes weighted alike, so that 0 means
even odds whatever the share of synthetic clips in the data was.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat

_ITERATIONS = 50


class Calibration(BaseModel):
    """``calibrated = scale * raw + offset``, both natural log-odds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0

    def apply(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return calibrated log-odds, same shape."""
        return np.asarray(self.scale * raw + self.offset, np.float32)


class ChannelCalibration(BaseModel):
    """The map of each class of channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wide: Calibration
    narrow: Calibration

    def apply(self, raw: NDArray[np.float32], narrow: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return calibrated log-odds, ``(n,)``, for raw ones of windows that are `narrow` or not, both ``(n,)``."""
        return np.where(narrow, self.narrow.apply(raw), self.wide.apply(raw))


def fingerprint(*maps: BaseModel) -> str:
    """Return the start of a hash of these maps: the same for the same numbers."""
    return hashlib.sha256("\n".join(one.model_dump_json() for one in maps).encode()).hexdigest()[:12]


def fit(raw: NDArray[np.float32], is_fake: NDArray[np.bool_]) -> Calibration:
    """Fit scale and offset to windows of both classes, ``(n,)``; raises `ValueError` as `logistic_regression` does."""
    scale, offset = logistic_regression(raw[:, None], is_fake).tolist()
    return Calibration(scale=scale, offset=offset)


def logistic_regression(
    inputs: NDArray[np.floating], is_fake: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Fit an affine map of `inputs`, ``(n, k)``, to log-odds by Newton's method on the class-balanced log-likelihood.

    Args:
        inputs: natural log-odds, one column a model.
        is_fake: ``(n,)``; both classes must be there.
        weights: how much each row counts within its class, ``(n,)``, positive; None: all alike.

    Returns:
        The weight of each column, then the offset: ``(k + 1,)``.

    Raises:
        ValueError: rows of one class alone.
    """
    if is_fake.all() or not is_fake.any():
        raise ValueError("is_fake: expected clips of both classes")
    design = np.column_stack([inputs, np.ones(len(inputs))]).astype(np.float64)
    target = is_fake.astype(np.float64)
    weight = np.ones(len(inputs)) if weights is None else weights.astype(np.float64)
    weight = np.where(is_fake, 0.5 / weight[is_fake].sum(), 0.5 / weight[~is_fake].sum()) * weight
    ridge = 1e-6 * np.eye(design.shape[1])  # keeps perfectly separated scores finite
    solution = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        probability = 1 / (1 + np.exp(-np.clip(design @ solution, -30, 30)))
        gradient = design.T @ (weight * (probability - target)) + ridge @ solution
        hessian = (design * (weight * probability * (1 - probability))[:, None]).T @ design + ridge
        solution -= np.linalg.solve(hessian, gradient)
    return solution
