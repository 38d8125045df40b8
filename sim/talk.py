"""A conversation as a script: who says what from when to when, on which leg.  [S]

People take turns with short pauses. What a voice says is its recordings one after the other; a turn ends in a quiet
moment of them, and the next turn goes on from there.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gateway.client.codecs import CLIP_RATE_HZ, Samples
from sim.clips import Label, Voice, onset_samples

TURN_S = (3.0, 7.0)
PAUSE_S = (0.2, 0.9)
BREATH_S = 0.35
"""Between two recordings of one turn."""
_FRAME_SAMPLES = CLIP_RATE_HZ // 50
_LINE_NOISE_RMS = 10 ** (-65 / 20)
# No telephone line is digitally silent; the same faint noise under people and machines.
_LINE_NOISE = (np.random.default_rng(0).standard_normal(CLIP_RATE_HZ) * _LINE_NOISE_RMS).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks."""

    start_s: float
    label: Label
    samples: Samples

    @property
    def duration_s(self) -> float:
        """How long it takes, breaths included."""
        return len(self.samples) / CLIP_RATE_HZ

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.start_s + self.duration_s


@dataclass(slots=True)
class Part:
    """All that is heard on one leg, from the first second of the call to the last."""

    voices: Sequence[Voice]
    """Who speaks: one voice, or first one and then the other."""
    turns: list[Turn] = field(default_factory=list)

    def read(self, start: int, count: int) -> Samples:
        """Return `count` samples from sample `start` on: the turns, over line noise."""
        heard = np.take(_LINE_NOISE, np.arange(start, start + count), mode="wrap")
        first = max(0, bisect_right(self.turns, start / CLIP_RATE_HZ, key=lambda turn: turn.start_s) - 1)
        for turn in self.turns[first:]:
            offset = round(turn.start_s * CLIP_RATE_HZ) - start
            if offset >= count:
                break
            spoken = turn.samples[max(0, -offset) : max(0, count - offset)]
            heard[max(0, offset) : max(0, offset) + len(spoken)] += spoken
        return heard

    def talk_s(self, label: Label) -> float:
        """Return how long voices of that kind speak."""
        return sum(turn.duration_s for turn in self.turns if turn.label == label)

    @property
    def synthetic_from_s(self) -> float | None:
        """When the first synthetic speech is heard; None where everything is human."""
        first = next((turn for turn in self.turns if turn.label == "synthetic"), None)
        return None if first is None else first.start_s + onset_samples(first.samples) / CLIP_RATE_HZ


@dataclass(frozen=True, slots=True)
class Casting:
    """Who speaks on a leg, and who takes over at `swap_s`."""

    voice: Voice
    successor: Voice | None = None
    swap_s: float = float("inf")


class _Tape:
    """The recordings of a voice, in an order drawn once, played round and round."""

    def __init__(self, voice: Voice, load: Callable[[Path], Samples], rng: random.Random) -> None:
        self._paths = rng.sample(voice.paths, len(voice.paths))
        self._load = load
        self._next = 0
        self._rest = np.empty(0, np.float32)

    def read(self, count: int) -> Samples:
        """Return about `count` samples: at most that, up to a second less to end where it is quiet."""
        breath = np.zeros(round(BREATH_S * CLIP_RATE_HZ), np.float32)
        pieces = [self._rest]
        while sum(map(len, pieces)) < count:
            pieces += [self._load(self._paths[self._next % len(self._paths)]), breath]
            self._next += 1
        tape = np.concatenate(pieces)
        cut = _quiet_cut(tape, count)
        self._rest = tape[cut:]
        return tape[:cut]


def converse(
    cast: Mapping[str, Casting], duration_s: float, load: Callable[[Path], Samples], rng: random.Random
) -> dict[str, Part]:
    """Write the parts of a call.

    Args:
        cast: who speaks, by leg, one leg or more.
        duration_s: length of the call.
        load: decodes a recording.
        rng: draws who begins, how long turns and pauses are, and what is said.
    """
    parts = {leg: Part([c.voice] if c.successor is None else [c.voice, c.successor]) for leg, c in cast.items()}
    tapes: dict[tuple[str, Voice], _Tape] = {}
    order = rng.sample(list(cast), len(cast))
    now_s, turn = rng.uniform(*PAUSE_S), 0
    while now_s < duration_s - 1.0:
        leg = order[turn % len(order)]
        casting, length_s = cast[leg], rng.uniform(*TURN_S)
        end_s = min(now_s + length_s, duration_s)
        voice = casting.voice
        if casting.successor is not None:
            if now_s >= casting.swap_s:
                voice = casting.successor
            else:
                end_s = min(end_s, max(casting.swap_s, now_s + 1.0))
        tape = tapes.setdefault((leg, voice), _Tape(voice, load, rng))
        said = Turn(now_s, voice.label, tape.read(round((end_s - now_s) * CLIP_RATE_HZ)))
        parts[leg].turns.append(said)
        now_s = said.end_s + rng.uniform(*PAUSE_S) * (1 if len(cast) > 1 else 3)
        turn += 1
    return parts


def _quiet_cut(samples: Samples, count: int) -> int:
    """Return where to cut: the quietest frame of the last second before `count`, but not in the first half."""
    earliest = max(count // 2, count - CLIP_RATE_HZ) // _FRAME_SAMPLES
    frames = samples[earliest * _FRAME_SAMPLES : count // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    return (earliest + int(np.argmin(np.abs(frames).max(axis=1)))) * _FRAME_SAMPLES
