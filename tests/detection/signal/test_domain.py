"""Speech muffled or clipped beyond what the models know, told from all that calls and training hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from detection import SAMPLE_RATE_HZ, Activity, Samples, Window, Windower
from detection.signal.channels import CHANNELS, apply_channel
from detection.signal.domain import bands, flatness, is_out_of_domain, treble_db
from detection.signal.spectra import power_spectra
from tests.detection.signals import noise, silence, speech, tones


def muffled(samples: Samples, high_hz: float) -> Samples:
    """Return what is left below `high_hz`, as a two-way radio or a hand over the microphone leaves it."""
    return np.asarray(sosfilt(butter(12, high_hz, output="sos", fs=SAMPLE_RATE_HZ), samples), np.float32)


def clipped(samples: Samples, share: float) -> Samples:
    """Return samples cut off at this share of their peak, at an ordinary level."""
    most = np.abs(samples).max() * np.float32(share)
    return np.asarray(np.clip(samples, -most, most) * np.float32(0.1) / most, np.float32)


def windows(samples: Samples) -> list[Window]:
    windower = Windower(3.0, 1.0, Activity())
    return windower.push(0.0, samples, 0.0) + windower.flush()


def told(samples: Samples) -> list[bool]:
    return [window.out_of_domain for window in windows(samples) if window.speech_s >= 0.8]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("gain", [1.0, 0.03])
def test_what_calls_bring_is_known(channel: str, gain: float) -> None:
    flags = told(apply_channel(speech() * np.float32(gain), channel))
    assert len(flags) > 5
    assert not any(flags)


def test_noise_and_the_hardest_of_training_are_known() -> None:
    assert not any(told(speech() + noise(len(speech()) / SAMPLE_RATE_HZ, -30)))
    assert not any(told(muffled(speech(), 3_000)))
    flags = told(clipped(speech(), 0.2))
    assert sum(flags) < len(flags) / 2  # a voice that is nearly all peaks may pass the mark now and then


def soft_speech_with(sound: Samples, *at_s: float) -> Samples:
    """Return speech at -28 dBFS in which the sound is heard instead, as telephones mute who presses a key."""
    samples = speech() * np.float32(10 ** (-28 / 20) / np.sqrt(np.mean(speech() ** 2)))
    for start in (np.array(at_s) * SAMPLE_RATE_HZ).round().astype(int):
        samples[start : start + len(sound)] = sound
    return samples


BEEP = tones(0.25, 1_000, amplitude=0.5)  # -9 dBFS
DIGIT = tones(0.1, 697, 1_336, amplitude=0.5)  # -6 dBFS


@pytest.mark.parametrize("at_s", np.arange(1.0, 6.0, 0.7))
def test_tones_louder_than_the_speech_beside_them_do_not_muffle_it(at_s: float) -> None:
    for samples in (soft_speech_with(BEEP, at_s), soft_speech_with(DIGIT, *(at_s + 0.2 * np.arange(5)))):
        flags = told(samples)
        assert len(flags) > 3  # windows full of digits are taken for music, which holds no speech
        assert not any(flags)


def test_muffled_speech_is_not_beside_tones_either() -> None:
    assert all(told(muffled(soft_speech_with(BEEP, 1.0, 4.0), 2_000)))


def test_a_tail_tells_of_its_speech_however_often_it_is_repeated() -> None:
    for length in (20_100, 24_000, 40_000):
        assert told(muffled(speech(), 1_500)[16_000:][:length]) == [True]
        assert told(speech()[16_000:][:length]) == [False]


@pytest.mark.parametrize("channel", ["clean", "pstn", "gsm", "amrnb", "opus12"])
def test_muffled_speech_is_not_also_behind_a_codec(channel: str) -> None:
    flags = told(apply_channel(muffled(speech(), 1_500), channel))
    assert len(flags) > 5
    assert all(flags)


@pytest.mark.parametrize("channel", ["clean", "mulaw"])
def test_speech_clipped_to_a_square_wave_is_not_also_behind_a_codec(channel: str) -> None:
    flags = told(apply_channel(clipped(speech(), 0.02), channel))
    assert len(flags) > 5
    assert all(flags)


@pytest.mark.parametrize("sound", [silence(4), tones(4, 440, 480), noise(4, -30)], ids=["silence", "tones", "noise"])
def test_without_speech_nothing_is_told(sound: Samples) -> None:
    assert not any(window.out_of_domain for window in windows(sound))


def test_without_sound_nothing_is_told() -> None:
    nothing = silence(0)
    assert not is_out_of_domain(bands(power_spectra(nothing)), speech())
    assert not is_out_of_domain(bands(power_spectra(speech())), nothing)
    assert not is_out_of_domain(bands(power_spectra(silence(3))), silence(3))


def test_flatness_is_that_of_textbooks_at_any_level() -> None:
    square = np.sign(tones(1, 100))
    for gain in (1.0, 1e-3):
        assert flatness(square * np.float32(gain)) == pytest.approx(1, abs=0.01)
        assert flatness(tones(1, 100) * np.float32(gain)) == pytest.approx(np.sqrt(8) / np.pi, abs=0.01)
        assert flatness(noise(1, -30) * np.float32(gain)) == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)


@pytest.mark.parametrize("offset", [-0.3, 0.05, 0.3])
def test_a_constant_offset_is_not_clipping(offset: float) -> None:
    soft = speech() * np.float32(0.2)
    assert flatness(soft + np.float32(offset)) == pytest.approx(flatness(soft), abs=0.01)
    assert not any(told(soft + np.float32(offset)))


@pytest.mark.parametrize("apart_db", [0, -20, -40])
def test_treble_is_measured_against_what_is_below_it(apart_db: float) -> None:
    both = tones(3, 1_000, amplitude=0.1) + tones(3, 3_000, amplitude=0.1 * 10 ** (apart_db / 20))
    assert treble_db(bands(power_spectra(both))) == pytest.approx(apart_db, abs=1.5)
