"""Opening a model: strictly, with one clear line for each thing that can be wrong; and without heavy imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detection.detector import DEFAULT_MODEL, WEIGHTS, open_detector, read_card
from detection.errors import ModelError
from detection.types import Window
from tests.detection.signal.test_features import speechlike

SHIPPED = sorted(file.stem for file in WEIGHTS.glob("*.onnx"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_opens_and_scores_a_leg(name: str) -> None:
    detector = open_detector(name)
    assert detector.name == f"{name}@{detector.card.sha256[:8]}"
    n_samples, hop = round(detector.window_s * 16_000), round(detector.hop_s * 16_000)
    audio = speechlike(n_samples + hop)
    frontend = detector.frontend()
    first = frontend.inputs(Window(0.0, audio[:n_samples], n_samples, detector.window_s, detector.window_s))
    second = frontend.inputs(Window(detector.hop_s, audio[hop:], hop, detector.window_s, detector.hop_s))
    assert first.shape == second.shape == detector.card.contract.input_shape
    together = detector.score(np.stack([first, second])).log_odds
    assert together.shape == (2,)
    assert together.dtype == np.float32
    assert together == pytest.approx([detector.score(frames[None]).log_odds[0] for frames in (first, second)], abs=1e-3)


@pytest.mark.parametrize("name", SHIPPED)
def test_silence_and_level_do_not_break_a_model(name: str) -> None:
    detector = open_detector(name)
    n_samples = round(detector.window_s * 16_000)
    audio = speechlike(n_samples)
    window = Window(0.0, audio, n_samples, 1.0, 1.0)
    silent = Window(0.0, np.zeros(n_samples, np.float32), n_samples, 0.0, 0.0)
    assert np.isfinite(detector.score(detector.frontend().inputs(silent)[None]).log_odds).all()
    quieter = Window(0.0, audio * np.float32(0.25), n_samples, 1.0, 1.0)
    scores = [detector.score(detector.frontend().inputs(one)[None]).log_odds[0] for one in (window, quieter)]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


def test_the_default_is_shipped() -> None:
    assert DEFAULT_MODEL in SHIPPED


def test_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"one of .*tinyaudionet.*; got 'gpt'"):
        open_detector("gpt")
    with pytest.raises(ModelError, match=r"none\.onnx: no such model file"):
        open_detector(tmp_path / "none.onnx")


def copied(folder: Path, change: Callable[[dict[str, Any]], object] = dict) -> Path:
    card = json.loads((WEIGHTS / "tinyaudionet.json").read_text())
    change(card)
    (folder / "copy.json").write_text(json.dumps(card))
    (folder / "copy.onnx").write_bytes((WEIGHTS / "tinyaudionet.onnx").read_bytes())
    return folder / "copy.onnx"


def test_a_copy_opens_by_path(tmp_path: Path) -> None:
    assert open_detector(copied(tmp_path)).name == open_detector("tinyaudionet").name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card.update(threshold=0.5), "threshold: Extra inputs are not permitted"),
        (lambda card: card.pop("calibration"), "calibration: Field required"),
        (lambda card: card["calibration"]["wide"].update(scale="NaN"), r"calibration\.wide\.scale: .*finite"),
        (lambda card: card["contract"].update(sample_rate_hz=8_000), r"contract\.sample_rate_hz: .*16000"),
        (
            lambda card: card["contract"]["features"].update(bands=0),
            r"contract\.features\.frames\.bands: .*greater than 0",
        ),
        (lambda card: card["contract"].update(window_s=30.0), r"copy\.onnx: expected one input of shape \(batch, "),
        (lambda card: card.update(sha256="0" * 64), "not the file its card describes"),
    ],
    ids=["unknown field", "no calibration", "not finite", "other rate", "no bands", "other window", "other hash"],
)
def test_card_that_does_not_match_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object],
                                            said: str) -> None:  # fmt: skip
    with pytest.raises(ModelError, match=said):
        open_detector(copied(tmp_path, change))


def test_a_model_without_a_card_is_refused(tmp_path: Path) -> None:
    file = copied(tmp_path)
    file.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"copy\.json: No such file"):
        open_detector(file)


def test_damaged_model_with_matching_hash_is_refused(tmp_path: Path) -> None:
    import hashlib

    damaged = b"not a model"
    file = copied(tmp_path, lambda card: card.update(sha256=hashlib.sha256(damaged).hexdigest()))
    file.write_bytes(damaged)
    with pytest.raises(ModelError, match="not a model that ONNX Runtime can run"):
        open_detector(file)


def test_cards_state_provenance() -> None:
    for name in SHIPPED:
        provenance = read_card(WEIGHTS / f"{name}.json").provenance
        assert "licence" in provenance.data
        assert provenance.metrics


def test_serving_imports_neither_torch_nor_the_training_side() -> None:
    code = (
        "import sys, detection; detection.open_detector();"
        "print([m for m in ('torch', 'librosa', 'sklearn', 'matplotlib', 'detection.training') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
