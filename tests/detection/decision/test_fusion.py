"""The fusion of two models: which map counts, whom it is for, and what there is where nobody fitted one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from detection import ModelError, open_detector, open_fusion
from detection.decision.alarms import AlarmRate, AlarmRates
from detection.decision.calibration import Calibration
from detection.decision.fusion import FILE, MEAN, Fusion, FusionWeights, read_fusion
from detection.detector import WEIGHTS, CardDetector

LIGHT, HEAVY = "tinyaudionet", "ecapa_tdnn"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[CardDetector, CardDetector]:
    """A light model in a folder of its own, and a verifier in another."""
    for role, name in (("light", LIGHT), ("heavy", HEAVY)):
        (tmp_path / role).mkdir()
        for suffix in (".onnx", ".json"):
            shutil.copy(WEIGHTS / f"{name}{suffix}", tmp_path / role)
    return open_detector(tmp_path / "light" / f"{LIGHT}.onnx"), open_detector(tmp_path / "heavy" / f"{HEAVY}.onnx")


def fitted(pair: tuple[CardDetector, CardDetector]) -> Fusion:
    wide, narrow = FusionWeights(light=0.5, verifier=2.0, offset=-1.0), FusionWeights(light=1.0, verifier=3.0, offset=0)
    return Fusion.by_mean(*pair).model_copy(update={"wide": wide, "narrow": narrow, "raise_p": 0.8})


def test_map_depends_on_models_and_channel_class(pair: tuple[CardDetector, CardDetector]) -> None:
    fusion = fitted(pair)
    assert [fusion.llr(1.5, None, narrow) for narrow in (False, True)] == [1.5, 1.5]
    assert [fusion.llr(1.0, 2.0, narrow) for narrow in (False, True)] == [3.5, 7.0]


@pytest.mark.parametrize("folder", ["light", "heavy"])
def test_fusion_file_is_found_beside_either_model(
    folder: str, pair: tuple[CardDetector, CardDetector], tmp_path: Path
) -> None:
    (tmp_path / folder / FILE).write_text(fitted(pair).model_dump_json())
    assert open_fusion(*pair) == (fitted(pair), None)


def test_without_a_file_it_is_the_mean_with_the_higher_threshold(pair: tuple[CardDetector, CardDetector]) -> None:
    fusion, reason = open_fusion(*pair)
    assert (fusion.wide, fusion.narrow) == (MEAN, MEAN)
    assert fusion.llr(1.0, -3.0, False) == -1.0
    assert fusion.raise_p == max(one.raise_p for one in pair)
    assert reason is not None
    assert reason.startswith(f"no {FILE} beside {LIGHT}@")
    assert reason.endswith("using the mean of both models' log-odds")
    with pytest.raises(ModelError, match=rf"{LIGHT}@\w+ with {HEAVY}@\w+: no measured false alarms"):
        fusion.raise_p_for(3)


def test_fusion_of_other_models_or_calibrations_is_not_used(
    pair: tuple[CardDetector, CardDetector], tmp_path: Path
) -> None:
    light, heavy = pair
    other = fitted((open_detector("tinystatnet"), heavy))
    (tmp_path / "light" / FILE).write_text(other.model_dump_json())
    fusion, reason = open_fusion(light, heavy)
    assert fusion.wide == MEAN
    assert reason is not None
    assert f"{FILE}: light: fitted for tinystatnet@" in reason
    assert f"not for {light.name};" in reason
    (tmp_path / "light" / FILE).write_text(fitted(pair).model_dump_json())
    calibration = heavy.card.calibration.model_copy(update={"wide": Calibration(scale=9)})
    again = CardDetector(heavy.card.model_copy(update={"calibration": calibration}), heavy.backend, heavy.folder)
    _, reason = open_fusion(light, again)
    assert reason is not None
    assert f"verifier: fitted for {heavy.name} with another calibration than its card has now" in reason


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", r"fusion\.json: fusion: Invalid JSON"), ("{}", r"fusion\.json: light: Field required")],
)
def test_malformed_fusion_file_is_refused(
    text: str, says: str, pair: tuple[CardDetector, CardDetector], tmp_path: Path
) -> None:
    (tmp_path / "heavy" / FILE).write_text(text)
    with pytest.raises(ModelError, match=says):
        open_fusion(*pair)
    with pytest.raises(ModelError, match=r"nothing: No such file"):
        read_fusion(tmp_path / "nothing")


def test_measured_false_alarms_choose_the_threshold(pair: tuple[CardDetector, CardDetector]) -> None:
    rates = tuple(AlarmRate(raise_p=p, per_hour=rate, low=0, high=99) for p, rate in ((0.7, 20), (0.85, 6)))
    alarms = AlarmRates(hours=1.5, channels=("clean",), data_hash="x", rates=rates)
    fusion = fitted(pair).model_copy(update={"alarms": alarms})
    assert fusion.raise_p_for(7) == 0.85
    with pytest.raises(ModelError, match="at least 2 an hour"):
        fusion.raise_p_for(1)


def test_weights_must_be_numbers() -> None:
    with pytest.raises(ValidationError, match="finite"):
        FusionWeights(light=float("inf"), verifier=1.0, offset=0.0)
