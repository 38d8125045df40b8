"""Facts that a run measures about its weights on held-out clips: calibration, threshold and figures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from detection.card import Provenance
from detection.decision.calibration import Calibration, ChannelCalibration, fit
from detection.errors import ModelError
from detection.measure.conditions import channel_class
from detection.measure.metrics import Labels, area_under_curve, equal_error_rate, miss_rate_at
from detection.signal.channels import CHANNELS

DATA = (
    "Clips of public demonstration pages of speech synthesis, voice conversion and vocoder papers, and their human "
    "counterparts; 16 kHz; about half of the pages state no licence and several base corpora are for research only."
)
LICENCE_NOTE = (
    "The weights are published for evaluation under the licence of the software. No training audio is shipped. "
    "Whoever needs weights from licensed audio alone retrains with `python -m detection train` on their own manifest."
)
LIMITS = (
    "Misses systems unlike those of its training, neural vocoders of high fidelity above all, and mistakes some humans "
    "for machines: the figures tell how often. Evidence for a person to look at, never proof of fraud or of identity."
)


class Facts(BaseModel):
    """The part of a card that training measures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration: ChannelCalibration
    raise_p: float
    provenance: Provenance


def gather_facts(
    scores: Mapping[str, list[NDArray[np.float32]]], is_fake: Mapping[str, Labels], data_hash: str, recipe: str
) -> Facts:
    """Fit the calibration on the windows of all renderings, and compute the figures of the clips by rendering.

    `scores` has the raw log-odds of each clip's windows, by rendering; `is_fake` the labels of those clips.

    Calibration is by window, because the decision sums windows, and by channel class, which follows from the
    rendering's name. `calibrate` fits it again with the steps of live calls, and measures false alarms.
    """
    metrics = {}
    for name, parts in scores.items():
        clips = np.array([part.mean() for part in parts])
        metrics[f"eer_{name}"] = equal_error_rate(clips, is_fake[name])
        metrics[f"auc_{name}"] = area_under_curve(clips, is_fake[name])
        metrics[f"miss_at_1pct_false_alarms_{name}"] = miss_rate_at(clips, is_fake[name], 0.01)
    return Facts(
        calibration=_calibration(scores, is_fake),
        raise_p=0.9,
        provenance=Provenance(
            data=DATA,
            data_hash=data_hash,
            recipe=recipe,
            date=datetime.now(UTC).date().isoformat(),
            licence_note=LICENCE_NOTE,
            limits=LIMITS,
            metrics={key: round(value, 4) for key, value in metrics.items()},
        ),
    )


def _calibration(scores: Mapping[str, list[NDArray[np.float32]]], is_fake: Mapping[str, Labels]) -> ChannelCalibration:
    """Fit each channel class on its own renderings, or on all renderings if it has none."""

    def fitted(names: list[str]) -> Calibration:
        windows = [window for name in names or scores for window in scores[name]]
        labels = [fake for name in names or scores for fake in is_fake[name]]
        return fit(np.concatenate(windows), np.repeat(labels, [len(window) for window in windows]))

    narrow = [name for name in scores if name in CHANNELS and channel_class(name) == "narrow"]
    return ChannelCalibration(wide=fitted([name for name in scores if name not in narrow]), narrow=fitted(narrow))


def write_facts(facts: Facts, weights: Path) -> None:
    """Write `facts` beside their weights: those of ``best.pt`` to ``best.json``."""
    weights.with_suffix(".json").write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")


def forget_facts(weights: Path) -> None:
    """Remove the facts of an earlier run, which belong to other weights."""
    weights.with_suffix(".json").unlink(missing_ok=True)


def read_facts(weights: Path) -> Facts:
    """Read the facts of these weights; raise `ModelError` if they are missing or malformed."""
    file = weights.with_suffix(".json")
    try:
        return Facts.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        raise ModelError(f"{file}: expected what `detect train` writes: {error.errors()[0]['msg']}") from error
