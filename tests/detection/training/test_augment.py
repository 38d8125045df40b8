"""Spoiled audio is still that audio: finite, about as long, repeatable; and each step does what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from detection.errors import DataError
from detection.training.augment import (
    STEPS,
    Surroundings,
    add_noise,
    augment_clip,
    augment_clip_by,
    change_speed,
    clip_peaks,
    distort,
    equalise,
    in_room,
    level,
    load_surroundings,
    rms,
    shift_pitch,
    stretch,
    through_codec,
    with_pauses,
)
from detection.training.rawboost import convolutive, impulsive, notches, stationary
from tests.detection.signal.test_features import speechlike

AUDIO = speechlike(32_000)
NOISE = np.random.default_rng(5).normal(0, 0.1, 4_000).astype(np.float32)
ROOM = np.concatenate([np.ones(1), np.zeros(799), np.full(1, 0.5)]).astype(np.float32)
AROUND = Surroundings([NOISE], [ROOM])


def test_every_augmented_version_is_audio_and_repeatable() -> None:
    for seed in range(40):
        augmented = augment_clip(AUDIO, AROUND, np.random.default_rng(seed))
        assert np.isfinite(augmented).all()
        assert np.max(np.abs(augmented)) <= 1.5
        assert 0.9 < len(augmented) / len(AUDIO) < 1.1
        assert rms(augmented) > 1e-3
    assert np.array_equal(augmented, augment_clip(AUDIO, AROUND, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", [*STEPS, "codec"])
def test_a_single_step_augments_repeatably_and_otherwise_than_the_level_alone(name: str) -> None:
    augmented = augment_clip_by(name, AUDIO, AROUND, np.random.default_rng(3))
    assert np.isfinite(augmented).all()
    assert 0.9 < len(augmented) / len(AUDIO) < 1.1
    assert np.array_equal(augmented, augment_clip_by(name, AUDIO, AROUND, np.random.default_rng(3)))
    assert not np.array_equal(augmented, level(AUDIO, np.random.default_rng(3)))


def test_an_unknown_step_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="'rain': expected a step of augmentation, one of speed, pitch, room"):
        augment_clip_by("rain", AUDIO, AROUND, np.random.default_rng(3))


def test_pauses_keep_a_part_of_the_voice_and_the_length() -> None:
    voice = np.sin(np.arange(48_000) * 0.2).astype(np.float32)
    for seed in range(5):
        heard = with_pauses(voice, np.random.default_rng(seed))
        assert len(heard) == len(voice)
        share = np.mean(np.abs(heard.reshape(-1, 160)).max(axis=1) > 0.5)
        assert 0.3 < share < 0.92


def test_level_is_random_and_silence_gets_a_floor() -> None:
    half_silent = np.concatenate([AUDIO, np.zeros(16_000, np.float32)])
    levels = [level(half_silent, np.random.default_rng(seed)) for seed in range(10)]
    assert max(map(rms, levels)) > 2 * min(map(rms, levels))
    assert all(np.all(np.std(one[-16_000:].reshape(-1, 160), axis=1) > 0) for one in levels)


def test_speed_changes_length_and_pitch_together() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    faster = change_speed(tone, 1.05)
    assert len(faster) == pytest.approx(16_000 / 1.05, abs=2)
    peak_hz = np.argmax(np.abs(np.fft.rfft(faster))) * 16_000 / len(faster)
    assert peak_hz == pytest.approx(1_050, abs=3)


@pytest.mark.parametrize("semitones", [-2.0, 1.5])
def test_pitch_shifts_and_tempo_stays(semitones: float) -> None:
    seconds = np.arange(32_000) / 16_000
    tone = np.sin(2 * np.pi * 300 * seconds).astype(np.float32) * (seconds < 1)
    shifted = shift_pitch(tone, semitones)
    assert len(shifted) == pytest.approx(32_000, abs=600)
    peak_hz = np.argmax(np.abs(np.fft.rfft(shifted))) * 16_000 / len(shifted)
    assert peak_hz == pytest.approx(300 * 2 ** (semitones / 12), rel=0.01)
    assert rms(shifted[1_000:15_000]) == pytest.approx(rms(tone[1_000:15_000]), rel=0.1)
    assert rms(shifted[18_000:]) < 0.01  # the silence still begins after one second


def test_audio_too_short_to_stretch_is_unchanged() -> None:
    assert np.array_equal(stretch(AUDIO[:600], 1.2), AUDIO[:600])


def test_clipping_cuts_peaks_alone() -> None:
    clipped = clip_peaks(AUDIO, np.random.default_rng(1))
    most = np.max(np.abs(clipped))
    assert 0.2 <= most / np.max(np.abs(AUDIO)) <= 0.9
    quiet = np.abs(AUDIO) < most
    assert np.array_equal(clipped[quiet], AUDIO[quiet])
    assert (np.abs(clipped[~quiet]) == most).all()


def test_a_room_adds_an_echo() -> None:
    click = np.zeros(4_000, np.float32)
    click[100] = 1
    heard = in_room(click, AROUND, np.random.default_rng(0))
    assert heard[100] == pytest.approx(1, abs=1e-3)
    assert 0.05 < heard[900] < 0.55


def test_noise_comes_at_5_to_30_db_below_the_speech() -> None:
    for seed in range(10):
        added = add_noise(AUDIO, AROUND, np.random.default_rng(seed)) - AUDIO
        assert 4.9 < 20 * np.log10(rms(AUDIO) / rms(added)) < 30.1


@pytest.mark.parametrize("step", [equalise, distort, through_codec, convolutive, impulsive, stationary])
def test_each_step_changes_the_audio_a_little(step: object) -> None:
    assert callable(step)
    for seed in range(8):
        changed = step(AUDIO, np.random.default_rng(seed))
        assert changed.dtype == np.float32
        assert changed.shape == AUDIO.shape
        assert not np.array_equal(changed, AUDIO)
        assert 0.1 < rms(changed) / rms(AUDIO) < 4


def test_notches_let_most_through_and_stop_some() -> None:
    for seed in range(10):
        gains = np.abs(np.fft.rfft(notches(np.random.default_rng(seed)), 4_096))
        assert gains.max() == pytest.approx(1, abs=0.01)
        assert gains.min() < 0.5
        assert np.mean(gains > 0.5) > 0.3


def test_higher_powers_add_harmonics() -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(convolutive(tone, np.random.default_rng(3))))
    loud_hz = np.flatnonzero(spectrum > spectrum.max() / 1_000)
    assert {500, 1_000, 1_500} <= set(loud_hz.tolist())


def test_noise_of_equipment_stays_below_the_speech() -> None:
    for seed in range(10):
        added = stationary(AUDIO, np.random.default_rng(seed)) - AUDIO
        assert 9.9 < 20 * np.log10(rms(AUDIO) / rms(added)) < 40.1
        hit = np.mean(impulsive(AUDIO, np.random.default_rng(seed)) != AUDIO)
        assert hit < 0.11


def surroundings(folder: Path, *rows: str, header: str = "path,kind") -> Path:
    soundfile.write(folder / "noise.wav", NOISE, 16_000)
    soundfile.write(folder / "room.wav", 0.5 * np.concatenate([np.zeros(800), ROOM]), 16_000)
    soundfile.write(folder / "fast.wav", np.zeros(96_000) + np.sin(np.arange(96_000) / 10), 48_000)
    soundfile.write(folder / "silent.wav", np.zeros(800), 16_000)
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "noise_rir.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return folder / "noise_rir.csv"


def test_surroundings_are_read_at_one_rate_and_rooms_begin_with_the_direct_sound(tmp_path: Path) -> None:
    read = load_surroundings(surroundings(tmp_path, "noise.wav,noise", "room.wav,rir", "fast.wav,noise"))
    assert read.noises[0] == pytest.approx(NOISE, abs=1e-4)
    assert len(read.noises[1]) == pytest.approx(32_000, abs=100), "two seconds at 48 kHz"
    assert np.argmax(np.abs(read.rooms[0])) == 16
    assert np.max(np.abs(read.rooms[0])) == 1


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (["noise.wav"], "path", "noise_rir.csv: expected a column kind"),
        (["noise.wav"], "path,kind", "noise_rir.csv:2: expected a value for kind"),
        (["noise.wav,music"], "path,kind", "noise_rir.csv:2: kind: expected noise or rir, got 'music'"),
        (
            ["noise.wav,noise", "gone.wav,rir"],
            "path,kind",
            "noise_rir.csv:3: path: .*gone.wav: cannot be read: No such",
        ),
        (["broken.wav,rir"], "path,kind", "noise_rir.csv:2: path: .*broken.wav: cannot be read"),
        (["silent.wav,rir"], "path,kind", "noise_rir.csv:2: path: expected audio, got silence: silent.wav"),
        (["noise.wav,noise"], "path,kind", "noise_rir.csv: expected rows of kind noise and of kind rir"),
    ],
    ids=["column", "short", "kind", "missing", "unreadable", "silent", "no room"],
)
def test_bad_surroundings_are_refused_by_line(tmp_path: Path, rows: list[str], header: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_surroundings(surroundings(tmp_path, *rows, header=header))
