"""The verifier's training as a user runs it, on a toy corpus and made-up published weights."""

from __future__ import annotations

import csv
import hashlib
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


def finetune(corpus: Path, wheel: Path, out: Path, *more: str) -> int:
    return main(
        ["finetune", "--data", f"{corpus / 'manifest.csv'}", "--published", f"{wheel}", "--out", f"{out}",
         "--cache", f"{corpus / 'cache'}", "--workers", "1", "--windows", "96", *more]
    )  # fmt: skip


@pytest.mark.slow
def test_trains_one_network_a_group_and_one_on_everything(
    corpus: Path, wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert finetune(corpus, wheel, out, "--group", "0", "1") == 0
    said = capsys.readouterr().err
    assert "without-0: original EER" in said
    assert "EER by grouped cross-validation" in said
    weights = {file.stem: torch.load(file, weights_only=True) for file in out.glob("*.pt")}
    assert set(weights) == {"whole", "without-0", "without-1"}
    assert {state["architecture"] for state in weights.values()} == {"specnet"}
    encoders = [state["weights"]["encoder.layers.3.0.weight"] for state in weights.values()]
    assert all(torch.equal(encoder, encoders[0]) for encoder in encoders)
    heads = [state["weights"]["decide.weight"] for state in weights.values()]
    assert not torch.equal(heads[0], heads[1])
    facts = read_facts(out / "whole.pt")
    assert set(facts.provenance.metrics) >= {"eer_original", "eer_pstn"}
    with (out / "opinions.csv").open() as lines:
        opinions = {Path(row["path"]).name for row in csv.DictReader(lines)}
    scores = np.load(out / "scores.npz")
    assert len(opinions) == len(scores["original"]) == len(scores["original_row"]) > 0

    before = {file: file.stat().st_mtime_ns for file in out.glob("*.pt")}
    assert finetune(corpus, wheel, out, "--group", "0", "1") == 0
    assert {file: file.stat().st_mtime_ns for file in out.glob("*.pt")} == before  # found, so not trained again

    assert main(["export", f"{out}", "--weights", "whole.pt", "--out", f"{tmp_path}"]) == 0
    detector = open_detector(tmp_path / "specnet.onnx")
    assert np.isfinite(detector.score(np.zeros((2, *detector.card.contract.input_shape), np.float32))).all()


@pytest.mark.slow
def test_probe_says_an_error_rate_of_each_share_of_sources(
    corpus: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", f"{corpus / 'manifest.csv'}", "--published", f"{wheel}", "--cache", f"{corpus / 'cache'}"]
    assert main(["probe", *arguments, "--workers", "1", "--sources", "0.8", "1", "--draws", "2"]) == 0
    said = capsys.readouterr().out
    assert said.count(" 80% of sources: EER") == 2
    assert said.count("100% of sources: EER") == 1
    assert main(["probe", *arguments, "--sources", "1.5"]) == 2
    assert "--sources: expected shares above 0" in capsys.readouterr().err
