"""What a run learned about its weights: one calibration for each class of channel it was judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detection.decision.calibration import Calibration
from detection.errors import ModelError
from detection.training.facts import gather_facts, read_facts, write_facts

IS_FAKE = np.arange(400) % 2 == 1


def windows(scale: float, offset: float) -> list[NDArray[np.float32]]:
    """Two windows a clip, whose right log-odds are `scale` times what is said, plus `offset`."""
    rng = np.random.default_rng(1)
    right = rng.normal(2.0 * (2 * IS_FAKE - 1), 2.0, (2, 400))
    return list(((right - offset) / scale).T.astype(np.float32))


def near(scale: float, offset: float) -> tuple[object, object]:
    return pytest.approx(scale, rel=0.2), pytest.approx(offset, abs=0.4)


def said(calibration: Calibration) -> tuple[float, float]:
    return calibration.scale, calibration.offset


def test_each_class_of_channel_has_its_map() -> None:
    scores = {"original": windows(2, 0), "opus12": windows(2, 0), "pstn": windows(0.5, 1), "augmented-1": windows(2, 0)}
    facts = gather_facts(scores, dict.fromkeys(scores, IS_FAKE), "hash", "recipe")
    assert said(facts.calibration.wide) == near(2, 0)
    assert said(facts.calibration.narrow) == near(0.5, 1)
    assert set(facts.provenance.metrics) == {
        f"{figure}_{name}" for name in scores for figure in ("eer", "auc", "miss_at_1pct_false_alarms")
    }


def test_channel_class_without_clips_gets_the_map_of_all() -> None:
    facts = gather_facts({"original": windows(2, 0)}, {"original": IS_FAKE}, "hash", "recipe")
    assert facts.calibration.narrow == facts.calibration.wide


def test_facts_are_read_only_beside_their_weights(tmp_path: Path) -> None:
    facts = gather_facts({"original": windows(2, 0)}, {"original": IS_FAKE}, "hash", "recipe")
    write_facts(facts, tmp_path / "best.pt")
    assert read_facts(tmp_path / "best.pt") == facts
    with pytest.raises(ModelError, match=r"final\.json: No such file"):
        read_facts(tmp_path / "final.pt")
    (tmp_path / "best.json").write_text("{}")
    with pytest.raises(ModelError, match=r"best\.json: expected what `detect train` writes"):
        read_facts(tmp_path / "best.pt")
