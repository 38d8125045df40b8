from __future__ import annotations

from pathlib import Path

import pytest

from sim.clips import ClipError
from sim.matrix.cast import cast
from tests.sim.conftest import write_tone


def manifest(folder: Path, *rows: str) -> Path:
    file = folder / "clips.csv"
    file.write_text("\n".join(["path,label,system,speaker", *rows]) + "\n")
    return file


def test_people_and_machines_are_paired_the_same_way_for_the_same_seed(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        write_tone(tmp_path / f"{number}.wav", 200 + number)
        rows.append(f"{number}.wav,{'real' if number < 3 else 'fake'},,speaker-{number}")
    file = manifest(tmp_path, *rows)
    chosen = cast(file, None, 40, seed=1)
    assert [{voice.label for voice in pair if voice} for pair in chosen.pairs] == [{"human", "synthetic"}] * 3
    assert chosen == cast(file, None, 40, seed=1)
    assert chosen.pairs != cast(file, None, 40, seed=2).pairs
    assert [voice.label for voice in cast(file, None, 2, seed=1).voices].count("human") == 1


def test_each_system_is_used_once_before_any_is_used_again(tmp_path: Path) -> None:
    rows = []
    for number, system in enumerate(("a", "a", "a", "a", "b", "c")):
        write_tone(tmp_path / f"{number}.wav", 200 + number)
        rows.append(f"{number}.wav,fake,{system},speaker-{number}")
    rows.append("5.wav,fake,b,speaker-9")
    rows.append("4.wav,fake,b,speaker-9")
    chosen = cast(manifest(tmp_path, *rows), None, 3, seed=0)
    assert "speaker-9" in [voice.speaker for voice in chosen.voices]  # it has more clips than the other of its system
    assert sorted(voice.system for voice in chosen.voices) == ["a", "b", "c"]
    assert chosen.pairs[-1][1] is None  # an odd one speaks to nobody


def test_a_clip_that_cannot_be_decoded_is_left_out_and_named(tmp_path: Path) -> None:
    write_tone(tmp_path / "good.wav", 200)
    (tmp_path / "bad.wav").write_bytes(b"RIFF, it says")
    (tmp_path / "worse.wav").write_bytes(b"")
    file = manifest(tmp_path, "good.wav,real,,anna", "bad.wav,real,,anna", "worse.wav,fake,x,x")
    chosen = cast(file, None, 4, seed=0)
    assert [voice.paths for voice in chosen.voices] == [(tmp_path / "good.wav",)]
    assert sorted(problem.split(": ")[0] for problem in chosen.problems) == [f"{file}:3", f"{file}:4"]


def test_each_mistake_names_file_and_line(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 200)
    (tmp_path / "bad.wav").write_bytes(b"RIFF, it says")
    for rows, message in (
        ((), "clips.csv: expected clips"),
        (("a.wav,real,,", "a.wav,robot,,"), "clips.csv:3: label: expected human, real, synthetic, fake, got 'robot'"),
        (("a.wav,real,,", "b.wav,real,,"), f"clips.csv:3: path: expected an existing file, got {tmp_path / 'b.wav'}"),
        ((",real,,",), "clips.csv:2: path: expected the name of a recording, got none"),
        (("bad.wav,real,,",), f"clips.csv:2: {tmp_path / 'bad.wav'}: cannot be read: "),
    ):
        with pytest.raises(ClipError) as error:
            cast(manifest(tmp_path, *rows), None, 4, seed=0)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
