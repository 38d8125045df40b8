"""Training `specnet` as a user runs it, on a toy corpus and made-up published weights."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.__main__ import main
from detection.detector import open_detector
from detection.training import distillmos
from detection.training.facts import read_facts
from tests.detection.training.test_distillmos import made_up, wheel_of
from tests.detection.training.test_training import corpus

__all__ = ["corpus"]


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = wheel_of(made_up(), tmp_path / "it.whl")
    with zipfile.ZipFile(file) as archive:
        sha256 = hashlib.sha256(archive.read(distillmos.WEIGHTS)).hexdigest()
    monkeypatch.setattr(distillmos, "SHA256", sha256)
    return file


def regress(corpus: Path, wheel: Path, out: Path, *more: str) -> int:
    return main(
        ["regress", "--data", f"{corpus / 'manifest.csv'}", "--published", f"{wheel}", "--out", f"{out}",
         "--cache", f"{corpus / 'cache'}", "--workers", "1", *more]
    )  # fmt: skip


@pytest.mark.slow
def test_trains_one_regression_a_group_and_one_on_everything(
    corpus: Path, wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert regress(corpus, wheel, out) == 0
    said = capsys.readouterr().err
    assert "without group 0: original EER" in said
    assert "5-fold grouped cross-validation: pstn EER" in said
    weights = {file.stem: torch.load(file, weights_only=True) for file in out.glob("*.pt")}
    assert set(weights) == {"whole", *(f"without-{group}" for group in range(5))}
    assert {state["architecture"] for state in weights.values()} == {"specnet"}
    encoders = [state["weights"]["encoder.layers.3.0.weight"] for state in weights.values()]
    assert all(torch.equal(encoder, encoders[0]) for encoder in encoders)
    classifiers = [state["weights"]["decide.weight"] for state in weights.values()]
    assert not torch.equal(classifiers[0], classifiers[1])
    assert set(read_facts(out / "whole.pt").provenance.metrics) >= {"eer_original", "eer_pstn"}
    with (out / "opinions.csv").open() as lines:
        assert len(list(csv.DictReader(lines))) == 16  # all clips of train and val

    assert main(["export", f"{out}", "--weights", "whole.pt", "--out", f"{tmp_path}"]) == 0
    detector = open_detector(tmp_path / "specnet.onnx")
    assert np.isfinite(detector.score(np.zeros((2, *detector.card.contract.input_shape), np.float32))).all()


@pytest.mark.slow
def test_twin_is_not_trained_on_its_test_clips(
    corpus: Path, wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (corpus / "manifest.csv").read_text().splitlines()
    (corpus / "calls.csv").write_text("\n".join([rows[0], *(row for row in rows if "page0" in row)]) + "\n")
    out = tmp_path / "twin"
    assert regress(corpus, wheel, out, "--without", f"{corpus / 'calls.csv'}") == 0
    assert json.loads((out / "config.json").read_text())["clips"] == 14
    (corpus / "calls.csv").write_text((corpus / "manifest.csv").read_text())
    assert regress(corpus, wheel, out, "--without", f"{corpus / 'calls.csv'}") == 2
    assert "expected clips of both labels to train on" in capsys.readouterr().err


@pytest.mark.slow
def test_probe_prints_an_error_rate_for_each_share_of_sources(
    corpus: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", f"{corpus / 'manifest.csv'}", "--published", f"{wheel}", "--cache", f"{corpus / 'cache'}"]
    assert main(["probe", *arguments, "--workers", "1", "--sources", "0.8", "1", "--draws", "2"]) == 0
    said = capsys.readouterr().out
    assert said.count(" 80% of sources: EER") == 2
    assert said.count("100% of sources: EER") == 1
    assert main(["probe", *arguments, "--sources", "1.5"]) == 2
    assert "--sources: expected shares above 0" in capsys.readouterr().err
