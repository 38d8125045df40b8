from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import Activity, Samples
from detection.signal.activity import FRAME_SAMPLES
from detection.signal.audio import read_audio
from detection.signal.channels import apply_channel
from tests.detection.signals import cadence, noise, silence, speech, tones

DTMF = np.concatenate([tones(0.1, low, high) for low, high in ((697, 1209), (770, 1336), (852, 1477), (941, 1633))])


def share(samples: Samples) -> float:
    return float(Activity().push(samples).mean())


@pytest.mark.parametrize("level_db", [0, -10, -20, -30])
def test_speech_is_speech_at_any_level(level_db: int) -> None:
    assert share(speech() * np.float32(10 ** (level_db / 20))) > 0.75


@pytest.mark.parametrize(
    ("sound", "at_most"),
    [
        pytest.param(silence(5), 0.0, id="silence"),
        pytest.param(noise(5, -30), 0.01, id="loud-noise"),
        pytest.param(noise(5, -50), 0.01, id="comfort-noise"),
        pytest.param(tones(5, 350, 440), 0.02, id="dial-us"),
        pytest.param(cadence(tones(2, 440, 480), 4, 12), 0.02, id="ringback-us"),
        pytest.param(cadence(tones(0.4, 400, 450), 0.2, 6), 0.15, id="ringback-uk"),
        pytest.param(cadence(tones(1, 425), 4, 10), 0.02, id="ringback-eu"),
        pytest.param(cadence(tones(0.5, 480, 620), 0.5, 5), 0.1, id="busy-us"),
        pytest.param(cadence(tones(0.33, 950), 0.01, 5), 0.02, id="special-information"),
        pytest.param(tones(5, 2100), 0.02, id="fax-answer"),
        pytest.param(tones(5, 50), 0.02, id="mains-hum"),
        pytest.param(DTMF, 0.2, id="dtmf"),
        pytest.param(tones(5, 262, 330, 392, 524, 660, 784, amplitude=0.05), 0.05, id="held-chord"),
    ],
)
def test_sounds_of_the_line_are_not_speech(sound: Samples, at_most: float) -> None:
    assert share(sound) <= at_most
    assert share(sound + noise(len(sound) / 16_000, -45)) <= at_most + 0.02


def test_speech_after_a_tone_is_found_again() -> None:
    tone = tones(2, 440, 480)
    flags = Activity().push(np.concatenate((tone, speech())))
    after = flags[len(tone) // FRAME_SAMPLES :]
    assert after.mean() > 0.75
    assert not flags[5 : len(tone) // FRAME_SAMPLES].any()


@given(cuts=st.lists(st.integers(0, 3 * 16_000), max_size=12))
@settings(max_examples=30, deadline=None)
def test_any_chunking_gives_the_same_flags(cuts: list[int]) -> None:
    audio = np.concatenate((tones(0.5, 440, 480), speech()[:32_000], noise(0.5, -30)))
    whole = Activity().push(audio)
    activity = Activity()
    pieces = [activity.push(piece) for piece in np.split(audio, sorted(cuts))]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len(whole) == len(audio) // FRAME_SAMPLES


def test_clear_forgets_everything() -> None:
    activity = Activity()
    activity.push(speech()[:20_001])
    activity.clear()
    assert np.array_equal(activity.push(speech()), Activity().push(speech()))


def test_out_of_range_samples_do_not_wrap_around() -> None:
    assert share(speech() * np.float32(30)) > 0.75


def test_people_and_machines_on_the_corpus_are_heard_alike(corpus: Path) -> None:
    with (corpus / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    found = {}
    for label in ("real", "fake"):
        clips = [corpus / row["path"] for row in rows if row["label"] == label][:120:6]
        found[label] = np.mean([share(apply_channel(read_audio(clip), "pstn")) for clip in clips])
    assert found["real"] == pytest.approx(found["fake"], abs=0.1)
    assert min(found.values()) > 0.65


def test_most_noise_on_the_corpus_is_not_speech(corpus: Path) -> None:
    noises = sorted((corpus / "noise").iterdir())[::4]
    assert np.mean([share(read_audio(path)) for path in noises]) < 0.4
