from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from detection import SAMPLE_RATE_HZ, Activity, Policy, Samples, Windower
from detection.signal.audio import read_audio
from detection.signal.channels import apply_channel
from detection.signal.music import Notes, is_music, likeness, notes
from detection.signal.spectra import power_spectra
from tests.detection.signals import VOICES, drums, line_sounds, noise, silence, speech, tones, tune

WINDOW = 3 * SAMPLE_RATE_HZ
MUSIC = {
    "melody": tune(6),
    "melody with vibrato": tune(6, vibrato=0.3, sustain_s=2, seed=1),
    "chords": tune(6, voices=3, sustain_s=1, seed=2),
    "band": tune(6, voices=2, seed=3) + drums(6),
}


def windows(samples: Samples) -> list[Samples]:
    return [samples[at : at + WINDOW] for at in range(0, len(samples) - WINDOW + 1, SAMPLE_RATE_HZ)]


def told(samples: Samples) -> Notes:
    return notes(power_spectra(samples))[0]


def at_level(samples: Samples, level_db: float) -> Samples:
    return samples * np.float32(10 ** (level_db / 20))


@pytest.mark.parametrize("name", MUSIC)
@pytest.mark.parametrize("level_db", [0, -25])
def test_music_is_music_over_a_telephone_and_at_any_level(name: str, level_db: float) -> None:
    samples = at_level(MUSIC[name], level_db)
    assert all(is_music(told(window)) for window in windows(samples))
    assert all(is_music(told(window)) for window in windows(apply_channel(samples, "pstn")))


@pytest.mark.parametrize("voice", sorted(folder.name for folder in VOICES.iterdir() if folder.is_dir()))
def test_voices_are_no_music_not_even_monotonous_machines(voice: str) -> None:
    spoken = np.concatenate([read_audio(VOICES / voice / f"{n}.ogg") for n in (1, 2)])
    noisy = spoken + noise(len(spoken) / SAMPLE_RATE_HZ, -40)
    for samples in (
        spoken,
        at_level(spoken, -25),
        apply_channel(spoken, "pstn"),
        noisy,
    ):
        assert not any(is_music(told(window)) for window in windows(samples))


@pytest.mark.parametrize("hum_db", [-40, -50])
def test_hum_behind_a_voice_does_not_make_it_music(hum_db: float) -> None:
    hum = at_level(tones(10, 50, 100, 150, amplitude=1.0), hum_db)[: len(speech())]
    assert not any(is_music(told(window)) for window in windows(speech()[: len(hum)] + hum))


@pytest.mark.parametrize("voice", ["flite_awb", "flite_rms", "espeak_us", "festival_kal", "festival_slt_hts"])
def test_soft_music_behind_a_voice_does_not_silence_it(voice: str) -> None:
    spoken = read_audio(VOICES / voice / "1.ogg")
    spoken = spoken * np.float32(0.1 / np.sqrt(np.mean(spoken**2)))
    behind = at_level(tune(30, voices=3), -15)[: len(spoken)]
    assert not any(is_music(told(window)) for window in windows(spoken + behind))


@pytest.mark.parametrize(
    "samples", [silence(0), silence(0.01), silence(3), tune(0.3), np.concatenate((silence(2.8), tune(0.2)))]
)
def test_too_little_sound_is_no_music(samples: Samples) -> None:
    assert likeness(told(samples)) == 0
    assert not is_music(told(samples))


@pytest.mark.parametrize("name", line_sounds())
def test_nothing_that_nobody_says_is_ever_scored(name: str) -> None:
    sound = line_sounds()[name]
    for samples in (sound, apply_channel(sound, "pstn"), sound + noise(10, -55)):
        windower = Windower(3.0, 1.0, Activity())
        heard = windower.push(0.0, samples, 0.0) + windower.flush()
        assert max(window.speech_s for window in heard) < Policy().min_window_speech_s


def test_who_speaks_before_and_after_the_music_is_heard() -> None:
    windower = Windower(3.0, 1.0, Activity())
    heard = windower.push(0.0, np.concatenate((speech()[: 2 * WINDOW], tune(9), speech()[: 2 * WINDOW])), 0.0)
    by_start = {window.start_s: window for window in heard}
    assert min(by_start[at].speech_s for at in (0, 1, 2, 3, 15, 16, 17, 18)) > 1.5
    assert all(by_start[at].speech_s == by_start[at].fresh_speech_s == 0 for at in range(6, 13))


def test_hardly_any_speech_of_the_corpus_is_taken_for_music(corpus: Path) -> None:
    with (corpus / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val" and float(row["duration_s"]) > 3.2]
    for label in ("real", "fake"):
        clips = [read_audio(corpus / row["path"]) for row in rows if row["label"] == label][:120:20]
        flags = [is_music(told(window)) for clip in clips for window in windows(apply_channel(clip, "pstn"))]
        assert len(flags) > 10
        assert not any(flags)
