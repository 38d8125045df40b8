from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from sim.clips import Voice, from_folder, load
from sim.scenario import Talk
from sim.talk import Casting, Part, Turn, converse
from tests.sim.conftest import RATE_HZ


@pytest.fixture
def voices(clips: Path) -> dict[str, Voice]:
    return {voice.speaker: voice for voice in from_folder(clips).voices}


def swapped(voices: dict[str, Voice], seed: int = 1) -> dict[str, Part]:
    cast = {"a": Casting((voices["anna"], voices["robo"]), (25.0,)), "b": Casting((voices["bert"],))}
    return converse(cast, 60.0, load, random.Random(seed))


def test_people_take_turns(voices: dict[str, Voice]) -> None:
    for seed in range(10):
        parts = swapped(voices, seed)
        turns = sorted((turn for part in parts.values() for turn in part.turns), key=lambda turn: turn.start_s)
        assert len(turns) >= 6
        assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(turns))
        assert turns[-1].end_s <= 60.0
        assert all(part.talk_s("human") + part.talk_s("synthetic") > 12 for part in parts.values())


def test_the_same_seed_gives_the_same_talk(voices: dict[str, Voice]) -> None:
    first, again, other = swapped(voices), swapped(voices), swapped(voices, seed=2)
    assert np.array_equal(first["a"].read(0, 60 * RATE_HZ), again["a"].read(0, 60 * RATE_HZ))
    assert [turn.start_s for turn in first["a"].turns] != [turn.start_s for turn in other["a"].turns]


def test_a_voice_that_turns_synthetic_does_so_once_and_in_time(voices: dict[str, Voice]) -> None:
    for seed in range(10):
        part = swapped(voices, seed)["a"]
        labels = [turn.label for turn in part.turns]
        assert labels == sorted(labels)  # human, then synthetic
        assert part.synthetic_from_s is not None
        assert all((turn.start_s >= 25.0) == (turn.label == "synthetic") for turn in part.turns)
        first = next(turn for turn in part.turns if turn.label == "synthetic")
        # The clips begin with 0.2 s of silence, unless the tape was already running.
        assert part.synthetic_from_s == pytest.approx(first.start_s + 0.2, abs=0.01)


def test_each_turn_is_spoken_by_its_voice(voices: dict[str, Voice]) -> None:
    parts = swapped(voices)
    for part, human_hz in ((parts["a"], 200), (parts["b"], 120)):
        for turn in part.turns:
            spectrum = np.abs(np.fft.rfft(turn.samples[: RATE_HZ * 2]))
            pitch_hz = float(np.argmax(spectrum)) / min(len(turn.samples) / RATE_HZ, 2.0)
            assert pitch_hz == pytest.approx(300 if turn.label == "synthetic" else human_hz, abs=4)


def test_somebody_alone_speaks_with_pauses(voices: dict[str, Voice]) -> None:
    part = converse({"only": Casting((voices["vox"],))}, 30.0, load, random.Random(1))["only"]
    assert [voice.name for voice in part.voices] == ["vox"]
    assert 10 < part.talk_s("synthetic") < 29
    assert part.talk_s("human") == 0


def test_reading_in_pieces_is_reading_at_once() -> None:
    turns = [Turn(0.5, "human", np.full(1000, 0.5, np.float32)), Turn(1.0, "synthetic", np.ones(50, np.float32))]
    part = Part([], turns)
    whole = part.read(0, 2 * RATE_HZ)
    for size in (7, 320, 5000):
        pieces = [part.read(start, min(size, len(whole) - start)) for start in range(0, len(whole), size)]
        assert np.array_equal(np.concatenate(pieces), whole)
    assert np.allclose(whole[8000:9000], 0.5, atol=0.01)
    assert np.allclose(whole[16000:16050], 1.0, atol=0.01)


def test_the_line_is_never_digitally_silent() -> None:
    noise = Part([]).read(12_345, 3 * RATE_HZ)
    assert 20 * np.log10(np.sqrt(np.mean(noise**2))) == pytest.approx(-65, abs=0.5)
    assert np.mean(noise == 0) < 0.01


def test_all_human_has_no_synthetic_beginning() -> None:
    assert Part([], [Turn(0.5, "human", np.ones(10, np.float32))]).synthetic_from_s is None


def test_overlaps_and_backchannels_have_their_requested_share(voices: dict[str, Voice]) -> None:
    cast = {"a": Casting((voices["anna"],)), "b": Casting((voices["bert"],))}
    lively = converse(cast, 120.0, load, random.Random(1), Talk(overlap=1.0, backchannel=1.0))
    turns = sorted((turn for part in lively.values() for turn in part.turns), key=lambda turn: turn.start_s)
    assert sum(before.end_s > after.start_s for before, after in itertools.pairwise(turns)) > len(turns) / 3
    assert sum(turn.duration_s < 1.0 for turn in turns) > 10
    assert all(sorted(part.turns, key=lambda turn: turn.start_s) == part.turns for part in lively.values())


def test_no_speech_in_quiet_times(voices: dict[str, Voice]) -> None:
    cast = {"a": Casting((voices["anna"],)), "b": Casting((voices["bert"],)), "c": Casting(())}
    parts = converse(cast, 60.0, load, random.Random(1), quiet=[(0.0, 10.0), (30.0, 40.0)])
    turns = [turn for part in parts.values() for turn in part.turns]
    assert not parts["c"].turns
    assert len(turns) > 5
    assert all(turn.start_s >= 40.0 or 10.0 <= turn.start_s < turn.end_s <= 30.0 for turn in turns)


def test_a_voice_changes_and_changes_back(voices: dict[str, Voice]) -> None:
    casting = Casting((voices["anna"], voices["vox"], voices["anna"]), (20.0, 40.0))
    assert [casting.speaker(at_s)[0].name for at_s in (0.0, 19.9, 20.0, 39.9, 40.0, 99.0)] == [
        *("anna", "anna", "vox", "vox", "anna", "anna")
    ]
    part = converse({"a": casting}, 60.0, load, random.Random(1))["a"]
    assert [turn.label for turn in part.turns if turn.start_s > 41.0][:1] == ["human"]
    assert part.talk_s("synthetic") > 5
