"""Calibration: an affine map from a network's raw log-odds to log-odds that are true probabilities.

It is fitted on clips that the network was not trained on, with one map for each channel class
(`detection.signal.bandwidth`): a network is less certain through a telephone line than through a wide-band channel, and
by different amounts for human and synthetic voices.

Platt, "Probabilistic outputs for support vector machines", 1999. Both classes have equal weight, so 0 means even odds
whatever the share of synthetic clips in the data.
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
    """One map for each channel class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wide: Calibration
    narrow: Calibration

    def apply(self, raw: NDArray[np.float32], narrow: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return calibrated log-odds ``(n,)`` of raw ones ``(n,)``, by the channel class of each window, ``(n,)``."""
        return np.where(narrow, self.narrow.apply(raw), self.wide.apply(raw))


def fingerprint(*maps: BaseModel) -> str:
    """Return the start of the SHA-256 of these maps, 12 hexadecimal digits: equal for equal numbers."""
    return hashlib.sha256("\n".join(one.model_dump_json() for one in maps).encode()).hexdigest()[:12]


def fit(raw: NDArray[np.float32], is_fake: NDArray[np.bool_]) -> Calibration:
    """Fit scale and offset to the raw log-odds of windows, ``(n,)``, with labels ``(n,)``.

    Raises:
        ValueError: as `logistic_regression`.
    """
    scale, offset = logistic_regression(raw[:, None], is_fake).tolist()
    return Calibration(scale=scale, offset=offset)


def logistic_regression(
    inputs: NDArray[np.floating], is_fake: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Fit an affine map of `inputs`, ``(n, k)``, to log-odds by Newton's method on the class-balanced log-likelihood.

    Args:
        inputs: natural log-odds, one column a model.
        is_fake: ``(n,)``; must contain both classes.
        weights: weight of each row within its class, ``(n,)``, positive; None for equal weights.

    Returns:
        The weight of each column, then the offset: ``(k + 1,)``.

    Raises:
        ValueError: all rows belong to one class.
    """
    if is_fake.all() or not is_fake.any():
        raise ValueError("is_fake: expected clips of both classes")
    design = np.column_stack([inputs, np.ones(len(inputs))]).astype(np.float64)
    target = is_fake.astype(np.float64)
    weight = np.ones(len(inputs)) if weights is None else weights.astype(np.float64)
    weight = np.where(is_fake, 0.5 / weight[is_fake].sum(), 0.5 / weight[~is_fake].sum()) * weight
    ridge = 1e-6 * np.eye(design.shape[1])  # keeps the solution finite when scores separate the classes perfectly
    solution = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        probability = 1 / (1 + np.exp(-np.clip(design @ solution, -30, 30)))
        gradient = design.T @ (weight * (probability - target)) + ridge @ solution
        hessian = (design * (weight * probability * (1 - probability))[:, None]).T @ design + ridge
        solution -= np.linalg.solve(hessian, gradient)
    return solution
