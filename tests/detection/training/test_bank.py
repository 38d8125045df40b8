"""Renderings are made once, found again by the data's hash, and handed out as frames or as samples."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detection.errors import AudioError, DataError
from detection.signal.audio import read_audio
from detection.signal.features import FeatureSpec, Waveform
from detection.training.bank import FULL_SCALE, ORIGINAL, Bank, Joined, Ragged
from detection.training.data import Clip
from tests.detection.signal.test_features import speechlike


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    files = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, file in enumerate(files):
        soundfile.write(file, speechlike(4_000 + 500 * number, number), 16_000)
    return [Clip(file, "real", "human", "human", "ann", "en", "train", "page") for file in files]


def test_samples_come_back_as_they_were_and_frames_as_many_as_fit(clips: list[Clip], tmp_path: Path) -> None:
    bank = Bank(clips, tmp_path / "none.csv", tmp_path / "cache", workers=1)
    samples = bank.features(ORIGINAL, Waveform())
    assert len(samples) == 3
    assert samples[1].shape == (4_500, 1)
    assert samples[1][:, 0] == pytest.approx(speechlike(4_500, 1), abs=2e-4)  # 16 bits, and a resampler's rounding
    spec = FeatureSpec(bands=20)
    frames = bank.features(ORIGINAL, spec)
    assert [len(frames[index]) for index in range(3)] == [spec.n_frames(4_000 + 500 * number) for number in range(3)]


def test_cached_renderings_are_reused(clips: list[Clip], tmp_path: Path) -> None:
    first = Bank(clips, tmp_path / "none.csv", tmp_path / "cache", workers=1).audio("mulaw")
    for clip in clips:
        clip.file.write_bytes(b"x" * clip.file.stat().st_size)  # same names and sizes: the same data, by its hash
    again = Bank(clips, tmp_path / "none.csv", tmp_path / "cache", workers=1).audio("mulaw")
    assert np.array_equal(first[2], again[2])


def test_concurrent_processes_both_get_a_complete_file(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_written = threading.Barrier(2, timeout=60)

    def in_step(blocks: Iterable[object], **_: object) -> Iterator[object]:
        """Take the place of the progress bar: neither begins to finish before both have begun to write."""
        yield from blocks
        all_written.wait()

    monkeypatch.setattr("detection.training.bank.track", in_step)
    monkeypatch.setattr("detection.training.bank.ProcessPoolExecutor", ThreadPoolExecutor)
    banks = [Bank(clips, tmp_path / "none.csv", tmp_path / "cache", workers=1) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda bank: bank.audio(ORIGINAL), banks))
    for ragged in made:
        for index, clip in enumerate(clips):
            np.testing.assert_array_equal(ragged[index], (read_audio(clip.file) * FULL_SCALE).astype(np.int16))
    assert {file.name for file in banks[0].folder.iterdir()} == {"audio-original.npy", "audio-original-offsets.npy"}


def test_failed_rendering_leaves_no_file(clips: list[Clip], tmp_path: Path) -> None:
    bank = Bank(clips, tmp_path / "none.csv", tmp_path / "cache", workers=1)
    clips[2].file.write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"2\.wav"):
        bank.audio(ORIGINAL)
    assert not list(bank.folder.iterdir())


def test_unknown_rendering_is_refused(clips: list[Clip], tmp_path: Path) -> None:
    bank = Bank(clips, tmp_path / "none.csv", tmp_path / "cache", workers=1)
    with pytest.raises(DataError, match="'telefone': expected a rendering, one of original, augmented-N, only-STEP"):
        bank.audio("telefone")


def test_other_noise_recordings_give_another_cache_key(clips: list[Clip], tmp_path: Path) -> None:
    listing = tmp_path / "noise_rir.csv"
    for name in ("noise.wav", "room.wav"):
        soundfile.write(tmp_path / name, speechlike(2_000, 7), 16_000)
    kept = []
    for rows in ("noise.wav,noise\nroom.wav,rir\n", "room.wav,noise\nroom.wav,rir\n"):
        listing.write_text(f"path,kind\n{rows}")
        bank = Bank(clips, listing, tmp_path / "cache", workers=1)
        bank.audio("only-noise")
        kept.append(bank.cache_key("only-noise"))
        assert (bank.folder / f"audio-{kept[-1]}.npy").exists()
    assert kept[0] != kept[1]
    assert bank.cache_key(ORIGINAL) == ORIGINAL


def test_joined_clips_go_on_counting() -> None:
    one = Ragged(np.arange(6, dtype=np.int16)[:, None], np.array([0, 2, 6]))
    two = Ragged(np.arange(3, dtype=np.int16)[:, None], np.array([0, 3]), scale=0.5)
    joined = Joined(one, two)
    assert len(joined) == 3
    assert joined[1].ravel().tolist() == [2, 3, 4, 5]
    assert joined[2].ravel().tolist() == [0, 0.5, 1]
