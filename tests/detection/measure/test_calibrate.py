"""Calibrating: what is counted on a leg was fitted without its source, and the card tells of the worst channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection.decision.calibration import Calibration, ChannelCalibration
from detection.detector import WEIGHTS, open_detector, read_card
from detection.measure.calibrate import Heard, cross_fitted, fitted, groups_of, n_with_another_map
from detection.types import Score
from tests.detection.measure.test_figures import clip
from tests.detection.measure.toy import GOOD, SOURCES, command, write_manifest

CURRENT = ChannelCalibration(wide=Calibration(), narrow=Calibration(scale=7.0))


def test_calibrate_writes_a_model_that_knows_its_false_alarms(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("calibrate", corpus / "manifest.csv", tmp_path, "--channel", "clean", "pstn") == 0
    detector, before = open_detector(tmp_path / "tinystatnet.onnx"), read_card(WEIGHTS / "tinystatnet.json")
    alarms = detector.card.alarms
    assert alarms is not None
    assert alarms.channels == ("clean", "pstn")
    assert alarms.hours == pytest.approx(SOURCES * 7 / 3_600, rel=0.3)
    assert [rate.raise_p for rate in alarms.rates] == sorted(rate.raise_p for rate in alarms.rates)
    assert all(rate.low <= rate.per_hour <= rate.high for rate in alarms.rates)
    # Two dozen windows are too few to fit a map to.
    assert detector.card.calibration == before.calibration
    assert detector.raise_p == before.raise_p
    said = capsys.readouterr().out
    assert "threshold" in said, "a table by channel"
    assert "hours heard" in said
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_a_rate_that_minutes_of_speech_cannot_show_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("calibrate", corpus / "manifest.csv", tmp_path, "--alerts-per-hour", "1") == 2
    assert "--alerts-per-hour: expected at least 3" in capsys.readouterr().err
    assert not (tmp_path / "tinystatnet.json").exists()


def test_one_label_alone_cannot_be_calibrated_on(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(corpus / "bad.csv", [GOOD])
    assert command("calibrate", corpus / "bad.csv", tmp_path) == 2
    assert "expected clips of both labels to calibrate on" in capsys.readouterr().err


N_SOURCES = 6
GROUPS = np.repeat(np.arange(N_SOURCES), 2)
IS_FAKE = np.tile([False, True], N_SOURCES)
"""Each source has a leg of a human and one of a machine."""


def hear(*, odd: float) -> Heard:
    """Legs of 60 windows through a wide channel; those of the first source are said `odd` log-odds more synthetic."""
    rng = np.random.default_rng(1)
    legs = []
    for group, is_fake in zip(GROUPS, IS_FAKE, strict=True):
        mean = (1.0 if is_fake else -1.0) + (odd if group == 0 else 0.0)
        unheard = Score(0.0, 3.0, 0.1, 0.1, float("nan"))
        said = rng.normal(mean, 1.5, 60).tolist()
        legs.append([unheard, *(Score(at, at + 3.0, 2.4, 1.0, value) for at, value in enumerate(said))])
    return Heard("clean", legs, IS_FAKE)


def test_a_leg_s_map_is_fitted_without_its_group() -> None:
    plain, odd = (hear(odd=shift) for shift in (0.0, 3.0))
    maps = {one: cross_fitted([one], GROUPS, CURRENT) for one in (plain, odd)}
    assert maps[plain][:2] == maps[odd][:2], "whatever the first source says, its map knows nothing of it"
    assert maps[plain][2] != maps[odd][2]
    assert maps[odd][0] == maps[odd][1] == fitted([odd], CURRENT, GROUPS != 0)
    assert fitted([odd], CURRENT) not in maps[odd], "the one written is fitted on all"
    assert {one.narrow for one in maps[odd]} == {CURRENT.narrow}, "no narrow window was heard"


def test_each_leg_is_mapped_by_its_own_map() -> None:
    heard = hear(odd=0.0)
    double, same = (ChannelCalibration(wide=Calibration(scale=scale), narrow=Calibration()) for scale in (2.0, 1.0))
    maps = [double if group == 0 else same for group in GROUPS]
    said = heard.mapped(maps)
    assert np.array_equal(said[:120], 2 * heard.raw[:120])
    assert np.array_equal(said[120:], heard.raw[120:])
    legs = heard.calibrated(maps)
    assert [len(leg) for leg in legs] == [61] * len(GROUPS)
    assert np.isnan(legs[0][0].log_odds)
    assert legs[0][1].log_odds == pytest.approx(2 * heard.raw[0])


def test_one_source_alone_is_dealt_by_its_speakers() -> None:
    clips = [
        clip("fake" if is_fake else "real", "", f"{'Ann' if is_fake else 'ann'}{group}")
        for group, is_fake in zip(GROUPS, IS_FAKE, strict=True)
    ]
    legs = [(number,) for number in range(len(clips))]
    groups = groups_of(clips, legs)
    assert len(set(groups.tolist())) > 1
    assert np.array_equal(groups[::2], groups[1::2]), "a person, and a machine in that person's voice"
    heard = hear(odd=0.0)
    assert CURRENT not in cross_fitted([heard], groups, CURRENT)
    nobody = [replace(one, speaker="") for one in clips]
    assert len(set(groups_of(nobody, legs).tolist())) > 1
    paged = [replace(one, source=f"page{number < 6}") for number, one in enumerate(clips)]
    assert np.array_equal(groups_of(paged, legs) == groups_of(paged, legs)[0], np.arange(len(clips)) < 6)


def test_what_is_not_counted_with_a_map_like_the_new_one_is_told() -> None:
    """Of one person and one machine there's nobody else to fit a map on."""
    heard = hear(odd=0.0)
    before, shipped = [CURRENT] * len(GROUPS), fitted([heard], CURRENT)
    maps = cross_fitted([heard], np.zeros(len(GROUPS), np.int64), CURRENT)
    assert maps == before
    assert n_with_another_map(before, maps, shipped) == len(GROUPS)
    assert n_with_another_map(before, maps, CURRENT) == 0, "too few windows for any map, and none is new"
    assert n_with_another_map(before, cross_fitted([heard], GROUPS, CURRENT), shipped) == 0
