"""A threshold stated by the false alarms it costs: resolved by card or fusion, or refused before anything starts."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from detection.decision.alarms import AlarmRate, AlarmRates
from detection.decision.fusion import FILE, Fusion
from detection.detector import WEIGHTS, CardDetector, open_detector, read_card
from gateway.app import running
from gateway.call.thresholds import threshold
from gateway.commands.doctor import examine
from gateway.config import Settings
from gateway.config_loading import load
from gateway.errors import ConfigError
from tests.detection.fakes import mean_fusion

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


def fused(alarms: AlarmRates | None) -> Fusion:
    return mean_fusion(raise_p=0.8).model_copy(update={"alarms": alarms})


def test_without_a_verifier_it_is_the_models() -> None:
    assert threshold(load(environ={}), with_card(ALARMS), None) == 0.9
    assert threshold(load(environ={}, alerts_per_hour=7), with_card(ALARMS), None) == 0.85


def test_with_a_verifier_it_is_the_fusions() -> None:
    assert threshold(load(environ={}), with_card(None), fused(ALARMS)) == 0.8
    assert threshold(load(environ={}, alerts_per_hour=7), with_card(None), fused(ALARMS)) == 0.85


def test_what_the_settings_say_stands() -> None:
    for fusion in (None, fused(ALARMS)):
        assert threshold(load(environ={}, alert_p=0.97), with_card(ALARMS), fusion) == 0.97


@pytest.mark.parametrize(
    ("alarms", "per_hour", "says"),
    [
        (None, 12, r"alerts_per_hour: light@.* with heavy@.*: no measured false alarms"),
        (ALARMS, 1.5, r"alerts_per_hour: expected at least 2 an hour.*got 1\.5"),
    ],
)
def test_a_fusion_that_cannot_promise_it_is_refused(alarms: AlarmRates | None, per_hour: float, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        threshold(load(environ={}, alerts_per_hour=per_hour), with_card(ALARMS), fused(alarms))


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
    async with running(settings(tmp_path, ALARMS, 7)) as server:
        assert server.registry._engine.policies.usual.rules.raise_p == 0.85


async def test_a_fusion_beside_the_model_is_used(tmp_path: Path) -> None:
    own = model(tmp_path, None)
    pair = Fusion.by_mean(open_detector(own), open_detector("tinystatnet"))
    (tmp_path / FILE).write_text(pair.model_copy(update={"alarms": ALARMS}).model_dump_json())
    async with running(settings(tmp_path, None, 7, verifier="tinystatnet")) as server:
        engine = server.registry._engine
        assert engine.verifier is not None
        assert engine.verifier.fusion.alarms == ALARMS
        assert engine.policies.usual.rules.raise_p == 0.85


async def test_a_missing_fusion_is_logged_and_a_broken_one_stops_the_start(tmp_path: Path) -> None:
    own = model(tmp_path, None)
    start = partial(load, port=0, journal=tmp_path / "j.sqlite3", model=own, verifier="tinystatnet")
    with capture_logs() as logs:
        async with running(start()) as server:
            assert server.verifier is not None
    (warning,) = [entry for entry in logs if entry["event"] == "no fitted fusion"]
    assert "fitted for specnet@" in warning["reason"]  # the one beside the shipped models, which is for another pair
    assert "using the mean of both models' log-odds" in warning["reason"]
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ConfigError, match=r"verifier: .*fusion\.json: light: Field required"):
        async with running(start()):
            pass


@pytest.mark.parametrize(
    ("alarms", "per_hour", "says"),
    [
        (None, 7, r"alerts_per_hour: .*: no measured false alarms"),
        (ALARMS, 1.5, r"alerts_per_hour: expected at least 2 an hour.*rule of three\); got 1\.5"),
    ],
)
async def test_a_rate_that_no_card_guarantees_is_refused(
    tmp_path: Path, alarms: AlarmRates | None, per_hour: float, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        async with running(settings(tmp_path, alarms, per_hour)):
            pass


def test_doctor_tells_the_threshold(tmp_path: Path) -> None:
    config, own = tmp_path / "callscreen.toml", model(tmp_path, ALARMS)
    pair = Fusion.by_mean(open_detector(own), open_detector("tinystatnet"))
    rates = tuple(rate.model_copy(update={"raise_p": rate.raise_p + 0.01}) for rate in ALARMS.rates)
    fusion = pair.model_copy(update={"alarms": ALARMS.model_copy(update={"rates": rates})})
    (tmp_path / FILE).write_text(fusion.model_dump_json())
    found = {}
    for verifier, per_hour in (("off", 7), ("off", 1.5), ("tinystatnet", 6)):
        config.write_text(f'model = "{own}"\nalerts_per_hour = {per_hour}\nverifier = "{verifier}"\n')
        found[per_hour] = {finding.check: finding for finding in examine(config)}
    seven, little, fused = (found[per_hour]["alerts_per_hour"] for per_hour in (7, 1.5, 6))
    assert (seven.state, seven.detail) == ("ok", "alerts are raised above probability 0.85")
    assert (fused.state, fused.detail) == ("ok", "alerts are raised above probability 0.86")
    assert (little.state, little.detail.startswith("expected at least 2 an hour")) == ("error", True)
    assert found[6]["fusion"].state == "ok"
