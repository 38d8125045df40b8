"""Fitting the fusion: what is counted on a leg was fitted without its source, and serving takes what is written."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from detection import Score, open_detector, open_fusion
from detection.__main__ import main
from detection.decision.calibration import Calibration, ChannelCalibration, fit, logistic_regression
from detection.decision.fusion import FILE, MEAN, Fusion, FusionWeights
from detection.detector import WEIGHTS
from detection.measure.fuse import Pairs, calibrated, cross_fitted, fitted, verifier_is_better
from detection.measure.operating import THRESHOLDS
from detection.offline import VerifierScore
from tests.detection.fakes import mean_fusion

LIGHT, HEAVY = "tinystatnet", "tinyaudionet"
N_SOURCES = 6
GROUPS = np.repeat(np.arange(N_SOURCES), 2)
IS_FAKE = np.tile([False, True], N_SOURCES)
SOURCES = [f"page{group}" for group in GROUPS]


def test_regression_recovers_the_map_that_generated_the_labels() -> None:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 3, (60_000, 2))
    is_fake = rng.random(len(log_odds)) < 1 / (1 + np.exp(-(0.3 * log_odds[:, 0] + 0.6 * log_odds[:, 1])))
    assert logistic_regression(log_odds, is_fake) == pytest.approx([0.3, 0.6, 0], abs=0.03)
    weights = rng.uniform(0.5, 2, len(log_odds))
    assert logistic_regression(log_odds, is_fake, weights) == pytest.approx([0.3, 0.6, 0], abs=0.03)
    alone = fit(log_odds[:, 0].astype(np.float32), is_fake)
    assert logistic_regression(log_odds[:, :1], is_fake) == pytest.approx([alone.scale, alone.offset], abs=1e-4)


def test_weights_count_like_repeated_rows() -> None:
    log_odds = np.array([[-1.0], [1.0], [1.0], [-1.0], [1.0]])
    is_fake = np.array([False, False, True, True, True])
    weighted = logistic_regression(log_odds, is_fake, np.array([2.0, 1.0, 3.0, 1.0, 0.5]))
    repeated = np.repeat(np.arange(5), [4, 2, 6, 2, 1])
    assert logistic_regression(log_odds[repeated], is_fake[repeated]) == pytest.approx(weighted)


def pairs(*, odd: float, narrow: bool = False) -> Pairs:
    """Legs of 60 s that both models score; the verifier's log-odds are `odd` higher for the first source."""
    rng = np.random.default_rng(1)
    scores, verifier_scores = [], []
    for group, is_fake in zip(GROUPS, IS_FAKE, strict=True):
        mean = 1.0 if is_fake else -1.0
        light = rng.normal(mean, 1.5, 60).tolist()
        heavy = rng.normal(mean + (odd if group == 0 else 0.0), 1.0, 15).tolist()
        scores.append([Score(at, at + 3.0, 2.4, 0.8, value, narrow=narrow) for at, value in enumerate(light)])
        verifier_scores.append(
            [VerifierScore(4 * at + 1, 4.0 * at, 4.0 * at + 4, False, value, narrow) for at, value in enumerate(heavy)]
        )
    return Pairs("clean", scores, verifier_scores, IS_FAKE, SOURCES)


def test_windows_are_matched_as_live() -> None:
    one = pairs(odd=0.0)
    assert len(one.light) == len(one.verifier) == 12 * 58, "the last two have no score of the verifier yet"
    assert one.verifier[:2].tolist() == [one.verifier_scores[0][0].log_odds] * 2
    assert one.verifier[2] == one.verifier_scores[0][1].log_odds
    assert one.light[0] == one.scores[0][0].log_odds
    scraps = [Score(0.0, 3.0, 0.5, 0.5, float("nan")), *one.scores[0][1:]]
    again = [VerifierScore(2, 2.0, 6.0, True, 9.0, False), *one.verifier_scores[0]]
    other = Pairs("clean", [scraps], [again], np.array([False]), ["page"])
    assert np.array_equal(other.light, one.light[1:58])
    assert not (other.verifier == 9.0).any(), "a second look is no window of its own"


def test_fusion_of_a_leg_is_fitted_without_its_group() -> None:
    plain, odd = pairs(odd=0.0), pairs(odd=5.0)
    current = mean_fusion()
    maps = {one: cross_fitted([one], GROUPS, current) for one in (plain, odd)}
    assert maps[plain][:2] == maps[odd][:2], "whatever the first source says, its map knows nothing of it"
    assert maps[plain][2] != maps[odd][2]
    assert fitted([odd], current) not in maps[odd], "the one written is fitted on all"
    weights = fitted([plain], current).wide
    assert weights.verifier > weights.light > 0, "the one with less noise counts more"
    assert {one.narrow for one in maps[odd]} == {MEAN}, "there was no narrow window"
    llr = odd.fused(maps[odd])
    assert llr[0] == pytest.approx(maps[odd][0].llr(odd.light[0], odd.verifier[0], False))


def test_map_that_costs_more_than_the_verifier_alone_is_recognised() -> None:
    plain, current = pairs(odd=0.0), mean_fusion()
    maps = cross_fitted([plain], GROUPS, current)
    assert not verifier_is_better([plain], maps, "wide"), "both know something, and err alone"
    backwards = current.model_copy(update={"wide": FusionWeights(light=1.0, verifier=-1.0, offset=0.0)})
    assert verifier_is_better([plain], [backwards] * len(maps), "wide")
    assert not verifier_is_better([plain], [backwards] * len(maps), "narrow"), "there was no such window"


def test_each_class_of_channel_has_its_own() -> None:
    wide, narrow = pairs(odd=0.0), pairs(odd=9.0, narrow=True)
    fusion = fitted([wide, narrow], mean_fusion())
    assert fusion.wide == fitted([wide], mean_fusion()).wide
    assert fusion.narrow == fitted([narrow], mean_fusion()).narrow
    assert fusion.wide != fusion.narrow


def test_raw_log_odds_are_mapped_by_the_calibration_of_the_card() -> None:
    double = ChannelCalibration(wide=Calibration(scale=2), narrow=Calibration(offset=1))
    legs = [[Score(0.0, 3.0, 2.0, 2.0, 1.0)], [Score(0.0, 3.0, 2.0, 2.0, 1.0, narrow=True)]]
    assert [leg[0].log_odds for leg in calibrated(legs, double)] == [2.0, 2.0]
    assert [leg[0].log_odds for leg in calibrated(legs[1:], double)] == [2.0]


def fuse(corpus: Path, out: Path, *more: str) -> int:
    where = ["--data", f"{corpus / 'manifest.csv'}", "--out", f"{out}", "--cache", f"{corpus / 'cache'}"]
    return main(["fuse", f"{out / LIGHT}.onnx", HEAVY, *where, *more])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with the light model."""
    for suffix in (".onnx", ".json"):
        shutil.copy(WEIGHTS / f"{LIGHT}{suffix}", tmp_path)
    return tmp_path


def test_written_fusion_is_opened_by_the_gateway(corpus: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twins = [f"{LIGHT},{HEAVY}"] * 5
    held_out = ["--hold-out", *"01234", "--twins", *twins]
    assert fuse(corpus, own, "--channel", "clean", "pstn", *held_out) == 0
    light, heavy = open_detector(own / f"{LIGHT}.onnx"), open_detector(HEAVY)
    fusion, plain = open_fusion(light, heavy)
    assert plain is None
    assert fusion == Fusion.model_validate_json((own / FILE).read_text())
    assert fusion.alarms is not None
    assert fusion.alarms.channels == ("clean", "pstn")
    assert fusion.raise_p == max(light.raise_p, heavy.raise_p)
    assert fusion.wide == MEAN, "two dozen windows are too few to fit a map to"
    with (own / "operating_points.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["channel"], float(row["raise_p"])) for row in rows[: len(THRESHOLDS)]] == [
        ("clean", raise_p) for raise_p in THRESHOLDS
    ]
    assert len(rows) == 2 * len(THRESHOLDS)
    assert all(0 <= float(row["detected_low"]) <= float(row["detected"]) <= float(row["detected_high"]) for row in rows)
    out = " ".join(capsys.readouterr().out.split())
    assert "the mean: fewer than 100 windows of a label" in out
    assert "alerted within 12 s of speech" in out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--twins", LIGHT], "--twins: expected LIGHT,VERIFIER, got 'tinystatnet'"),
        (["--twins", f"{HEAVY},{HEAVY}"], f"got {HEAVY} with other windows"),
        (["--alerts-per-hour", "1"], "--alerts-per-hour: expected at least"),
        (["--raise-p", "0.4"], "--raise-p: expected above 0.5 and below 1"),
        (["--raise-p", "0.9", "--alerts-per-hour", "9"], "without --alerts-per-hour"),
    ],
)
def test_invalid_options_are_refused_in_one_line(
    more: list[str], says: str, corpus: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fuse(corpus, own, *more) == 2
    fault = capsys.readouterr().err
    assert says in fault
    assert not (own / FILE).exists()
