"""Weights are run as what they are, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detection.backends.torch import load_network, load_weights
from detection.detector import WEIGHTS, open_detector
from detection.errors import ModelError
from detection.models import ARCHITECTURES
from detection.training.runlog import save_weights


def written(file: Path, name: str) -> Path:
    save_weights(ARCHITECTURES[name].build(ARCHITECTURES[name].contract), name, file)
    return file


def test_weights_of_another_architecture_than_the_cards_are_refused(tmp_path: Path) -> None:
    for suffix in (".json", ".onnx"):
        (tmp_path / f"copy{suffix}").write_bytes((WEIGHTS / f"tinyaudionet{suffix}").read_bytes())
    written(tmp_path / "copy.pt", "tinystatnet")
    with pytest.raises(ModelError, match=r"copy\.pt: weights of tinystatnet, card of tinyaudionet"):
        open_detector(tmp_path / "copy.onnx", backend="torch")


def test_weights_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    name, network = load_network(written(tmp_path / "one.pt", "tinystatnet"))
    assert name == "tinystatnet"
    other = ARCHITECTURES["tinyaudionet"].build(ARCHITECTURES["tinyaudionet"].contract)
    with pytest.raises(ModelError, match=r"one\.pt: weights of another architecture than TinyAudioNet"):
        load_weights(other, network.state_dict(), tmp_path / "one.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"architecture": "tinystatnet", "weights": None}, "weights of another architecture than TinyStatNet"),
        ({"architecture": "gpt", "weights": {}}, r"architecture: expected one of tinyaudionet, .*; got 'gpt'"),
        ({"architecture": "tinystatnet"}, "not weights written by `detection train`"),
        ([1, 2], "not weights written by `detection train`"),
    ],
    ids=["no weights", "unknown", "half", "another file"],
)
def test_stray_file_is_not_weights(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=rf"best\.pt: {said}"):
        load_network(tmp_path / "best.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pt: No such file"):
        load_network(tmp_path / "none.pt")
