"""Measuring as a user does, on a toy corpus of the voices that the repository ships."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detection.decision.alarms import RULE_OF_THREE
from detection.decision.fusion import open_fusion
from detection.decision.rule import Outcome
from detection.detector import VERIFIER, WEIGHTS, open_detector
from detection.measure.evaluate import add_arguments, open_beside, reliability_panels
from detection.measure.scoring import LegScorer
from detection.offline import score_samples
from detection.signal.audio import read_audio
from detection.types import Score
from tests.detection.measure.toy import COLUMNS, GOOD, command, write_manifest


@pytest.fixture(scope="module")
def report(corpus: Path) -> Path:
    out = corpus / "report"
    heard_in = ("--channel", "clean", "pstn", "--clip-channel", "lossy", "pstn", "--snr", "5")
    models = ("--beside", "tinyaudionet", "tinystatnet")
    assert command("evaluate", corpus / "manifest.csv", out, *heard_in, *models) == 0
    return out


def test_report_is_complete(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["clips"] == 12
    assert list(metrics["conditions"]) == ["clean", "pstn", "lossy", "noise 5 dB", "silence cut", "first 2 s"]
    assert all(list(metrics[table]) == ["clean", "pstn", "noise 5 dB"] for table in ("legs", "outcomes", "alarms"))
    assert list(metrics["groups"]) == ["clean", "pstn", "lossy", "noise 5 dB"]
    assert metrics["worst_codec"] in ("pstn", "lossy")
    text = (report / "report.md").read_text()
    for name in ("det.png", "seconds.png", "reliability.png", "histogram.png", "systems.png"):
        assert (report / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in text
    for heading in (
        "## Legs, by outcome",
        "## Legs, by seconds",
        "## False alarms per hour",
        "## Other models",
        "## By family, for each model",
        "## By presence in the training data",
        "## By source",
    ):
        assert heading in text
    assert f"Worst codec: **{metrics['worst_codec']}**" in text


def test_reference_model_is_compared_with_its_verdicts(report: Path) -> None:
    beside = json.loads((report / "metrics.json").read_text())["beside"]
    names = [name.partition("@")[0] for name in beside]
    assert names == ["tinystatnet", "MFCC mean and deviation, logistic regression", "majority"]
    assert beside["majority"]["pstn"]["eer"] == 0.5
    row = next(iter(beside.values()))["pstn"]
    ranked = ("eer", "auc", "miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms", "min_dcf")
    assert all(len(row[f"{rate}_95"]) == 2 for rate in ranked)
    legs = next(iter(beside.values()))["clean"]["outcomes"]
    assert sum(legs[f"human_ended_{state}"] for state in Outcome) == pytest.approx(1)
    ended = [row[f"{truth}_ended_{state}"] for truth in ("human", "synthetic") for state in Outcome]
    assert sum(ended) == pytest.approx(2)
    text = (report / "report.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| tinystatnet@")]
    assert [line.split(" | ")[1] for line in lines] == ["clean", "pstn"]
    clean, pstn = ([bool(cell.strip(" |")) for cell in line.split(" | ")[-4:]] for line in lines)
    assert (clean, pstn) == ([True] * 4, [True, True, False, False]), "legs are scored in the first channel"
    heading = next(line for line in text.splitlines() if line.startswith("| model |"))
    assert all(name in heading for name in ("miss at 0.1 % FA", "min DCF", "human legs"))


def test_each_family_has_a_row_for_every_model(report: Path) -> None:
    text = (report / "report.md").read_text().partition("## By family, for each model")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    heading, *rows = rows
    assert heading == ["family", "model", "synthetic", "misses", "EER clean", "EER pstn"]
    assert [(family, model.partition("@")[0]) for family, model, *_ in rows] == [
        (family, model) for family in sorted({row[0] for row in rows}) for model in ("tinyaudionet", "tinystatnet")
    ]
    assert sum(int(row[2]) for row in rows) == 2 * 6


def test_groups_are_written_for_every_channel_with_their_intervals(report: Path) -> None:
    groups = json.loads((report / "metrics.json").read_text())["groups"]["pstn"]
    assert set(groups) == {"system", "family", "language", "source", "channel", "heard in training"}
    assert [groups["system"]["real"][label] for label in ("human", "synthetic")] == [6, 0]
    in_training = groups["heard in training"]
    assert {name: (row["human"], row["synthetic"]) for name, row in in_training.items()} == {
        "no": (6, 0),
        "yes": (0, 6),
    }
    with (report / "groups.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["channel"] for row in rows} == {"clean", "pstn", "lossy", "noise 5 dB"}
    assert rows[0].keys() >= {"miss_at_0.1pct_false_alarms_low", "min_dcf_high"}
    (row,) = [row for row in rows if (row["channel"], row["group"], row["name"]) == ("pstn", "system", "fake")]
    assert float(row["misses_low"]) <= float(row["misses"]) <= float(row["misses_high"])
    assert row["false_alarms"] == row["false_alarms_low"] == ""


def test_scores_equal_those_of_detect_score(report: Path, corpus: Path) -> None:
    with (report / "scores.csv").open() as lines:
        scored = {row["file"]: float(row["log_odds_clean"]) for row in csv.DictReader(lines)}
    assert len(scored) == 12
    for name in ("real-0-0.wav", "fake-3-1.wav"):  # to 16 bits, which changes what is nearly silent
        assert scored[name] == pytest.approx(
            score_samples(read_audio(corpus / name), open_detector()).log_odds, abs=0.3
        )


def test_legs_join_clips_of_a_speaker_and_false_alarms_count_human_legs(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["alarms"]["clean"]["legs"] == 3
    assert metrics["legs"]["clean"]["4"]["human"] == 3, "each has seven seconds, in two clips"
    assert metrics["legs"]["clean"]["8"] == {"human": 0, "synthetic": 0}
    alarms = metrics["alarms"]["clean"]
    assert alarms["hours"] == pytest.approx(3 * 7 / 3_600, rel=0.3)
    assert alarms["raised_per_hour_95"][1] >= RULE_OF_THREE / alarms["hours"]


def test_legs_are_also_measured_with_the_shipped_verifier(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    both = metrics["with_verifier"]
    assert both["verifier"].startswith(f"{VERIFIER}@")
    assert all(list(both[table]) == ["clean", "pstn"] for table in ("legs", "outcomes", "alarms"))
    outcomes, alarms = both["outcomes"]["clean"], both["alarms"]["clean"]
    assert (outcomes["human"], outcomes["synthetic"], alarms["legs"]) == (3, 3, 3)
    fusion, _ = open_fusion(open_detector(), open_detector(VERIFIER or ""))
    assert both["raise_p"] == fusion.raise_p
    assert alarms["hours"] == metrics["alarms"]["clean"]["hours"], "the verifier does not change the hours"
    assert len(alarms["raised_per_hour_95"]) == len(outcomes["synthetic_alerted_95"]) == 2
    assert "eer" in metrics["legs"]["clean"]["4"]
    assert "eer" in both["legs"]["clean"]["4"], "the fused evidence ranks legs too"
    text = (report / "report.md").read_text()
    assert text.count(f"| clean | with {both['verifier']} |") == 1 + 4 + 1 + 1, (
        "in the tables of outcomes, errors, false alarms and detections"
    )
    assert "by the fusion of both" in " ".join(text.split())


def test_reliability_has_a_panel_for_every_class_of_channel() -> None:
    scores = [[Score(0.0, 3.0, 2.0, 2.0, log_odds)] for log_odds in (-1.0, 2.0)]
    is_fake = np.array([False, True])
    panels = reliability_panels(dict.fromkeys(("clean", "pstn", "lossy", "opus6"), scores), is_fake)
    assert list(panels) == ["wide: clean", "narrow: pstn, opus6", "lossy: lossy"]
    log_odds, labels = panels["narrow: pstn, opus6"]["windows"]
    assert log_odds.tolist() == [-1, 2, -1, 2]
    assert labels.tolist() == [False, True, False, True]


def test_all_other_shipped_models_are_compared_by_default() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    bare = ["--data", "x.csv", "--out", "x"]
    measured = open_detector()
    others = sorted({file.stem for file in WEIGHTS.glob("*.onnx")} - {measured.card.name})
    assert list(open_beside(parser.parse_args(bare), measured)) == others
    assert open_beside(parser.parse_args([*bare, "--beside"]), measured) == {}
    assert "`--beside` without names" in " ".join(parser.format_help().split())


BARE = ("--channel", "clean", "--clip-channel", "--snr", "--no-trim", "--beside")


def test_a_manifest_alone_has_no_baseline_and_no_noise(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (corpus / "manifest.csv").open() as lines:
        rows = [row for row in csv.reader(lines) if row[COLUMNS.index("split")] == "test"]
    for row in rows:
        row[COLUMNS.index("path")] = f"{corpus / row[COLUMNS.index('path')]}"
    write_manifest(tmp_path / "test-only.csv", rows)
    bare = [option for option in BARE if option != "--snr"]
    assert command("evaluate", tmp_path / "test-only.csv", tmp_path, *bare, "--verifier", "off") == 0
    said = capsys.readouterr().err
    assert said.count("holds no clips of both labels to train it on (train, val)") == 1
    assert said.count(f"no noise is added: there is no {tmp_path / 'noise_rir.csv'}") == 1
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["conditions"]) == ["clean"]
    assert (metrics["beside"], metrics["with_verifier"]) == ({}, None)
    assert "## Other models" not in (tmp_path / "report.md").read_text()


def test_models_with_equal_names_are_refused_before_scoring(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `calibrate` leaves them: another card beside the same network."""
    for suffix in (".onnx", ".json"):
        (tmp_path / f"after{suffix}").write_bytes((WEIGHTS / f"tinyaudionet{suffix}").read_bytes())
    given = (*BARE, "tinyaudionet", f"{tmp_path / 'after.onnx'}", "--cache", f"{tmp_path / 'cache'}")
    assert command("evaluate", corpus / "manifest.csv", tmp_path / "out", *given) == 2
    err = capsys.readouterr().err
    assert f"--beside: tinyaudionet and {tmp_path / 'after.onnx'} are both tinyaudionet@" in err
    assert err.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"after.onnx", "after.json"}


def test_undefined_figures_are_empty_cells(corpus: Path, tmp_path: Path) -> None:
    """The only speaker with a name is a human."""
    rows = [["real-0-0.wav", *GOOD[1:]], ["fake-0-0.wav", "fake", *GOOD[2:4], "", "en", "test", "page"]]
    write_manifest(corpus / "human-legs.csv", rows)
    assert command("evaluate", corpus / "human-legs.csv", tmp_path, *BARE, "--verifier", "off", "--no-baseline") == 0
    assert "nan" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("option", ["--beside", "--verifier"])
def test_missing_model_is_refused_before_scoring(
    option: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ("--cache", f"{tmp_path / 'cache'}")
    assert command("evaluate", corpus / "manifest.csv", tmp_path / "out", *BARE, option, "tynistatnet", *cache) == 2
    assert "got 'tynistatnet'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unreadable_training_clips_are_refused_before_scoring(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("it scores")

    monkeypatch.setattr(LegScorer, "score", never)
    (corpus / "torn.wav").write_bytes(b"RIFF")
    rows = [[name, *GOOD[1:]] for name in ("real-0-0.wav", "fake-0-0.wav")]
    rows += [["torn.wav", label, *GOOD[2:4], "bob", "en", "train", "other"] for label in ("real", "fake")]
    write_manifest(corpus / "bad.csv", rows)
    assert command("evaluate", corpus / "bad.csv", tmp_path, *BARE, "--verifier", "off") == 2
    assert "torn.wav" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_share_the_work(corpus: Path, report: Path, tmp_path: Path) -> None:
    assert command("evaluate", corpus / "manifest.csv", tmp_path, *BARE, "--no-baseline", "--jobs", "2") == 0
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (report, tmp_path))
    assert list(two["conditions"]) == ["clean"]
    assert two["conditions"]["clean"] == one["conditions"]["clean"]
    assert two["beside"] == {}
    assert all(
        two["with_verifier"][table]["clean"] == one["with_verifier"][table]["clean"] for table in ("legs", "alarms")
    )


@pytest.mark.parametrize("name", ["evaluate", "calibrate", "train"])
@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        ([GOOD[:-1]], COLUMNS[:-1], "bad.csv: expected a column source"),
        ([[GOOD[0], "maybe", *GOOD[2:]]], COLUMNS, "bad.csv:2: label: expected real or fake, got 'maybe'"),
        ([["gone.wav", *GOOD[1:]]], COLUMNS, "bad.csv:2: path: expected an existing file"),
        ([[*GOOD[:6], "other", "page"]], COLUMNS, "expected clips with split"),
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
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["evaluate", "calibrate", "train"])
def test_a_missing_manifest_gets_one_clear_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(name, tmp_path / "gone.csv", tmp_path) == 2
    assert "gone.csv: No such file" in capsys.readouterr().err


def test_a_person_in_train_and_val_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = corpus / "bad.csv"
    write_manifest(bad, [[*GOOD[:6], split, "page"] for split in ("train", "val")])
    assert command("train", bad, tmp_path) == 2
    assert "human speakers in both train and validation: ann" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluate", "calibrate"])
@pytest.mark.parametrize(("broken", "says"), [(True, "broken.wav"), (False, "expected finite samples")])
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
