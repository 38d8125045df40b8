from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from sim.clips import ClipError, Library, from_folder, from_manifest, load, onset_samples, shipped
from tests.sim.conftest import RATE_HZ, write_tone


def manifest(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_is_read_by_label_and_voice(clips: Path) -> None:
    voices = from_folder(clips).voices
    assert [(voice.label, voice.system, voice.speaker, len(voice.paths)) for voice in voices] == [
        ("human", "human", "anna", 2),
        ("human", "human", "bert", 2),
        ("synthetic", "robo", "robo", 2),
        ("synthetic", "vox", "vox", 2),
    ]
    assert [voice.name for voice in voices] == ["anna", "bert", "robo", "vox"]


def test_a_folder_without_labels_holds_people_and_gets_the_shipped_voices(clips: Path) -> None:
    library = from_folder(clips / "human")
    assert {voice.speaker for voice in library.voices if voice.label == "human"} == {"anna", "bert"}
    assert {voice.system for voice in library.voices if voice.label == "synthetic"} == {v.system for v in shipped()}


def test_a_single_file_is_a_voice(tmp_path: Path) -> None:
    write_tone(tmp_path / "carla.wav", 200)
    assert [v.speaker for v in from_folder(tmp_path).voices if v.label == "human"] == ["carla"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"expected recordings \(.*\.wav"):
        from_folder(tmp_path)


def test_shipped_voices_have_audible_audio() -> None:
    voices = shipped()
    assert {voice.system.split("_")[0] for voice in voices} == {"espeak", "flite", "festival"}
    for voice in voices:
        for path in voice.paths:
            assert 8 < len(load(path)) / RATE_HZ < 15


def test_a_manifest_groups_clips_by_speaker_and_system(tmp_path: Path) -> None:
    rows = "path,label,split,system,speaker\na.wav,real,test,,s1\nb.wav,fake,test,tts,s1\nc.wav,fake,test,tts,s1\n"
    library = from_manifest(manifest(tmp_path, rows + "d.wav,human,train,human,s2\n"), "test")
    assert [(v.label, v.system, v.speaker, [p.name for p in v.paths]) for v in library.voices] == [
        ("human", "human", "s1", ["a.wav"]),
        ("synthetic", "tts", "s1", ["b.wav", "c.wav"]),
    ]
    assert library.voices[0].paths == (tmp_path / "a.wav",)


def test_a_manifest_needs_only_path_and_label(tmp_path: Path) -> None:
    library = from_manifest(manifest(tmp_path, "path,label\nx/a.wav,synthetic\n"))
    assert [(v.system, v.speaker) for v in library.voices] == [("synthetic", "a")]


@pytest.mark.parametrize(
    ("text", "split", "message"),
    [
        ("path\na.wav\n", None, "expected a column 'label'"),
        ("", None, "expected a column 'label'"),
        ("path,label\na.wav,human\n", "test", "expected a column 'split'"),
        ("path,label\na.wav,human\nb.wav,robot\n", None, r":3: label: expected human, .*, got 'robot'"),
        ("path,label,split\na.wav,human,train\n", "test", "expected clips with split 'test', got none"),
        ("path,label\n", None, "expected clips, got none"),
    ],
)
def test_a_bad_manifest_is_refused_with_what_is_wrong(
    tmp_path: Path, text: str, split: str | None, message: str
) -> None:
    with pytest.raises(ClipError, match=message):
        from_manifest(manifest(tmp_path, text), split)


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"nowhere\.csv"):
        from_manifest(tmp_path / "nowhere.csv")


def test_the_choice_is_seeded_and_filtered(clips: Path) -> None:
    library = from_folder(clips)
    picks = [library.choose("synthetic", "*", random.Random(seed)).system for seed in range(20)]
    assert picks == [library.choose("synthetic", "*", random.Random(seed)).system for seed in range(20)]
    assert set(picks) == {"robo", "vox"}
    assert library.choose("synthetic", "v*", random.Random(0)).system == "vox"


def test_no_matching_voice_is_refused_with_the_available_ones(clips: Path) -> None:
    with pytest.raises(ClipError, match=r"synthetic, system 'flite_\*'; got 2 human and 2 synthetic voices"):
        from_folder(clips).choose("synthetic", "flite_*", random.Random(0))
    with pytest.raises(ClipError, match="expected a voice: human"):
        Library([]).choose("human", "*", random.Random(0))


def test_a_recording_is_decoded_to_16_khz_mono(tmp_path: Path) -> None:
    samples = load(write_tone(tmp_path / "a.wav", 440, duration_s=1.0, lead_s=0.25))
    assert samples.dtype == np.float32
    assert samples.shape == (RATE_HZ,)
    assert onset_samples(samples) == pytest.approx(0.25 * RATE_HZ, abs=20)
    assert int(np.argmax(np.abs(np.fft.rfft(samples)))) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read"), (b"not audio at all" * 100, "cannot be read"), (None, "cannot be read")],
)
def test_an_unreadable_recording_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClipError, match=rf"bad\.wav: {message}"):
        load(path)


def test_an_empty_or_silent_recording_is_refused(tmp_path: Path) -> None:
    for name, duration_s in (("none.wav", 0.0), ("silent.wav", 1.0)):
        with pytest.raises(ClipError, match=rf"{name}: expected audio, got"):
            load(write_tone(tmp_path / name, 440, duration_s, lead_s=duration_s))
