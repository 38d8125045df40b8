"""Conversations: who speaks when, on which leg.  [S]

Speakers take turns with short pauses or overlaps, and listeners say short words. A voice plays its recordings in order;
a turn ends at a quiet moment, and the next turn of that voice continues from there.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gateway.client.codecs import CLIP_RATE_HZ, Samples
from sim.clips import Label, Voice, onset_samples
from sim.scenario import Talk

BACKCHANNEL_S = (0.4, 0.9)
BREATH_S = 0.35
"""Pause between two recordings within a turn."""
_FRAME_SAMPLES = CLIP_RATE_HZ // 50
_LINE_NOISE_RMS = 10 ** (-65 / 20)
DEFAULT_TALK = Talk()
# Telephone lines are never digitally silent; human and synthetic voices get the same faint noise.
_LINE_NOISE = (np.random.default_rng(0).standard_normal(CLIP_RATE_HZ) * _LINE_NOISE_RMS).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a speaker."""

    start_s: float
    label: Label
    samples: Samples

    @property
    def duration_s(self) -> float:
        """Length in seconds, pauses included."""
        return len(self.samples) / CLIP_RATE_HZ

    @property
    def end_s(self) -> float:
        """End in seconds of the call."""
        return self.start_s + self.duration_s


@dataclass(slots=True)
class Part:
    """The speech of one leg for the whole call."""

    voices: Sequence[Voice]
    """Its voices, in order."""
    turns: list[Turn] = field(default_factory=list)

    def read(self, start: int, count: int) -> Samples:
        """Return `count` samples from sample `start` on: the turns, with line noise."""
        samples = np.take(_LINE_NOISE, np.arange(start, start + count), mode="wrap")
        first = max(0, bisect_right(self.turns, start / CLIP_RATE_HZ, key=lambda turn: turn.start_s) - 1)
        for turn in self.turns[first:]:
            offset = round(turn.start_s * CLIP_RATE_HZ) - start
            if offset >= count:
                break
            spoken = turn.samples[max(0, -offset) : max(0, count - offset)]
            samples[max(0, offset) : max(0, offset) + len(spoken)] += spoken
        return samples

    def talk_s(self, label: Label) -> float:
        """Return the duration of the turns with this label."""
        return sum(turn.duration_s for turn in self.turns if turn.label == label)

    @property
    def synthetic_from_s(self) -> float | None:
        """Start of the first synthetic speech; None if there is none."""
        first = next((turn for turn in self.turns if turn.label == "synthetic"), None)
        return None if first is None else first.start_s + onset_samples(first.samples) / CLIP_RATE_HZ


@dataclass(frozen=True, slots=True)
class Casting:
    """The voices of a leg in order; they change at `swaps_s`."""

    voices: tuple[Voice, ...]
    swaps_s: tuple[float, ...] = ()

    def speaker(self, now_s: float) -> tuple[Voice, float]:
        """Return the voice at this time, and the time of the next change."""
        turn = min(bisect_right(self.swaps_s, now_s), len(self.voices) - 1)
        until_s = self.swaps_s[turn] if turn < len(self.voices) - 1 else math.inf
        return self.voices[turn], until_s


class _Tape:
    """The recordings of a voice in a random order, repeated."""

    def __init__(self, voice: Voice, load: Callable[[Path], Samples], rng: random.Random) -> None:
        self._paths = rng.sample(voice.paths, len(voice.paths))
        self._load = load
        self._next = 0
        self._rest = np.empty(0, np.float32)

    def read(self, count: int) -> Samples:
        """Return at most `count` samples, up to one second less to end at a quiet moment."""
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
    cast: Mapping[str, Casting],
    duration_s: float,
    load: Callable[[Path], Samples],
    rng: random.Random,
    talk: Talk = DEFAULT_TALK,
    quiet: Sequence[tuple[float, float]] = (),
) -> dict[str, Part]:
    """Make the parts of a call.

    Args:
        cast: voices by leg; a leg without voices is silent.
        duration_s: length of the call.
        load: decodes a recording.
        rng: draws order, lengths of turns and pauses, and recordings.
        talk: turn-taking.
        quiet: start and end of times without speech, in order.
    """
    return _Conversation(cast, duration_s, load, rng, talk, quiet).write()


class _Conversation:
    """Makes the conversation of one call."""

    def __init__(
        self,
        cast: Mapping[str, Casting],
        duration_s: float,
        load: Callable[[Path], Samples],
        rng: random.Random,
        talk: Talk,
        quiet: Sequence[tuple[float, float]],
    ) -> None:
        self._cast, self._duration_s, self._load, self._rng, self._talk = cast, duration_s, load, rng, talk
        self._quiet = quiet
        self._parts = {leg: Part(casting.voices) for leg, casting in cast.items()}
        self._tapes: dict[tuple[str, Voice], _Tape] = {}

    def write(self) -> dict[str, Part]:
        rng, talk = self._rng, self._talk
        speakers = [leg for leg, casting in self._cast.items() if casting.voices]
        order = rng.sample(speakers, len(speakers))
        now_s, number = rng.uniform(*talk.pause_s), 0
        while order and (now_s := self._after_quiet(now_s)) < self._duration_s - 1.0:
            leg, length_s = order[number % len(order)], rng.uniform(*talk.turn_s)
            end_s = min(now_s + length_s, self._duration_s, self._next_quiet_s(now_s))
            turn = self._say(leg, now_s, end_s)
            if talk.backchannel and rng.random() < talk.backchannel and len(order) > 1:
                self._backchannel(order[(number + 1) % len(order)], turn)
            if talk.overlap and rng.random() < talk.overlap and len(order) > 1:
                now_s = max(now_s + 1.0, turn.end_s - rng.uniform(*talk.overlap_s))
            else:
                now_s = turn.end_s + rng.uniform(*talk.pause_s) * (1 if len(order) > 1 else 3)
            number += 1
        for part in self._parts.values():
            part.turns.sort(key=lambda turn: turn.start_s)
        return self._parts

    def _say(self, leg: str, now_s: float, end_s: float) -> Turn:
        voice, until_s = self._cast[leg].speaker(now_s)
        end_s = min(end_s, max(until_s, now_s + 1.0))
        tape = self._tapes.setdefault((leg, voice), _Tape(voice, self._load, self._rng))
        turn = Turn(now_s, voice.label, tape.read(round((end_s - now_s) * CLIP_RATE_HZ)))
        self._parts[leg].turns.append(turn)
        return turn

    def _backchannel(self, leg: str, turn: Turn) -> None:
        """Add a short word of the listener in the middle of a turn, if the turn is long enough."""
        length_s = self._rng.uniform(*BACKCHANNEL_S)
        if turn.duration_s > 3 * length_s:
            at_s = turn.start_s + self._rng.uniform(length_s, turn.duration_s - 2 * length_s)
            self._say(leg, at_s, at_s + length_s)

    def _after_quiet(self, now_s: float) -> float:
        """Return the first time from `now_s` on with at least a second before the next quiet time."""
        for start_s, end_s in self._quiet:
            if start_s - 1.0 < now_s < end_s:
                now_s = end_s
        return now_s

    def _next_quiet_s(self, now_s: float) -> float:
        return min((start_s for start_s, _ in self._quiet if start_s > now_s), default=math.inf)


def _quiet_cut(samples: Samples, count: int) -> int:
    """Return where to cut: the quietest frame in the last second before `count`, but not in the first half."""
    earliest = max(count // 2, count - CLIP_RATE_HZ) // _FRAME_SAMPLES
    frames = samples[earliest * _FRAME_SAMPLES : count // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    return (earliest + int(np.argmin(np.abs(frames).max(axis=1)))) * _FRAME_SAMPLES
