"""Thresholds stated by the false alarms they cost: resolved by the models' cards, or refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detection.alarms import AlarmRate, AlarmRates
from detection.detector import WEIGHTS, CardDetector, read_card
from gateway.app import running
from gateway.call.thresholds import Thresholds, thresholds
from gateway.config import Settings, load
from gateway.doctor import examine
from gateway.errors import ConfigError

ALARMS = AlarmRates(
    hours=1.5, channels=("clean",), data_hash="x",
    rates=tuple(AlarmRate(raise_p=p, per_hour=rate, low=0, high=99) for p, rate in ((0.7, 20), (0.85, 6), (0.95, 1))),
)  # fmt: skip


class Deaf:
    """A network that nobody asks."""

    def log_odds(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError


def with_card(alarms: AlarmRates | None, name: str = "own") -> CardDetector:
    card = read_card(WEIGHTS / "tinyaudionet.json")
    return CardDetector(card.model_copy(update={"name": name, "alarms": alarms, "raise_p": 0.9}), Deaf())


def test_without_a_verifier_the_model_may_cost_it_all() -> None:
    found = thresholds(load(environ={}, alerts_per_hour=7), with_card(ALARMS), None)
    assert found == Thresholds(model=0.85, verifier=None)


def test_model_and_verifier_may_cost_half_each() -> None:
    seldom = ALARMS.model_copy(update={"rates": tuple(AlarmRate(raise_p=0.6, per_hour=1, low=0, high=9) for _ in "1")})
    found = thresholds(load(environ={}, alerts_per_hour=12), with_card(ALARMS), with_card(seldom))
    assert found == Thresholds(model=0.85, verifier=0.6)


def test_what_the_settings_say_of_the_verifier_stands() -> None:
    settings = load(environ={}, alerts_per_hour=12, verifier_p=0.97)
    assert thresholds(settings, with_card(ALARMS), with_card(None)) == Thresholds(model=0.85, verifier=0.97)


def test_where_no_rate_is_set_the_cards_decide() -> None:
    assert thresholds(load(environ={}), with_card(None), with_card(None)) == Thresholds(0.9, 0.9)
    assert thresholds(load(environ={}, alert_p=0.8), with_card(None), with_card(None)) == Thresholds(0.8, 0.9)


@pytest.mark.parametrize(
    ("alarms", "per_hour", "says"),
    [
        (
            None,
            12,
            r"alerts_per_hour: heavy@.*: its false alarms were never .*\(for heavy@.*: half of 12, which",
        ),
        (ALARMS, 3, r"alerts_per_hour: expected at least 2 an hour.*got 1\.5 \(for heavy@.*: half of 3, which"),
    ],
)
def test_a_verifier_that_cannot_promise_its_half_is_refused(
    alarms: AlarmRates | None, per_hour: float, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        thresholds(load(environ={}, alerts_per_hour=per_hour), with_card(ALARMS), with_card(alarms, "heavy"))


def model(folder: Path, alarms: AlarmRates | None) -> str:
    card = json.loads((WEIGHTS / "tinyaudionet.json").read_text())
    card["alarms"] = alarms and alarms.model_dump()
    (folder / "own.json").write_text(json.dumps(card))
    (folder / "own.onnx").write_bytes((WEIGHTS / "tinyaudionet.onnx").read_bytes())
    return str(folder / "own.onnx")


def settings(folder: Path, alarms: AlarmRates | None, per_hour: float, verifier: str = "off") -> Settings:
    return load(
        port=0, journal=folder / "j.sqlite3", model=model(folder, alarms), alerts_per_hour=per_hour, verifier=verifier
    )


async def test_the_card_says_which_threshold_costs_so_many_alarms(tmp_path: Path) -> None:
    async with running(settings(tmp_path, ALARMS, 7)) as house:
        assert house.registry._judging.policy.raise_p == 0.85


async def test_the_verifier_that_runs_keeps_to_its_half(tmp_path: Path) -> None:
    async with running(settings(tmp_path, ALARMS, 12, verifier=model(tmp_path, ALARMS))) as house:
        judging = house.registry._judging
        assert judging.verifier is not None
        assert (judging.policy.raise_p, judging.verifier.policy.raise_p) == (0.85, 0.85)


@pytest.mark.parametrize(
    ("alarms", "per_hour", "says"),
    [
        (None, 7, r"alerts_per_hour: .*: its false alarms were never counted \(`detection calibrate` does\)"),
        (ALARMS, 1.5, r"alerts_per_hour: expected at least 2 an hour.*rule of three\); got 1\.5"),
    ],
)
async def test_what_no_card_can_promise_is_refused(
    tmp_path: Path, alarms: AlarmRates | None, per_hour: float, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        async with running(settings(tmp_path, alarms, per_hour)):
            pass


def test_doctor_tells_the_thresholds(tmp_path: Path) -> None:
    config, own = tmp_path / "callscreen.toml", model(tmp_path, ALARMS)
    found = {}
    for verifier, per_hour in (("off", 7), ("off", 1.5), (own, 12)):
        config.write_text(f'model = "{own}"\nalerts_per_hour = {per_hour}\nverifier = "{verifier}"\n')
        found[per_hour] = {finding.check: finding for finding in examine(config)}["alerts_per_hour"]
    assert (found[7].state, found[7].detail) == ("ok", "alerts are raised from probability 0.85 on")
    assert found[12].detail == "alerts are raised from probability 0.85 on, the verifier's from 0.85"
    assert (found[1.5].state, found[1.5].detail.startswith("expected at least 2 an hour")) == ("error", True)
