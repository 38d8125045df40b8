"""A threshold stated by the false alarms it costs: resolved by the model's card, or refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detection.alarms import AlarmRate, AlarmRates
from detection.detector import WEIGHTS
from gateway.app import running
from gateway.config import Settings, load
from gateway.doctor import examine
from gateway.errors import ConfigError

ALARMS = AlarmRates(
    hours=1.5, channels=("clean",), data_hash="x",
    rates=tuple(AlarmRate(raise_p=p, per_hour=rate, low=0, high=99) for p, rate in ((0.7, 20), (0.85, 6), (0.95, 1))),
)  # fmt: skip


def model(folder: Path, alarms: AlarmRates | None) -> str:
    card = json.loads((WEIGHTS / "tinyaudionet.json").read_text())
    card["alarms"] = alarms and alarms.model_dump()
    (folder / "own.json").write_text(json.dumps(card))
    (folder / "own.onnx").write_bytes((WEIGHTS / "tinyaudionet.onnx").read_bytes())
    return str(folder / "own.onnx")


def settings(folder: Path, alarms: AlarmRates | None, per_hour: float) -> Settings:
    return load(port=0, journal=folder / "j.sqlite3", model=model(folder, alarms), alerts_per_hour=per_hour)


async def test_the_card_says_which_threshold_costs_so_many_alarms(tmp_path: Path) -> None:
    async with running(settings(tmp_path, ALARMS, 7)) as house:
        assert house.registry._judging.policy.raise_p == 0.85


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


def test_doctor_tells_the_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "callscreen.toml"
    found = {}
    for per_hour in (7, 1.5):
        config.write_text(f'model = "{model(tmp_path, ALARMS)}"\nalerts_per_hour = {per_hour}\n')
        found[per_hour] = {finding.check: finding for finding in examine(config)}["alerts_per_hour"]
    assert (found[7].state, found[7].detail) == ("ok", "alerts are raised from probability 0.85 on")
    assert (found[1.5].state, found[1.5].detail.startswith("expected at least 2 an hour")) == ("error", True)
