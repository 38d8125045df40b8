"""Measuring and calibrating as a user does, on a toy corpus of the voices that the repository ships."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detection.__main__ import main
from detection.alarms import RULE_OF_THREE
from detection.audio import read_audio
from detection.decision import Outcome
from detection.detector import WEIGHTS, open_detector, read_card
from detection.offline import score_samples
from tests.detection.sounds import VOICES, noise

COLUMNS = ("path", "label", "system", "family", "speaker", "language", "split", "source")
SOURCES = 5
"""Pages, each with two clips of a "human" and two of a machine. Splits go round."""
SPLITS = ("test", "train", "val", "test", "test")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    voices = sorted(VOICES.glob("*/1.ogg"))
    rows = []
    for source in range(SOURCES):
        for label, voice in (("real", voices[source]), ("fake", voices[-1 - source])):
            samples = read_audio(voice)
            for part in range(2):
                name = f"{label}-{source}-{part}.wav"
                soundfile.write(folder / name, samples[part * 56_000 :][:56_000], 16_000)
                rows.append([name, label, label, label, f"{label}{source}", "en", SPLITS[source], f"page{source}"])
    write_manifest(folder / "manifest.csv", rows)
    soundfile.write(folder / "noise.wav", noise(1, -20), 16_000)
    soundfile.write(folder / "room.wav", np.eye(1, 100)[0], 16_000)
    (folder / "noise_rir.csv").write_text("path,kind\nnoise.wav,noise\nroom.wav,rir\n")
    return folder


def write_manifest(file: Path, rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> None:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([columns, *rows])


def command(name: str, manifest: Path, out: Path, *more: str) -> int:
    where = ["--data", f"{manifest}", "--out", f"{out}", "--cache", f"{manifest.parent / 'cache'}"]
    model = ["tinystatnet"] if name == "calibrate" else []
    return main([name, *model, *where, *more])


@pytest.fixture(scope="module")
def report(corpus: Path) -> Path:
    out = corpus / "report"
    more = ("--channel", "clean", "pstn", "--clip-channel", "lossy", "pstn", "--snr", "5")
    assert command("evaluate", corpus / "manifest.csv", out, *more) == 0
    return out


def test_a_report_holds_everything(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["clips"] == 12
    assert list(metrics["conditions"]) == ["clean", "pstn", "lossy", "noise 5 dB", "silence cut"]
    assert list(metrics["legs"]) == list(metrics["alarms"]) == list(metrics["groups"]) == ["clean", "pstn"]
    assert metrics["worst_codec"] in ("pstn", "lossy")
    text = (report / "report.md").read_text()
    for name in ("det.png", "seconds.png", "reliability.png", "histogram.png", "systems.png"):
        assert (report / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in text
    for heading in ("## Legs", "## False alarms per hour", "## Beside it", "## By what training heard", "## By source"):
        assert heading in text
    assert f"Worst codec: **{metrics['worst_codec']}**" in text


def test_the_reference_stands_beside_the_default_with_how_its_clips_ended(report: Path) -> None:
    beside = json.loads((report / "metrics.json").read_text())["beside"]
    names = [name.partition("@")[0] for name in beside]
    assert names == ["tinyaudionet", "MFCC mean and deviation, logistic regression", "majority"]
    assert beside["majority"]["pstn"]["eer"] == 0.5
    row = next(iter(beside.values()))["pstn"]
    assert all(len(row[f"{rate}_95"]) == 2 for rate in ("eer", "auc", "miss_at_1pct_false_alarms"))
    ended = [row[f"{truth}_ended_{state}"] for truth in ("human", "synthetic") for state in Outcome]
    assert sum(ended) == pytest.approx(2)
    lines = [line for line in (report / "report.md").read_text().splitlines() if line.startswith("| tinyaudionet@")]
    assert [line.split(" | ")[1] for line in lines] == ["clean", "pstn"]
    assert all("%" in cell for line in lines for cell in line.split(" | ")[-2:])


def test_groups_are_written_for_every_channel_with_their_intervals(report: Path) -> None:
    groups = json.loads((report / "metrics.json").read_text())["groups"]["pstn"]
    assert set(groups) == {"system", "family", "language", "source", "heard in training"}
    assert [groups["system"]["real"][label] for label in ("human", "synthetic")] == [6, 0]
    heard = groups["heard in training"]
    assert {name: (row["human"], row["synthetic"]) for name, row in heard.items()} == {"no": (6, 0), "yes": (0, 6)}
    with (report / "groups.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["channel"] for row in rows} == {"clean", "pstn"}
    (row,) = [row for row in rows if (row["channel"], row["group"], row["name"]) == ("pstn", "system", "fake")]
    assert float(row["misses_low"]) <= float(row["misses"]) <= float(row["misses_high"])
    assert row["false_alarms"] == row["false_alarms_low"] == ""


def test_scores_are_those_of_score(report: Path, corpus: Path) -> None:
    with (report / "scores.csv").open() as lines:
        said = {row["file"]: float(row["log_odds_clean"]) for row in csv.DictReader(lines)}
    assert len(said) == 12
    for name in ("real-0-0.wav", "fake-3-1.wav"):
        assert said[name] == pytest.approx(score_samples(read_audio(corpus / name), open_detector()).log_odds, abs=0.02)


def test_legs_join_the_clips_of_a_speaker_and_alarms_are_counted_on_humans(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["alarms"]["clean"]["legs"] == 3
    assert metrics["legs"]["clean"]["4"]["human"] == 3, "seven seconds are heard of each, in two clips"
    assert metrics["legs"]["clean"]["8"] == {"human": 0, "synthetic": 0}
    alarms = metrics["alarms"]["clean"]
    assert alarms["hours"] == pytest.approx(3 * 7 / 3_600, rel=0.3)
    assert alarms["raised_per_hour_95"][1] >= RULE_OF_THREE / alarms["hours"]


@pytest.mark.slow
def test_processes_share_the_work(corpus: Path, report: Path, tmp_path: Path) -> None:
    bare = ("--beside", "--clip-channel", "--snr", "--no-trim", "--no-baseline")
    more = ("--channel", "clean", *bare, "--jobs", "2")
    assert command("evaluate", corpus / "manifest.csv", tmp_path, *more) == 0
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (report, tmp_path))
    assert list(two["conditions"]) == ["clean"]
    assert two["conditions"]["clean"] == one["conditions"]["clean"]
    assert two["beside"] == {}


def test_calibrate_writes_a_model_that_knows_its_false_alarms(corpus: Path, tmp_path: Path) -> None:
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
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_a_rate_that_minutes_of_speech_cannot_show_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("calibrate", corpus / "manifest.csv", tmp_path, "--alerts-per-hour", "1") == 2
    assert "--alerts-per-hour: expected at least 3" in capsys.readouterr().err
    assert not (tmp_path / "tinystatnet.json").exists()


GOOD = ["real-0-0.wav", "real", "human", "human", "ann", "en", "test", "page"]


@pytest.mark.parametrize("name", ["evaluate", "calibrate", "train"])
@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        ([GOOD[:-1]], COLUMNS[:-1], "bad.csv: no column source"),
        ([[GOOD[0], "maybe", *GOOD[2:]]], COLUMNS, "bad.csv:2: label: expected real or fake; got 'maybe'"),
        ([["gone.wav", *GOOD[1:]]], COLUMNS, "bad.csv:2: path: no file"),
        ([[*GOOD[:6], "other", "page"]], COLUMNS, "holds no clip"),
    ],
    ids=["no column", "wrong label", "missing file", "empty split"],
)
def test_a_bad_manifest_gets_one_clear_line(
    name: str, rows: list[list[str]], columns: tuple[str, ...], says: str,
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bad = corpus / "bad.csv"
    write_manifest(
        bad, [["train" if cell == "test" and name == "train" else cell for cell in row] for row in rows], columns
    )
    split = ("--split", "test") if name == "calibrate" else ()
    assert command(name, bad, tmp_path, *split) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["evaluate", "calibrate", "train"])
def test_a_missing_manifest_gets_one_clear_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(name, tmp_path / "gone.csv", tmp_path) == 2
    assert "gone.csv: No such file" in capsys.readouterr().err


def test_a_person_in_train_and_val_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = corpus / "bad.csv"
    write_manifest(bad, [[*GOOD[:6], split, "page"] for split in ("train", "val")])
    assert command("train", bad, tmp_path) == 2
    assert "human speaker in both train and validation: ann" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluate", "calibrate"])
@pytest.mark.parametrize(("broken", "says"), [(True, "broken.wav"), (False, "holds samples that are not finite")])
def test_a_clip_that_cannot_be_used_is_named(
    name: str, broken: bool, says: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = corpus / "broken.wav"
    if broken:
        file.write_bytes(b"RIFF")
    else:
        soundfile.write(file, np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    manifest = corpus / "bad.csv"
    fake = [*GOOD[:1], "fake", *GOOD[2:]]
    write_manifest(manifest, [["broken.wav", *GOOD[1:]], fake])
    assert command(name, manifest, tmp_path, "--channel", "clean") == 2
    assert says in capsys.readouterr().err


def test_one_label_alone_cannot_be_calibrated_on(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(corpus / "bad.csv", [GOOD])
    assert command("calibrate", corpus / "bad.csv", tmp_path) == 2
    assert "expected clips of both labels to calibrate on" in capsys.readouterr().err
