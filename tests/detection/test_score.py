from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from detection import DEFAULT_MODEL, VERIFIER, open_detector
from detection.__main__ import main
from detection.offline import score_samples
from detection.signal.audio import read_audio
from detection.signal.channels import apply_channel
from tests.detection.fakes import FakeDetector
from tests.detection.signals import SPEECH_FILE, VOICES

KEYS = {"path", "p_synthetic", "speech_s", "windows", "state", "reason"}
OTHER_FILE = VOICES / "flite_rms" / "1.ogg"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with two recordings, one of them deeper, and something else."""
    (tmp_path / "deeper").mkdir()
    shutil.copy(SPEECH_FILE, tmp_path / "a.ogg")
    shutil.copy(OTHER_FILE, tmp_path / "deeper" / "b.OGG")
    (tmp_path / "notes.txt").write_text("not a recording")
    return tmp_path


def manifest(folder: Path, rows: list[dict[str, str]]) -> str:
    path = folder / "clips.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_json_object_a_file(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(clips), "--jsonl"]) == 0
    first, second = lines(capsys)
    assert (first["path"], second["path"]) == (str(clips / "a.ogg"), str(clips / "deeper" / "b.OGG"))
    assert set(first) == KEYS
    expected = score_samples(read_audio(SPEECH_FILE), open_detector(VERIFIER or DEFAULT_MODEL))
    assert first["p_synthetic"] == pytest.approx(expected.p_synthetic, abs=1e-6)
    assert first["speech_s"] == pytest.approx(expected.speech_s, abs=0.01)
    assert (first["windows"], first["state"], first["reason"]) == (expected.windows, expected.state, expected.reason)


def test_each_channel_of_a_call_is_scored_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    left, right = read_audio(SPEECH_FILE), read_audio(OTHER_FILE)
    length = min(len(left), len(right))
    call = tmp_path / "call.wav"
    soundfile.write(call, np.column_stack([left[:length], right[:length]]), 16_000, subtype="FLOAT")
    assert main(["score", str(call), "--each-channel", "--jsonl"]) == 0
    found = lines(capsys)
    assert [set(one) for one in found] == [KEYS | {"channel"}] * 2
    detector = open_detector(VERIFIER or DEFAULT_MODEL)
    expected = [score_samples(samples[:length], detector) for samples in (left, right)]
    assert [one["channel"] for one in found] == [1, 2]
    assert [one["p_synthetic"] for one in found] == pytest.approx([one.p_synthetic for one in expected], abs=1e-4)
    assert main(["score", str(call), "--each-channel"]) == 0
    assert "(channel 2)" in " ".join(capsys.readouterr().out.split())


def test_broken_file_has_its_own_object_and_the_rest_goes_on(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = clips / "0-broken.wav"
    broken.write_bytes(b"RIFF and nothing else")
    assert main(["score", str(broken), str(clips / "gone.wav"), str(clips / "a.ogg"), "--jsonl"]) == 1
    bad, gone, good = lines(capsys)
    assert set(bad) == {"path", "error"}
    assert bad["path"] == str(broken)
    assert bad["error"].startswith(f"{broken}: cannot be read: ")
    assert "No such file" in gone["error"]
    assert set(good) == KEYS


def test_recording_without_finite_score_is_an_error_never_nan(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = clips / "loud.wav"
    soundfile.write(loud, np.full(16_000, 1e30, np.float32), 16_000, subtype="FLOAT")
    assert main(["score", str(loud), "--jsonl"]) == 1
    assert "loud.wav: expected samples of about -1 to 1" in lines(capsys)[0]["error"]

    monkeypatch.setattr("detection.score.open_detector", lambda _: FakeDetector(1.0, float("nan"), 1.0))
    assert main(["score", str(clips), "--jsonl"]) == 1
    out = capsys.readouterr().out
    assert "NaN" not in out
    errors = [json.loads(line)["error"] for line in out.splitlines()]
    assert errors.count("fake@00000000: expected finite log-odds") == 2, "each recording has its own line"


def test_manifest_is_relative_to_its_folder_and_split_filters(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"path": "a.ogg", "split": "train"}, {"path": "deeper/b.OGG", "split": "test"}]
    path = manifest(clips, rows)
    assert main(["score", "--manifest", path, "--jsonl"]) == 0
    assert [line["path"] for line in lines(capsys)] == ["a.ogg", "deeper/b.OGG"]
    assert main(["score", "--manifest", path, "--split", "test", "--jsonl"]) == 0
    assert [line["path"] for line in lines(capsys)] == ["deeper/b.OGG"]


def test_channel_is_applied_first(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(clips / "a.ogg"), "--channel", "pstn", "--jsonl"]) == 0
    (line,) = lines(capsys)
    expected = score_samples(apply_channel(read_audio(SPEECH_FILE), "pstn"), open_detector(VERIFIER or DEFAULT_MODEL))
    assert line["p_synthetic"] == pytest.approx(expected.p_synthetic, abs=1e-6)


def test_number_of_jobs_does_not_change_results(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "broken.wav").touch()
    assert main(["score", str(clips), "--jsonl"]) == 1
    alone = lines(capsys)
    assert main(["score", str(clips), "--jsonl", "--jobs", "2"]) == 1
    assert lines(capsys) == alone


def test_table_is_printed_by_default(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (clips / "[red]broken.wav").touch()
    assert main(["score", str(clips)]) == 1
    out = capsys.readouterr().out
    assert "p_synthetic" in out
    assert "a.ogg" in out
    assert "[red]broken.wav" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param([], "expected a file, a folder or --manifest CSV", id="nothing"),
        pytest.param(["--split", "test"], "--split: expected together with --manifest", id="split-alone"),
        pytest.param(["--manifest", "{}/gone.csv"], "gone.csv: cannot be read", id="no-manifest"),
        pytest.param(["--manifest", "{}/files.csv"], "expected a column `path`", id="no-path-column"),
        pytest.param(["--manifest", "{}/paths.csv", "--split", "x"], "expected a column `split`", id="no-split-column"),
        pytest.param(
            ["--manifest", "{}/splits.csv", "--split", "x"],
            "expected rows with split 'x', found none",
            id="empty-split",
        ),
        pytest.param(["--manifest", "{}/empty.csv"], "expected rows, found none", id="empty-manifest"),
        pytest.param(["{}/nothing-here"], "expected recordings in this folder, found none", id="empty-folder"),
        pytest.param(["{}/a.ogg", "--model", "no-such-model"], "no-such-model", id="no-model"),
    ],
)
def test_unusable_arguments_are_refused_in_one_line(
    clips: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    (clips / "nothing-here").mkdir()
    (clips / "files.csv").write_text("file\na.ogg\n")
    (clips / "paths.csv").write_text("path\na.ogg\n")
    (clips / "splits.csv").write_text("path,split\na.ogg,test\n")
    (clips / "empty.csv").write_text("path,split\n")
    assert main(["score", "--jsonl", *(argument.format(clips) for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("callscreen detect score: ")
    assert told in err
    assert err.count("\n") == 1
