"""Selects the audio of a leg that the verifier scores: all its speech, once, in windows of its own length.  [sans-I/O]

::

    windows of the light model    [=======][=][=][=][=][=]   pause   [=======][=][=]
    speech and its surroundings      ^^^^^^^^^   ^^^^^^^^              ^^^^   ^^^^^^
    joined                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    windows of the verifier          [----------][----------]
                                               [----------]         tail, extended backwards to a full window
    overlapping window                     [----------]

Pauses carry no information about a voice. Frames further than `NEAR_SPEECH_S` from speech are left out and the rest is
joined, so every window is full of speech. Only windows that the light model scored are used: windows with too little
speech, with crosstalk or with an expected machine add nothing. Speech that does not fill a window waits up to
`MAX_WAIT_S` for more; then it is repeated until it fills one.

The step between windows is the largest multiple of the verifier's hop that fits into one window. The windows that start
at the hops in between are `overlapping`: their speech is in other windows too, so a second score of it is worth its CPU
time only while the alert state of the leg is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.signal.activity import FRAME_S, FRAME_SAMPLES
from detection.signal.windows import MIN_TAIL_SPEECH_S
from detection.types import SAMPLE_RATE_HZ, Samples, Window

NEAR_SPEECH_S = 0.25
"""Audio within this distance of speech is kept: transitions between syllables and words are informative."""
MAX_WAIT_S = 5.0
"""How long speech that does not fill a window waits for more, in seconds of media time."""
_NEAR = round(NEAR_SPEECH_S / FRAME_S)
_RAMP = 80
"""Samples of fade-out before a joint and fade-in after it; a step in the waveform would be audible as a click."""
FULL_SCALE = np.float32(32_767)
"""Of the 16-bit samples that all audio here consists of, fades included; so 16 bits hold a window exactly."""


def step_s(window_s: float, hop_s: float) -> float:
    """Return the step between windows that are not `overlapping`, in seconds, for a verifier's window and hop."""
    return max(1, round(window_s * SAMPLE_RATE_HZ) // round(hop_s * SAMPLE_RATE_HZ)) * hop_s


@dataclass(frozen=True, slots=True)
class VerifierWindow:
    """A window for the verifier, and the part of the leg that its score covers."""

    window: Window
    start_s: float
    """Media time at which the covered speech starts."""
    end_s: float
    """Media time at which the covered speech ends."""
    overlapping: bool
    """Whether other windows contain all of its speech too."""


class Coverage:
    """Cuts one leg for the verifier: `add` each window the light model scored, `skip` the others, then `end`.

    Keeps at most two windows of audio as 16-bit integers: 192 kB for windows of 3 s. Telephone audio has no more than
    16 bits, so nothing is lost.
    """

    def __init__(self, window_s: float, hop_s: float) -> None:
        """Take the verifier's window and hop in seconds, both whole numbers of activity frames."""
        self._window = round(window_s / FRAME_S)
        self._hop = round(hop_s / FRAME_S)
        self._every = round(step_s(window_s, hop_s) / hop_s)
        self._end = 0
        """Frame of the leg up to which audio was added."""
        self._until_s = 0.0
        """Media time up to which windows reached, including a repeated tail."""
        self._joined = _Frames.none()
        self._first = 0
        """Position of the first kept frame among all frames joined so far; all positions below count the same way."""
        self._from = 0
        """Frame of the leg from which on speech is kept."""
        self._next = 0
        """Position of the next window; `_number` counts windows since the last tail."""
        self._number = 0
        self._covered = 0
        """Position up to which the windows that are not overlapping cover the joined frames."""
        self._pending = _Frames.none()
        """The last frames added, while no speech is near them yet."""
        self._before = np.zeros(_NEAR, np.bool_)
        """Which frames before the pending ones hold speech."""

    def add(self, window: Window, *, overlapping: bool) -> list[VerifierWindow]:
        """Take the next window that the light model scored, in order of time; return windows for the verifier.

        Args:
            window: the window of the light model.
            overlapping: also return the overlapping windows.
        """
        start = round(window.start_s / FRAME_S)
        end = start + len(window.speech)
        starts_over = window.fresh_samples == len(window.samples)
        begin = start if starts_over else max(start, self._end)
        if begin >= end:
            return []
        windows = self._flush_expired(begin)
        if begin != self._end:
            self._pending = _Frames.none()
            self._before[:] = False
        self._end, self._until_s = end, window.end_s
        self._join(_Frames.of(window, begin - start))
        return windows + self._complete(overlapping)

    def skip(self, window: Window) -> list[VerifierWindow]:
        """Take a window that the light model did not score: its audio is not used, but media time advances."""
        return self._flush_expired(round(window.start_s / FRAME_S) + len(window.speech))

    def end(self) -> list[VerifierWindow]:
        """Return a last window with the speech that no other window covers, if there is enough of it.

        Called when the leg ends or speech has waited too long. Speech shorter than a window is repeated to fill it.
        """
        windows = []
        last = self._first + len(self._joined)
        if self._speech_s(self._covered, last) >= MIN_TAIL_SPEECH_S:
            windows.append(self._window_of(max(self._first, last - self._window), last))
        self._joined = _Frames.none()
        self._from = self._end
        self._first = self._next = self._covered = last
        self._number = 0
        return windows

    def _flush_expired(self, now: int) -> list[VerifierWindow]:
        waiting = len(self._joined) and now - int(self._joined.place[-1]) > MAX_WAIT_S / FRAME_S
        return self.end() if waiting else []

    def _join(self, new: _Frames) -> None:
        """Keep the frames in or near speech, now that the frames after them are known."""
        frames = self._pending + new
        speech = np.concatenate([self._before, frames.speech])
        so_far = np.concatenate([np.zeros(_NEAR + 1, np.int64), np.cumsum(speech)])
        so_far = np.append(so_far, np.full(_NEAR, so_far[-1]))
        near = (so_far[2 * _NEAR + 1 :] > so_far[: -2 * _NEAR - 1])[_NEAR:]
        n_pending = min(_NEAR, len(frames) - 1 - int(np.flatnonzero(near)[-1]) if near.any() else len(frames))
        self._joined += frames.chosen(near)
        self._pending = frames.chosen(slice(len(frames) - n_pending, None))
        self._before = speech[len(speech) - n_pending - _NEAR :][:_NEAR]

    def _complete(self, overlapping: bool) -> list[VerifierWindow]:
        windows = []
        last = self._first + len(self._joined)
        while self._next + self._window <= last:
            is_overlapping = self._number % self._every != 0
            end = self._next + self._window
            if overlapping or not is_overlapping:
                windows.append(self._window_of(self._next, end, is_overlapping))
            if not is_overlapping:
                self._covered = end
            self._number += 1
            self._next += self._hop
        drop = min(self._next, last - self._window) - self._first  # the tail may need a whole window of the past
        if drop > 0:
            self._from = int(self._joined.place[drop - 1]) + 1
            self._joined = self._joined.chosen(slice(drop, None))
            self._first += drop
        return windows

    def _window_of(self, start: int, end: int, overlapping: bool = False) -> VerifierWindow:
        first, after = start - self._first, end - self._first
        frames = self._joined.chosen(slice(first, after))
        # There was no speech between two joined frames, so the covered part may extend over the gap between them.
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
        return VerifierWindow(window, start_s, end_s, overlapping)

    def _speech_s(self, start: int, end: int) -> float:
        speech = self._joined.speech[start - self._first : max(0, end - self._first)]
        return float(np.count_nonzero(speech)) * FRAME_S


@dataclass(frozen=True, slots=True)
class _Frames:
    """Activity frames of a leg, in order of time, with or without gaps between them."""

    place: NDArray[np.int64]
    """Frame numbers, counted from the leg's start, ``(n,)``."""
    samples: NDArray[np.int16]
    """``(n, FRAME_SAMPLES)``."""
    speech: NDArray[np.bool_]
    """Which of them hold speech, ``(n,)``."""

    @classmethod
    def none(cls) -> _Frames:
        return cls(np.zeros(0, np.int64), np.zeros((0, FRAME_SAMPLES), np.int16), np.zeros(0, np.bool_))

    @classmethod
    def of(cls, window: Window, skipped: int) -> _Frames:
        """Return the frames of a window without the first `skipped`."""
        count = len(window.speech)
        samples = window.samples[skipped * FRAME_SAMPLES : count * FRAME_SAMPLES]
        whole = np.rint(np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16)
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
        """Return the frames as one signal of 16-bit samples, with fades where frames between two were left out."""
        audio = self.samples.astype(np.float32)
        ramp = np.linspace(0, 1, _RAMP, dtype=np.float32)
        joints = np.flatnonzero(np.diff(self.place) != 1)
        audio[joints, -_RAMP:] = np.rint(audio[joints, -_RAMP:] * ramp[::-1])
        audio[joints + 1, :_RAMP] = np.rint(audio[joints + 1, :_RAMP] * ramp)
        return audio.reshape(-1) / FULL_SCALE
