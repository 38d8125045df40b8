"""Smaller files say nearly the same; what is lost is measured, not guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detection.backends.onnx import OnnxBackend
from detection.card import Contract
from detection.export import storage_cost, to_onnx
from detection.signal.features import FeatureSpec
from detection.training.bank import Ragged
from detection.training.storage import StorageName, stored

CONTRACT = Contract(window_s=0.5, hop_s=0.5, features=FeatureSpec(bands=16))


class Toy(nn.Module):
    """Enough weights to shrink, in a layer that int8 knows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 2))

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.layers(frames.mean(1) / 40)
        return logits


@pytest.fixture(scope="module")
def whole() -> bytes:
    torch.manual_seed(1)
    return to_onnx(Toy(), CONTRACT)


def log_odds(model: bytes, folder: Path) -> np.ndarray:
    file = folder / "model.onnx"
    file.write_bytes(model)
    frames = np.random.default_rng(0).normal(-40, 20, (8, *CONTRACT.input_shape)).astype(np.float32)
    return OnnxBackend(file, CONTRACT.input_shape).log_odds(frames)


@pytest.mark.parametrize(("storage", "share", "tolerance"), [("float16", 0.65, 2e-3), ("int8", 0.5, 0.1)])
def test_smaller_storage_changes_scores_little(
    storage: StorageName, share: float, tolerance: float, whole: bytes, tmp_path: Path
) -> None:
    smaller = stored(whole, storage)
    before, after = log_odds(whole, tmp_path), log_odds(smaller, tmp_path)
    assert after == pytest.approx(before, abs=tolerance)
    assert not np.array_equal(after, before)
    rest = len(stored_without_weights(whole))
    assert len(smaller) - rest < share * (len(whole) - rest) + 3_000  # the graph grows by a few nodes


def stored_without_weights(model: bytes) -> bytes:
    import onnx

    graph = onnx.load_model_from_string(model)
    del graph.graph.initializer[:]
    return bytes(graph.SerializeToString())


def test_float32_is_the_file_itself(whole: bytes) -> None:
    assert stored(whole, "float32") is whole


def test_the_cost_is_measured_on_sounds_and_on_clips(whole: bytes) -> None:
    assert storage_cost(whole, whole, CONTRACT, None) == {"log_odds_change": 0.0}
    rng = np.random.default_rng(1)
    n_frames = CONTRACT.input_shape[0]
    clips = Ragged(rng.normal(-40, 20, (20 * n_frames, 16)).astype(np.float16), np.arange(21) * n_frames)
    is_fake = np.arange(20) % 2 == 0
    cost = storage_cost(whole, stored(whole, "int8"), CONTRACT, (clips, range(20), is_fake))
    assert 0 < cost["log_odds_change"] < 0.1
    assert cost["eer_before"] == pytest.approx(cost["eer_after"], abs=0.11)
