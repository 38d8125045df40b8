"""Which model scores which leg, and that cached scores are used again."""

from __future__ import annotations

import json
import shutil
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection.decision.calibration import Calibration
from detection.detector import WEIGHTS, open_detector
from detection.errors import DataError
from detection.measure import heldout
from detection.measure.heldout import HeldOut, Material, models_by_fold, uncalibrated
from detection.measure.scoring import MIN_SPEECH_S, leg_samples
from detection.offline import Windowing, score_windows, verify_windows
from detection.training.sampling import FOLDS

LIGHT, HEAVY = "tinystatnet", "tinyaudionet"


def options(corpus: Path, *more: str) -> Namespace:
    parser = ArgumentParser()
    heldout.add_arguments(parser, twins="NAME")
    return parser.parse_args(["--data", f"{corpus / 'manifest.csv'}", "--cache", f"{corpus / 'cache'}", *more])


def twin_of(name: str, folder: Path, **contract: float) -> str:
    """A model like `name` in another file, maybe with another contract."""
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    card["contract"] |= contract
    (folder / f"{name}-twin.json").write_text(json.dumps(card))
    shutil.copy(WEIGHTS / f"{name}.onnx", folder / f"{name}-twin.onnx")
    return str(folder / f"{name}-twin.onnx")


def test_single_twin_is_for_all_groups_and_several_for_the_groups_held_out(tmp_path: Path) -> None:
    assert models_by_fold(LIGHT, [], []) == dict.fromkeys(range(FOLDS), LIGHT)
    twin = twin_of(LIGHT, tmp_path)
    assert models_by_fold(LIGHT, [twin], [0, 2]) == dict.fromkeys(range(FOLDS), twin)
    assert models_by_fold(LIGHT, [twin, LIGHT], [2, 0]) == {2: twin, 0: LIGHT}
    with pytest.raises(DataError, match=r"--twins: expected one, or one for each group of --hold-out \(3\), got 2"):
        models_by_fold(LIGHT, [twin, LIGHT], [0, 1, 2])
    with pytest.raises(DataError, match=rf"--twins: expected twins of {LIGHT}, got {HEAVY} with other windows"):
        models_by_fold(LIGHT, [HEAVY], [])


def test_each_leg_is_scored_by_the_model_for_its_group_raw(corpus: Path, tmp_path: Path) -> None:
    material = Material.of(options(corpus, "--channel", "clean", "pstn"))
    assert len(set(material.folds.tolist())) > 1
    assert material.is_fake.tolist() == [material.clips[leg[0]].is_fake for leg in material.legs]
    other = int(material.folds[0])
    models = {fold: HEAVY if fold == other else LIGHT for fold in range(FOLDS)}
    # Both take windows of 3 s, and here the test is about which model scores.
    scored = HeldOut(material, tmp_path, 1).scores(models)
    assert list(scored) == ["clean", "pstn"]
    for place, fold in enumerate(material.folds.tolist()):
        detector = uncalibrated(open_detector(models[fold]))
        channel = material.channels[1]
        expected = score_windows(leg_samples(channel, material.legs[place]), detector, MIN_SPEECH_S)
        assert [score.narrow for score in scored["pstn"][place]] == [score.narrow for score in expected]
        for one, two in zip(scored["pstn"][place], expected, strict=True):
            assert one.log_odds == pytest.approx(two.log_odds, nan_ok=True, abs=1e-4)


def test_verifier_scores_are_as_live_and_cached(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material = Material.of(options(corpus))
    light = Windowing.of(open_detector(LIGHT))
    models = dict.fromkeys(range(FOLDS), HEAVY)
    held_out = HeldOut(material, tmp_path, 1)
    scored = held_out.verifier_scores(models, light)["clean"]
    detector = uncalibrated(open_detector(HEAVY))
    samples = leg_samples(material.channels[0], material.legs[0])
    expected = verify_windows(samples, light, detector, MIN_SPEECH_S)
    assert [replace(one, log_odds=0) for one in scored[0]] == [replace(one, log_odds=0) for one in expected]
    assert [one.log_odds for one in scored[0]] == pytest.approx([one.log_odds for one in expected], abs=1e-4)
    assert [type(value) for value in (scored[0][0].after, scored[0][0].overlapping, scored[0][0].log_odds)] == [
        int,
        bool,
        float,
    ]

    def never(*_: object) -> None:
        pytest.fail("it scores again")

    monkeypatch.setattr(heldout, "LegScorer", never)
    assert held_out.verifier_scores(models, light)["clean"] == scored
    with pytest.raises(pytest.fail.Exception, match="it scores again"):
        held_out.verifier_scores(models, Windowing(4.0, 1.0))


def test_only_held_out_groups_are_scored(corpus: Path) -> None:
    material = Material.of(options(corpus, "--hold-out", "1", "3"))
    assert set(material.folds.tolist()) == {1, 3}


def test_uncalibrated_detector_returns_raw_log_odds() -> None:
    card = uncalibrated(open_detector(LIGHT)).card
    assert (card.calibration.wide, card.calibration.narrow) == (Calibration(), Calibration())
    assert np.isfinite(open_detector(LIGHT).card.calibration.wide.scale)
