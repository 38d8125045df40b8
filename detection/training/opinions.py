"""A teacher's scores of clips that it was not trained on: a CSV with the columns ``path`` and ``log_odds``."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.errors import DataError
from detection.training.data import Clip

CERTAIN = 6.0
"""Log-odds in place of a label where the teacher has no score, so that such clips have a similar weight."""


def write_opinions(file: Path, clips: Sequence[Clip], log_odds: NDArray[np.float32]) -> None:
    """Write one row for each clip; clips with NaN are left out."""
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["path", "log_odds"])
        rows.writerows(
            [clip.file, f"{value:.4f}"] for clip, value in zip(clips, log_odds, strict=True) if not math.isnan(value)
        )


def read_opinions(file: Path, clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return the log-odds of each of `clips`, ``(n,)``; NaN where the file has none.

    Raises:
        DataError: no such file, a missing column, a value that is not a number, or no score of any of the clips.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            opinions = {row["path"]: float(row["log_odds"]) for row in csv.DictReader(lines)}
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: expected columns path and log_odds, a number: {error}") from error
    log_odds = np.array([opinions.get(str(clip.file), math.nan) for clip in clips], np.float32)
    if np.isnan(log_odds).all():
        raise DataError(f"{file}: expected scores of these clips, by the paths of the manifest, got none")
    return log_odds


def or_labels(log_odds: NDArray[np.float32], clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return `log_odds`, ``(n,)``, with NaN replaced by the clip's label as ±`CERTAIN`."""
    labels = np.array([CERTAIN if clip.is_fake else -CERTAIN for clip in clips], np.float32)
    return np.where(np.isnan(log_odds), labels, log_odds)
