"""Which stretches of a leg the verifier is to hear: its speech, once over, in windows of its own length.  [sans-I/O]

::

    windows of the light model    [=======][=][=][=][=][=]   pause   [=======][=][=]
    audio that is new in each     ^^^^^^^^^^^^^^^^^^^^^^^^           ^^^^^^^^^^^^^^^
    windows of the verifier       [----------][----------]           [----------]
                                                                        [----------]   tail, as far back as it must
    again, in doubt                     [----------]                     (...)

Only what the light model scored is taken: windows with too little speech, leaks of the other line and expected machines
are pauses. No window joins two moments with a pause between. A stretch is cut in steps of the verifier's hop; as many
of them as fill a window make the step from one window to the next, and those between are `again`: what they hold is
heard anyway, and a second look is worth its price only while a leg is in doubt.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.types import SAMPLE_RATE_HZ, Window
from detection.windows import MIN_TAIL_SPEECH_S

_FULL_SCALE = np.float32(32_767)


def step_s(window_s: float, hop_s: float) -> float:
    """Return the step between two windows that are not `again`, of a verifier with such a window and hop."""
    return max(1, round(window_s * SAMPLE_RATE_HZ) // round(hop_s * SAMPLE_RATE_HZ)) * hop_s


@dataclass(frozen=True, slots=True)
class Question:
    """A window for the verifier, and what stretch of the leg an answer speaks of."""

    window: Window
    end_s: float
    """Media time up to which it holds the leg's audio; a shorter stretch is repeated until it fills the window."""
    again: bool
    """Whether other windows hold all of it, too."""

    @property
    def start_s(self) -> float:
        """Media time of its first sample."""
        return self.window.start_s


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    """Samples after the leg's start, as all positions here."""
    samples: NDArray[np.int16]
    speech_s: float

    @property
    def end(self) -> int:
        return self.start + len(self.samples)

    def speech_between(self, start: int, end: int) -> float:
        """Return seconds of speech between two positions, as if it were spread evenly."""
        shared = min(self.end, end) - max(self.start, start)
        return self.speech_s * max(shared, 0) / len(self.samples)


class Coverage:
    """Cuts one leg for the verifier: `hear` each window that the light model scored, `pause` where it scored none.

    Keeps two windows' worth of audio at most, in 16 bits: 256 kB for windows of 4 s. What a call brings has 16 bits at
    most, so nothing is lost.
    """

    def __init__(self, window_s: float, hop_s: float) -> None:
        """Take the verifier's window and hop, in seconds."""
        self._window = round(window_s * SAMPLE_RATE_HZ)
        self._hop = round(hop_s * SAMPLE_RATE_HZ)
        self._every = round(step_s(window_s, hop_s) / hop_s)
        self._pieces: deque[_Piece] = deque()
        self._end = 0
        """Position after the last sample heard."""
        self._next = 0
        """Position of the next window; `_number` is its number in this stretch."""
        self._number = 0
        self._covered = 0
        """Position up to which windows that are not `again` hold the stretch."""

    def hear(self, window: Window, *, again: bool) -> list[Question]:
        """Take the next window that the light model scored, in order of time; return what the verifier should hear.

        Args:
            again: also windows of which others hold everything.
        """
        start = round(window.start_s * SAMPLE_RATE_HZ)
        end = start + len(window.samples)
        starts_over = window.fresh_samples == len(window.samples)
        begin = start if starts_over else max(start, self._end)
        if begin >= end:
            return []
        questions = []
        if begin != self._end or not self._pieces:
            questions += self.pause()
            self._next = self._covered = begin
            self._number = 0
        new = end - begin
        fresh_s = window.fresh_speech_s if new == window.fresh_samples else window.speech_s
        samples = np.rint(np.clip(window.samples[-new:], -1, 1) * _FULL_SCALE).astype(np.int16)
        self._pieces.append(_Piece(begin, samples, min(fresh_s, new / SAMPLE_RATE_HZ)))
        self._end = end
        return questions + self._complete(again)

    def pause(self) -> list[Question]:
        """The leg's speech breaks off, or the leg ends: return a window of what no other holds, if it is worth one.

        A stretch that is shorter than a window is repeated until it fills it.
        """
        questions = []
        if self._speech_s(self._covered, self._end) >= MIN_TAIL_SPEECH_S:
            questions.append(self._question(max(self._pieces[0].start, self._end - self._window), self._end))
        self._pieces.clear()
        return questions

    def _complete(self, again: bool) -> list[Question]:
        questions = []
        while self._next + self._window <= self._end:
            is_again = self._number % self._every != 0
            end = self._next + self._window
            if again or not is_again:
                questions.append(self._question(self._next, end, is_again))
            if not is_again:
                self._covered = end
            self._number += 1
            self._next += self._hop
        keep = min(self._next, self._end - self._window)  # the tail may reach back a whole window
        while self._pieces[0].end <= keep:
            self._pieces.popleft()
        return questions

    def _question(self, start: int, end: int, again: bool = False) -> Question:
        audio = np.concatenate([piece.samples for piece in self._pieces]).astype(np.float32) / _FULL_SCALE
        first = self._pieces[0].start
        audio = np.resize(audio[start - first : end - first], self._window)
        speech_s = self._speech_s(start, end)
        fresh_s = self._speech_s(max(start, self._covered), end)
        fresh_samples = max(0, end - max(start, self._covered))
        window = Window(start / SAMPLE_RATE_HZ, audio, fresh_samples, speech_s, fresh_s)
        return Question(window, end / SAMPLE_RATE_HZ, again)

    def _speech_s(self, start: int, end: int) -> float:
        return sum(piece.speech_between(start, end) for piece in self._pieces)
