"""Which audio of a leg the verifier hears: its speech, once over, in windows of its own length.  [sans-I/O]

::

    windows of the light model    [=======][=][=][=][=][=]   pause   [=======][=][=]
    speech and what is near it       ^^^^^^^^^   ^^^^^^^^              ^^^^   ^^^^^^
    joined                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    windows of the verifier          [----------][----------]
                                               [----------]         tail, as far back as it must reach
    again, in doubt                        [----------]

People pause, and a pause says nothing of a voice: frames further than `NEAR_SPEECH_S` from speech are left out, and
what is left is joined, so that every window is full of speech however a call goes. Only windows that the light model
scored are taken: those with too little speech, leaks of the other line and expected machines add nothing. Speech that
does not fill a window waits for more for `PATIENCE_S`; then it is repeated until it fills one.

What is joined is cut in steps of the verifier's hop; as many of them as fill a window make the step from one window to
the next, and those between are `again`: what they hold is heard anyway, and a second look is worth its price only while
a leg is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.signal.activity import FRAME_S, FRAME_SAMPLES
from detection.signal.windows import MIN_TAIL_SPEECH_S
from detection.types import SAMPLE_RATE_HZ, Samples, Window

NEAR_SPEECH_S = 0.25
"""Audio so close before or after speech stays: what lies between syllables and words tells much."""
PATIENCE_S = 5.0
"""How long speech that does not fill a window waits for more, in media time."""
_NEAR = round(NEAR_SPEECH_S / FRAME_S)
_RAMP = 80
"""Samples over which audio fades out before a joint, and in after it: a jump would be a click."""
_FULL_SCALE = np.float32(32_767)


def step_s(window_s: float, hop_s: float) -> float:
    """Return the step between two windows that are not `again`, of a verifier with such a window and hop."""
    return max(1, round(window_s * SAMPLE_RATE_HZ) // round(hop_s * SAMPLE_RATE_HZ)) * hop_s


@dataclass(frozen=True, slots=True)
class Question:
    """A window for the verifier, and what stretch of the leg an answer speaks of."""

    window: Window
    start_s: float
    """Media times between which it holds all speech that the light model scored, from here"""
    end_s: float
    """to here."""
    again: bool
    """Whether other windows hold all of it, too."""


class Coverage:
    """Cuts one leg for the verifier: `hear` each window that the light model scored, `skip` the others, then `end`.

    Keeps two windows' worth of audio at most, in 16 bits: 192 kB for windows of 3 s. What a call brings has 16 bits at
    most, so nothing is lost.
    """

    def __init__(self, window_s: float, hop_s: float) -> None:
        """Take the verifier's window and hop, in seconds; both whole numbers of activity frames."""
        self._window = round(window_s / FRAME_S)
        self._hop = round(hop_s / FRAME_S)
        self._every = round(step_s(window_s, hop_s) / hop_s)
        self._end = 0
        """Frames after the leg's start up to which it was heard."""
        self._until_s = 0.0
        """Media time up to which windows reached, a repeated tail included."""
        self._joined = _Frames.none()
        self._first = 0
        """Place of the first frame that is kept, in all that was joined so far, as all places here."""
        self._from = 0
        """Frames after the leg's start from which on its speech is kept."""
        self._next = 0
        """Place of the next window; `_number` is its number since the last tail."""
        self._number = 0
        self._covered = 0
        """Place up to which windows that are not `again` hold what was joined."""
        self._undecided = _Frames.none()
        """The last frames heard, if no speech is near them yet."""
        self._before = np.zeros(_NEAR, np.bool_)
        """Which frames before those hold speech."""

    def hear(self, window: Window, *, again: bool) -> list[Question]:
        """Take the next window that the light model scored, in order of time; return what the verifier should hear.

        Args:
            again: also windows of which others hold everything.
        """
        start = round(window.start_s / FRAME_S)
        end = start + len(window.speech)
        starts_over = window.fresh_samples == len(window.samples)
        begin = start if starts_over else max(start, self._end)
        if begin >= end:
            return []
        questions = self._out_of_patience(begin)
        if begin != self._end:
            self._undecided = _Frames.none()
            self._before[:] = False
        self._end, self._until_s = end, window.end_s
        self._join(_Frames.of(window, begin - start))
        return questions + self._complete(again)

    def skip(self, window: Window) -> list[Question]:
        """Take a window that the light model did not score: none of it is joined, but time goes on."""
        return self._out_of_patience(round(window.start_s / FRAME_S) + len(window.speech))

    def end(self) -> list[Question]:
        """Return a last window of what no other holds, if it is worth one: the leg ends, or speech waited too long.

        Less than a window is repeated until it fills it.
        """
        questions = []
        last = self._first + len(self._joined)
        if self._speech_s(self._covered, last) >= MIN_TAIL_SPEECH_S:
            questions.append(self._question(max(self._first, last - self._window), last))
        self._joined = _Frames.none()
        self._from = self._end
        self._first = self._next = self._covered = last
        self._number = 0
        return questions

    def _out_of_patience(self, now: int) -> list[Question]:
        waiting = len(self._joined) and now - int(self._joined.place[-1]) > PATIENCE_S / FRAME_S
        return self.end() if waiting else []

    def _join(self, new: _Frames) -> None:
        """Keep those of the frames that lie in or near speech, now that the next ones are known."""
        frames = self._undecided + new
        speech = np.concatenate([self._before, frames.speech])
        so_far = np.concatenate([np.zeros(_NEAR + 1, np.int64), np.cumsum(speech)])
        so_far = np.append(so_far, np.full(_NEAR, so_far[-1]))
        near = (so_far[2 * _NEAR + 1 :] > so_far[: -2 * _NEAR - 1])[_NEAR:]
        n_undecided = min(_NEAR, len(frames) - 1 - int(np.flatnonzero(near)[-1]) if near.any() else len(frames))
        self._joined += frames.chosen(near)
        self._undecided = frames.chosen(slice(len(frames) - n_undecided, None))
        self._before = speech[len(speech) - n_undecided - _NEAR :][:_NEAR]

    def _complete(self, again: bool) -> list[Question]:
        questions = []
        last = self._first + len(self._joined)
        while self._next + self._window <= last:
            is_again = self._number % self._every != 0
            end = self._next + self._window
            if again or not is_again:
                questions.append(self._question(self._next, end, is_again))
            if not is_again:
                self._covered = end
            self._number += 1
            self._next += self._hop
        drop = min(self._next, last - self._window) - self._first  # the tail may reach back a whole window
        if drop > 0:
            self._from = int(self._joined.place[drop - 1]) + 1
            self._joined = self._joined.chosen(slice(drop, None))
            self._first += drop
        return questions

    def _question(self, start: int, end: int, again: bool = False) -> Question:
        first, after = start - self._first, end - self._first
        frames = self._joined.chosen(slice(first, after))
        # Between two frames that follow each other here there was no speech.
        start_s = (int(self._joined.place[first - 1]) + 1 if first else self._from) * FRAME_S
        end_s = int(self._joined.place[after]) * FRAME_S if after < len(self._joined) else self._until_s
        fresh = max(0, end - max(start, self._covered))
        window = Window(
            start_s=float(frames.place[0]) * FRAME_S,
            samples=np.resize(frames.audio(), self._window * FRAME_SAMPLES),
            fresh_samples=fresh * FRAME_SAMPLES,
            speech_s=self._speech_s(start, end),
            fresh_speech_s=self._speech_s(max(start, self._covered), end),
            speech=frames.speech,
        )
        return Question(window, start_s, end_s, again)

    def _speech_s(self, start: int, end: int) -> float:
        speech = self._joined.speech[start - self._first : max(0, end - self._first)]
        return float(np.count_nonzero(speech)) * FRAME_S


@dataclass(frozen=True, slots=True)
class _Frames:
    """Activity frames of a leg, in order of time, with or without gaps between."""

    place: NDArray[np.int64]
    """Frames after the leg's start, ``(n,)``."""
    samples: NDArray[np.int16]
    """``(n, FRAME_SAMPLES)``."""
    speech: NDArray[np.bool_]
    """Which of them hold speech, ``(n,)``."""

    @classmethod
    def none(cls) -> _Frames:
        return cls(np.zeros(0, np.int64), np.zeros((0, FRAME_SAMPLES), np.int16), np.zeros(0, np.bool_))

    @classmethod
    def of(cls, window: Window, skipped: int) -> _Frames:
        """Return the frames of a window but the first `skipped`."""
        count = len(window.speech)
        samples = window.samples[skipped * FRAME_SAMPLES : count * FRAME_SAMPLES]
        whole = np.rint(np.clip(samples, -1, 1) * _FULL_SCALE).astype(np.int16)
        first = round(window.start_s / FRAME_S)
        return cls(np.arange(first + skipped, first + count), whole.reshape(-1, FRAME_SAMPLES), window.speech[skipped:])

    def __len__(self) -> int:
        return len(self.place)

    def __add__(self, other: _Frames) -> _Frames:
        return _Frames(
            np.concatenate([self.place, other.place]),
            np.concatenate([self.samples, other.samples]),
            np.concatenate([self.speech, other.speech]),
        )

    def chosen(self, which: slice | NDArray[np.bool_]) -> _Frames:
        return _Frames(self.place[which], self.samples[which], self.speech[which])

    def audio(self) -> Samples:
        """Return them end to end, faded where frames between two were left out."""
        audio = self.samples.astype(np.float32) / _FULL_SCALE
        ramp = np.linspace(0, 1, _RAMP, dtype=np.float32)
        joints = np.flatnonzero(np.diff(self.place) != 1)
        audio[joints, -_RAMP:] *= ramp[::-1]
        audio[joints + 1, :_RAMP] *= ramp
        return audio.reshape(-1)
