"""Exporting a run: smaller weights, what they cost on clips held out, and one line for what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from detection.__main__ import main
from detection.decision.calibration import Calibration, ChannelCalibration
from detection.detector import WEIGHTS, open_detector, read_card
from detection.models import ARCHITECTURES
from detection.training.data import COLUMNS
from detection.training.facts import Facts, write_facts
from detection.training.runlog import save_weights
from tests.detection.signal.test_features import speechlike


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What training leaves behind, of a network that knows nothing."""
    torch.manual_seed(1)
    architecture = ARCHITECTURES["tinystatnet"]
    save_weights(architecture.build(architecture.contract), "tinystatnet", tmp_path / "best.pt")
    calibration = ChannelCalibration(wide=Calibration(), narrow=Calibration())
    provenance = read_card(WEIGHTS / "tinystatnet.json").provenance
    facts = Facts(calibration=calibration, raise_p=0.9, provenance=provenance)
    write_facts(facts, tmp_path / "best.pt")
    (tmp_path / "config.json").write_text(json.dumps({"hold_out": [0]}))
    return tmp_path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [",".join(COLUMNS)]
    for number in range(20):
        soundfile.write(tmp_path / f"{number}.wav", speechlike(20_000, number), 16_000)
        label = ("real", "fake")[number % 2]
        split = "val" if number > 15 else "train"
        rows.append(f"{number}.wav,{label},s{number},unknown,ann{number},en,{split},page{number // 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "manifest.csv"


@pytest.mark.slow
def test_half_precision_cost_is_measured_on_held_out_clips(
    run: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--storage", "float16", "--data", f"{manifest}", "--cache", f"{run / 'cache'}"]
    assert main(["export", f"{run}", "--out", f"{run}", "--name", "half", *arguments]) == 0
    said = capsys.readouterr().out
    assert "float16: 0." in said
    assert "log_odds_change 0.0" in said
    assert "eer_before" in said
    assert main(["export", f"{run}", "--out", f"{run}", "--name", "whole"]) == 0
    half, whole = open_detector(run / "half.onnx"), open_detector(run / "whole.onnx")
    assert (run / "half.onnx").stat().st_size < 0.7 * (run / "whole.onnx").stat().st_size
    assert half.card.provenance.metrics["float16_log_odds_change"] < 0.01
    assert "float16_log_odds_change" not in whole.card.provenance.metrics
    frames = np.random.default_rng(0).normal(-40, 20, (3, *whole.card.contract.input_shape)).astype(np.float32)
    assert half.score(frames).log_odds == pytest.approx(whole.score(frames).log_odds, abs=0.01)


@pytest.mark.slow
def test_missing_run_config_is_refused_when_measuring_cost(
    run: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "config.json").unlink()
    assert main(["export", f"{run}", "--out", f"{run}", "--data", f"{manifest}"]) == 2
    assert "config.json: expected the `hold_out` that `train` writes" in capsys.readouterr().err


def test_a_run_without_facts_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "best.json").unlink()
    assert main(["export", f"{run}", "--out", f"{run}"]) == 2
    assert "best.json: No such file" in capsys.readouterr().err


def test_facts_of_other_weights_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "final.pt").write_bytes((run / "best.pt").read_bytes())
    for twin in ([], ["--twin", f"{run}"]):
        assert main(["export", f"{run}", "--weights", "final.pt", "--out", f"{run}", *twin]) == 2
        assert "final.json: No such file" in capsys.readouterr().err
