"""Leaks of another leg's voice are told from a leg's own voice; two people talking at once are not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.call.crosstalk import Crosstalk
from gateway.client import codecs
from tests.gateway.call.two_legs import (
    BLOCK,
    CALLEE,
    CALLER,
    RATE_HZ,
    SECONDS,
    Ear,
    hold_call,
    judged,
    leak,
    telephone,
    voice,
)


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
@pytest.mark.parametrize("delay_ms", [0, 7.3, 180, 500])
@pytest.mark.parametrize("level_db", [-10, -20, -30])
def test_a_leak_is_detected_at_every_delay_and_level(
    encoding: codecs.Encoding, delay_ms: float, level_db: float
) -> None:
    source = voice("flite_slt")
    own, leaked = judged(telephone(source, encoding), telephone(leak(source, delay_ms, level_db), encoding))
    assert len(own) >= 5
    assert not any(own)
    assert len(leaked) >= 5
    assert all(leaked)


def test_the_faintest_leak_with_speech_is_detected() -> None:
    source = voice("flite_slt", rms=0.15)
    own, leaked = judged(telephone(source), telephone(leak(source, 180, -40)))
    assert not any(own)
    assert len(leaked) >= 3
    assert all(leaked)


@pytest.mark.parametrize("callee_rms", [0.006, 0.06, 0.2])
def test_two_people_who_talk_at_once_are_both_scored(callee_rms: float) -> None:
    for name in ("flite_rms", "espeak_us", "festival_slt_hts", "flite_awb"):
        caller, callee = judged(telephone(voice("flite_slt")), telephone(voice(name, callee_rms)))
        assert len(caller + callee) >= 8
        assert not any(caller + callee)


def test_a_speaker_over_an_echo_is_scored() -> None:
    source = voice("flite_slt")
    _, callee = judged(telephone(source), telephone(voice("flite_rms") + leak(source, 180, -20)))
    assert len(callee) >= 5
    assert not any(callee)


def test_a_speaker_after_an_echo_is_scored() -> None:
    half = SECONDS * RATE_HZ // 2
    source = voice("flite_slt")
    source[half:] = 0
    answer = voice("flite_rms")
    answer[:half] = 0
    _, callee = judged(telephone(source), telephone(answer + leak(source, 180, -20)))
    assert callee[0]
    assert not callee[-1]


def test_of_two_equals_neither_is_the_copy() -> None:
    both = telephone(voice("flite_slt"))
    caller, callee = judged(both, both.copy())
    assert not any(caller + callee)


def test_a_leg_alone_is_nobodys_echo() -> None:
    alone = Ear(Crosstalk(), CALLER, telephone(voice("flite_slt")))
    hold_call(alone)
    assert len(alone.leaks) >= 5
    assert not any(alone.leaks)


@pytest.mark.parametrize("ahead_s", [-1.7, 2.4])
def test_clocks_of_legs_need_not_agree(ahead_s: float) -> None:
    """The legs came at different times, and their media clocks began anywhere."""
    source = voice("flite_slt")
    echo = telephone(leak(source, 180, -20))
    crosstalk = Crosstalk()
    cut = round(abs(ahead_s) * RATE_HZ)
    heard = telephone(source)[cut if ahead_s > 0 else 0 :], echo[cut if ahead_s < 0 else 0 :]
    caller = Ear(crosstalk, CALLER, heard[0], arrives_s=100 + max(ahead_s, 0), clock_s=7.0)
    callee = Ear(crosstalk, CALLEE, heard[1], arrives_s=100 + max(-ahead_s, 0))
    hold_call(caller, callee)
    assert not any(caller.leaks)
    assert len(callee.leaks) >= 4
    assert all(callee.leaks[3:])  # what was said while only one leg was there has nothing to be compared with


@pytest.mark.parametrize("skew_s", [-0.19, 0.19])
def test_a_leg_may_arrive_later_than_the_other(skew_s: float) -> None:
    source = voice("flite_slt")
    crosstalk = Crosstalk()
    caller = Ear(crosstalk, CALLER, telephone(source), arrives_s=1 + skew_s)
    callee = Ear(crosstalk, CALLEE, telephone(leak(source, 180, -20)), arrives_s=1)
    hold_call(caller, callee)
    assert not any(caller.leaks)
    assert all(callee.leaks)


@pytest.mark.parametrize("lost", [range(0, 90, 4), range(15, 45)], ids=["a fifth of a second often", "6 s at once"])
def test_lost_audio_does_not_shift_later_audio(lost: range) -> None:
    source = np.tile(voice("flite_slt"), 2)
    crosstalk = Crosstalk()
    caller = Ear(crosstalk, CALLER, telephone(source))
    callee = Ear(crosstalk, CALLEE, telephone(leak(source, 180, -20)), lost=lost)
    hold_call(caller, callee)
    assert not any(caller.leaks)
    assert len(callee.leaks) >= 7
    assert all(callee.leaks)


def test_a_leg_that_ended_is_forgotten() -> None:
    source = voice("flite_slt")
    crosstalk = Crosstalk()
    caller = Ear(crosstalk, CALLER, telephone(source))
    hold_call(caller)
    crosstalk.forget(CALLER)
    crosstalk.forget(CALLER)
    callee = Ear(crosstalk, CALLEE, telephone(leak(source, 180, -20)))
    hold_call(callee)
    assert not any(callee.leaks)


def test_a_word_is_too_short_to_be_compared() -> None:
    source = voice("flite_slt")[: 6 * BLOCK]
    crosstalk = Crosstalk()
    callee = Ear(crosstalk, CALLEE, telephone(leak(source, 180, -20)))
    hold_call(Ear(crosstalk, CALLER, telephone(source)), callee)
    (window,) = callee.windower.flush()
    assert not crosstalk.is_leak(CALLEE, window)
