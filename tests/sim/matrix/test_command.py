"""Whole matrices on a virtual clock, against a gateway whose detector is known: loud speech is synthetic."""

from __future__ import annotations

import json
import re
import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.__main__ import main
from sim.matrix import play
from tests.sim.matrix.voices import write_manifest
from tests.sim.test_alerts import loudness

pytestmark = pytest.mark.usefixtures("by_loudness")
CELLS = ["--codec", "none", "gsm", "--loss", "0", "--snr", "none", "--seconds", "20"]


@pytest.fixture
def by_loudness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with loudness(monkeypatch):
        yield


def matrix(manifest: Path, folder: Path, *more: str) -> int:
    return main(["matrix", "--data", str(manifest), "--report", str(folder), *(more or CELLS)])


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "matrix.json").read_text())
    return found


def test_the_same_seed_gives_the_same_report_to_the_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(tmp_path)
    assert [matrix(manifest, tmp_path / name) for name in "ab"] == [0, 0]
    for file in ("matrix.json", "matrix.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    found = read(tmp_path / "a")
    assert (found["partial"], found["calls_played"], len(found["legs"])) == (False, 2, 4)
    assert [cell["line"] for cell in found["cells"]] == ["wire only", "gsm"]
    for cell in found["cells"]:
        assert cell["provisional"]["misses"]["rate"] == 0.0
        assert cell["provisional"]["false_alarms"] == {"count": 0, "of": 1, "rate": 0.0, "rate_95": [0.0, 0.7935]}
        assert 2.0 < cell["provisional"]["time_to_alert_s"]["median"] < 15.0
        assert cell["det"]["eer"] == 0.0
    said = capsys.readouterr().out
    assert "wire only, loss 0 %, SNR none, 20 s" in said
    assert "0% (0%–79%)" in said
    holds_all_it_needs((tmp_path / "a" / "matrix.html").read_text())


def holds_all_it_needs(page: str) -> None:
    for unwanted in ("http:", "https:", "<script", "<audio", "<img", "<link"):
        assert unwanted not in page
    assert "prefers-color-scheme:dark" in page
    charts = [f"<svg{rest.partition('</svg>')[0]}</svg>" for rest in page.split("<svg")[1:]]
    assert {ET.fromstring(chart).get("aria-label") for chart in charts} >= {"DET curves of all cells", "reliability"}
    colours = set(re.findall(r"var\((--\w+)\)", page))
    assert colours <= set(re.findall(r"(--\w+):", page))


def test_misses_and_false_alarms_have_timelines(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    swapped = manifest.read_text().replace("real", "x").replace("fake", "real").replace("x", "fake")
    manifest.write_text(swapped)
    assert matrix(manifest, tmp_path / "out", *CELLS[:2], *CELLS[3:]) == 0
    (cell,) = read(tmp_path / "out")["cells"]
    assert (cell["provisional"]["misses"]["rate"], cell["provisional"]["false_alarms"]["rate"]) == (1.0, 1.0)
    assert cell["provisional"]["false_alarms_per_h"]["count"] >= 1
    page = (tmp_path / "out" / "matrix.html").read_text()
    assert page.count("timeline of a call") == 2
    assert page.count(": false alarm (") == 1
    assert page.count(": missed (") == 1


def test_ctrl_c_leaves_a_partial_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note = play._note

    def interrupted(*args: Any) -> None:
        note(*args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(play, "_note", interrupted)
    assert matrix(write_manifest(tmp_path), tmp_path / "out") == 130
    found = read(tmp_path / "out")
    assert (found["partial"], len(found["cells"]), found["calls_played"]) == (True, 1, 1)
    assert found["problems"][0].startswith("interrupted")
    assert "This report is partial." in (tmp_path / "out" / "matrix.html").read_text()
    assert "(partial)" in capsys.readouterr().out


def test_an_unreadable_clip_leaves_a_partial_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"RIFF, it says")
    manifest.write_text(manifest.read_text() + "bad.wav,real,,bert,test\n")
    assert matrix(manifest, tmp_path / "out", *CELLS[:2], *CELLS[3:]) == 1
    found = read(tmp_path / "out")
    assert (found["partial"], len(found["legs"])) == (True, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sim: {manifest}:4: {tmp_path / 'bad.wav'}: cannot be read: ")
    assert found["problems"] == [line.removeprefix("sim: ")]


def test_user_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(tmp_path)
    for more, message in (
        (["--split", "train"], f"sim: {manifest}: expected clips with split 'train', got none"),
        (["--setting", "max_cals=3"], "sim: gateway: max_cals: there is no such setting"),
        (["--noise", "no.wav", "--snr", "10"], "sim: no.wav: cannot be read"),
    ):
        assert matrix(manifest, tmp_path / "out", *more) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    for option, value, message in (
        ("--codec", "mp3", "expected none or some of"),
        ("--loss", "2", "expected 0 to 0.9"),
        ("--snr", "99", "expected none or -20 to 80"),
        ("--seconds", "1", "expected 5 to 3600"),
    ):
        with pytest.raises(SystemExit):
            matrix(manifest, tmp_path / "out", option, value)
        assert message in capsys.readouterr().err
