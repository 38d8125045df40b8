from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sim import voices
from sim.clips import SHIPPED, load
from sim.voices import VOICES, EngineMissing, render
from tests.sim.conftest import RATE_HZ


def test_shipped_voices_match_the_script() -> None:
    record = json.loads((SHIPPED / "engines.json").read_text())
    assert set(record["engines"]) == {voice.engine for voice in VOICES}
    assert [clip["path"] for clip in record["clips"]] == [f"{v.name}/{n}.ogg" for v in VOICES for n in (1, 2)]
    assert all((SHIPPED / clip["path"]).is_file() for clip in record["clips"])
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 700_000


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_a_voice_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "VOICES", VOICES[:1])
    render(tmp_path)
    record = json.loads((tmp_path / "engines.json").read_text())
    assert "eSpeak" in record["engines"]["espeak-ng"]
    for clip in record["clips"]:
        assert 5 < len(load(tmp_path / clip["path"])) / RATE_HZ < 20


def test_an_engine_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="espeak-ng: not installed"):
        render(tmp_path)


@pytest.mark.skipif(shutil.which("text2wave") is None, reason="festival is not installed")
def test_a_voice_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "VOICES", (voices.Voice("x", "festival", "nobody"),))
    with pytest.raises(EngineMissing, match=r"text2wave.*unbound variable : voice_nobody"):
        render(tmp_path)
