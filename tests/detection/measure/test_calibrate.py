"""Calibrating: what is counted on a leg was fitted without its source, and the card tells of the worst channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection.decision.calibration import Calibration, ChannelCalibration
from detection.detector import WEIGHTS, open_detector, read_card
from detection.measure.calibrate import ChannelScores, cross_fitted, fitted, groups_of, n_with_another_map
from detection.types import Score
from tests.detection.measure.test_figures import clip
from tests.detection.measure.toy import GOOD, SOURCES, command, write_manifest

CURRENT = ChannelCalibration(wide=Calibration(), narrow=Calibration(scale=7.0))


def test_calibrate_writes_false_alarm_rates_into_the_card(
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
    out = capsys.readouterr().out
    assert "threshold" in out, "a table by channel"
    assert "hours" in out
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_rate_too_low_for_minutes_of_speech_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("calibrate", corpus / "manifest.csv", tmp_path, "--alerts-per-hour", "1") == 2
    assert "--alerts-per-hour: expected at least 3" in capsys.readouterr().err
    assert not (tmp_path / "tinystatnet.json").exists()


def test_calibration_needs_clips_of_both_labels(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(corpus / "bad.csv", [GOOD])
    assert command("calibrate", corpus / "bad.csv", tmp_path) == 2
    assert "expected clips of both labels to calibrate on" in capsys.readouterr().err


N_SOURCES = 6
GROUPS = np.repeat(np.arange(N_SOURCES), 2)
IS_FAKE = np.tile([False, True], N_SOURCES)
"""Each source has a leg of a human and one of a machine."""


def channel_scores(*, odd: float) -> ChannelScores:
    """Legs of 60 windows through a wide channel; those of the first source have log-odds higher by
    `odd`."""
    rng = np.random.default_rng(1)
    legs = []
    for group, is_fake in zip(GROUPS, IS_FAKE, strict=True):
        mean = (1.0 if is_fake else -1.0) + (odd if group == 0 else 0.0)
        unscored = Score(0.0, 3.0, 0.1, 0.1, float("nan"))
        log_odds = rng.normal(mean, 1.5, 60).tolist()
        legs.append([unscored, *(Score(at, at + 3.0, 2.4, 1.0, value) for at, value in enumerate(log_odds))])
    return ChannelScores("clean", legs, IS_FAKE)


def test_map_of_a_leg_is_fitted_without_its_group() -> None:
    plain, odd = (channel_scores(odd=shift) for shift in (0.0, 3.0))
    maps = {one: cross_fitted([one], GROUPS, CURRENT) for one in (plain, odd)}
    assert maps[plain][:2] == maps[odd][:2], "whatever the first source says, its map knows nothing of it"
    assert maps[plain][2] != maps[odd][2]
    assert maps[odd][0] == maps[odd][1] == fitted([odd], CURRENT, GROUPS != 0)
    assert fitted([odd], CURRENT) not in maps[odd], "the one written is fitted on all"
    assert {one.narrow for one in maps[odd]} == {CURRENT.narrow}, "there was no narrow window"


def test_each_leg_is_mapped_by_its_own_map() -> None:
    channels = channel_scores(odd=0.0)
    double, same = (ChannelCalibration(wide=Calibration(scale=scale), narrow=Calibration()) for scale in (2.0, 1.0))
    maps = [double if group == 0 else same for group in GROUPS]
    log_odds = channels.mapped(maps)
    assert np.array_equal(log_odds[:120], 2 * channels.raw[:120])
    assert np.array_equal(log_odds[120:], channels.raw[120:])
    legs = channels.calibrated(maps)
    assert [len(leg) for leg in legs] == [61] * len(GROUPS)
    assert np.isnan(legs[0][0].log_odds)
    assert legs[0][1].log_odds == pytest.approx(2 * channels.raw[0])


def test_single_source_is_grouped_by_speaker() -> None:
    clips = [
        clip("fake" if is_fake else "real", "", f"{'Ann' if is_fake else 'ann'}{group}")
        for group, is_fake in zip(GROUPS, IS_FAKE, strict=True)
    ]
    legs = [(number,) for number in range(len(clips))]
    groups = groups_of(clips, legs)
    assert len(set(groups.tolist())) > 1
    assert np.array_equal(groups[::2], groups[1::2]), "a person, and a machine in that person's voice"
    channels = channel_scores(odd=0.0)
    assert CURRENT not in cross_fitted([channels], groups, CURRENT)
    nobody = [replace(one, speaker="") for one in clips]
    assert len(set(groups_of(nobody, legs).tolist())) > 1
    paged = [replace(one, source=f"page{number < 6}") for number, one in enumerate(clips)]
    assert np.array_equal(groups_of(paged, legs) == groups_of(paged, legs)[0], np.arange(len(clips)) < 6)


def test_legs_measured_with_the_previous_map_are_counted() -> None:
    """Of one person and one machine there's nobody else to fit a map on."""
    channels = channel_scores(odd=0.0)
    before, shipped = [CURRENT] * len(GROUPS), fitted([channels], CURRENT)
    maps = cross_fitted([channels], np.zeros(len(GROUPS), np.int64), CURRENT)
    assert maps == before
    assert n_with_another_map(before, maps, shipped) == len(GROUPS)
    assert n_with_another_map(before, maps, CURRENT) == 0, "too few windows for any map, and none is new"
    assert n_with_another_map(before, cross_fitted([channels], GROUPS, CURRENT), shipped) == 0
