"""Clips rendered here come with a manifest that training takes; engines that are missing are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detection.__main__ import main
from detection.errors import DataError
from detection.training.data import COLUMNS, read_manifest
from detection.training.engines import ENGINES, SENTENCES, Utterance, say, utterances
from sim.voices import SENTENCES as DEMO_SENTENCES
from tests.detection.signal.test_features import speechlike

COMMANDS = {"espeak-ng": "espeak-ng", "flite": "flite", "festival": "text2wave"}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [",".join(COLUMNS)]
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", speechlike(12_000, number), 16_000)
        label = "fake" if number == 4 else "real"
        split = "val" if number == 1 else "train"
        rows.append(f"{number}.wav,{label},s,unknown,ann{number},en,{split},page{number // 3}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "manifest.csv"


def test_humans_are_copied_in_turn_and_keep_their_page(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "copied"
    command = ["render", "--out", f"{out}", "--data", f"{manifest}", "--copies", "smoothed", "lpc", "--workers", "1"]
    assert main([*command, "--per-source", "2"]) == 0
    copies = read_manifest(out / "manifest.csv", ["train"])
    assert [(clip.system, clip.speaker, clip.source) for clip in copies] == [
        ("copy-smoothed", "ann0", "page0"), ("copy-lpc", "ann1", "page0"), ("copy-smoothed", "ann3", "page1"),
    ]  # fmt: skip
    assert all(clip.is_fake for clip in copies)
    before = [clip.file.stat().st_mtime_ns for clip in copies]
    assert main([*command, "--per-source", "3"]) == 0
    assert len(read_manifest(out / "manifest.csv")) == 4
    assert [clip.file.stat().st_mtime_ns for clip in copies] == before


@pytest.mark.parametrize("engine", ENGINES)
def test_installed_engines_render_clips(engine: str, tmp_path: Path) -> None:
    if shutil.which(COMMANDS[engine]) is None:
        pytest.skip(f"{engine} is not installed")
    assert main(["render", "--out", f"{tmp_path}", "--engines", engine, "--clips", "2", "--workers", "1"]) == 0
    clips = read_manifest(tmp_path / "manifest.csv")
    assert [(clip.label, clip.source) for clip in clips] == [("fake", f"rendered-{engine}")] * 2
    for clip in clips:
        samples, rate_hz = soundfile.read(clip.file)
        assert rate_hz == 16_000
        assert 16_000 < len(samples) <= 96_000
        assert np.std(samples) > 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_asks_for_the_same_clips(engine: str) -> None:
    first, second = (list(utterances(engine, 6, np.random.default_rng(3))) for _ in range(2))
    assert first == second
    assert len({utterance.text for utterance in first}) > 1


def test_rendered_sentences_differ_from_the_demo() -> None:
    assert not any(sentence in said for sentence in SENTENCES for said in DEMO_SENTENCES)


def test_a_missing_engine_and_a_failing_one_are_named() -> None:
    with pytest.raises(DataError, match="no-such-engine: not installed"):
        say(Utterance("x", "x", "x", ("no-such-engine",), "hello"))
    with pytest.raises(DataError, match="true: expected audio, got none"):
        say(Utterance("x", "x", "x", ("true",), "hello"))


@pytest.mark.parametrize(
    ("more", "said"), [([], "expected --engines, or"), (["--copies", "lpc"], "--copies: expected --data")]
)
def test_misuse_gets_one_line(more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--out", f"{tmp_path / 'out'}", *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
