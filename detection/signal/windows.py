"""From runs of one leg's audio, as they arrive, to overlapping windows of one length.  [sans-I/O]

::

    media time   0         1         2         3         4         5
    audio        |===================================|...lost...|========
    windows      [-----------------------------]                              window_s = 3, hop_s = 1
                           [--------------------~~~~~~~~]                     tail, repeated to fill the window
                                                                [--------...  starts over on a multiple of hop_s

A window that is music holds no speech, whatever its frames look like. One with speech unlike any that the models know
says so (`detection.signal.domain`).

Audio lost for up to `MAX_FILL_S` is replaced by silence that never counts as speech; after a longer loss the tail of
what came before is flushed and windows start over, so that no window ever joins two distant moments.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detection.signal.activity import FRAME_S, FRAME_SAMPLES, Activity
from detection.signal.domain import is_out_of_domain
from detection.signal.music import is_music
from detection.signal.spectra import SPAN_S, STEP_SAMPLES
from detection.signal.traits import Traits
from detection.types import SAMPLE_RATE_HZ, Samples, Window

MAX_FILL_S = 0.2
"""The longest loss that is filled with silence."""
_QUIETEST = 0.1
_LITTLE = 1e-9  # energy of a frame, 85 dB below what 16 bits can say: digital silence
MIN_TAIL_SPEECH_S = 0.5
"""A tail is only worth a window of its own from this much speech that no window holds yet."""


class Windower:
    """Cuts one leg into windows that start on multiples of the hop, counted in media time from the leg's start."""

    def __init__(self, window_s: float, hop_s: float, activity: Activity) -> None:
        """Take window and hop in seconds, both whole numbers of activity frames; `activity` belongs to this leg.

        Raises `ValueError` when window or hop isn't such a length, or the hop is longer than the window.
        """
        self._window = _whole_frames("window_s", window_s)
        self._hop = _whole_frames("hop_s", hop_s)
        if self._hop > self._window:
            raise ValueError(f"hop_s: expected at most window_s ({window_s}), got {hop_s}")
        self._activity = activity
        self._audio = np.zeros(self._window, np.float32)
        self._missing = np.zeros(self._window, np.bool_)
        """Of the samples not judged yet."""
        frames = self._window // FRAME_SAMPLES
        self._speech, self._present = np.zeros((2, frames), np.bool_)
        self._power = np.zeros(frames, np.float32)
        """Of each frame: whether it holds speech, whether all of it came, its energy."""
        first = np.arange(0, frames, STEP_SAMPLES // FRAME_SAMPLES)
        self._spans = first[:, None] + np.arange(math.ceil(SPAN_S / FRAME_S))
        """The frames that each spectrum touches."""
        self._traits = Traits(self._hop)
        self.stride = 1
        """Hops from one window to the next; may change at any time. Where it passes over more than a window's length,
        what lies between two windows is in none."""
        self.clear()

    def clear(self) -> None:
        """Forget everything, as at the start of a leg."""
        self._begun = self._any_window = False
        self._start_over(0)

    @property
    def due_s(self) -> float:
        """Media time at which the next window is full, as long as no long loss comes before."""
        return self.next_start_s + self._window / SAMPLE_RATE_HZ

    @property
    def next_start_s(self) -> float:
        """Media time at which the next window starts; audio before that is in none that is still to come."""
        return (self._start + max(self.stride - self._hops, 0) * self._hop) / SAMPLE_RATE_HZ

    def push(self, start_s: float, samples: Samples, gap_s: float) -> list[Window]:
        """Take the leg's next samples, shape ``(n,)``, from media time `start_s`; return the windows they complete.

        `gap_s` is how many seconds of audio were lost just before these samples; for the leg's first samples it is
        all that precedes them.
        """
        if not self._begun:
            self._begun = True
            gap_s = start_s
        windows: list[Window] = []
        if gap_s > MAX_FILL_S:
            windows += self._tail(always=False)
            self._start_over(round(start_s * SAMPLE_RATE_HZ))
        elif gap_s > 0:
            windows += self._append(np.zeros(round(gap_s * SAMPLE_RATE_HZ), np.float32), missing=True)
        return windows + self._append(samples, missing=False)

    def flush(self) -> list[Window]:
        """Return the last window, if the leg's tail deserves one, and start over.

        The tail is repeated until it fills the window. It gets one when it holds `MIN_TAIL_SPEECH_S` of speech that no
        window holds yet, or when the leg had no window at all.
        """
        windows = self._tail(always=not self._any_window)
        self.clear()
        return windows

    def _start_over(self, position: int) -> None:
        """Go on with audio that begins `position` samples after the leg's start."""
        self._skip = -position % self._hop
        """Samples still to be dropped before the next multiple of the hop."""
        self._start = position + self._skip
        self._filled = 0
        self._judged = 0
        """How many of the filled samples `activity` has seen, and how many the previous window held already."""
        self._held = 0
        self._hops: float = math.inf
        """How many hops before `_start` the last window started: the first is not waited for."""
        self._activity.clear()
        self._traits.clear()

    def _append(self, samples: Samples, *, missing: bool) -> list[Window]:
        windows: list[Window] = []
        at = min(self._skip, len(samples))
        self._skip -= at
        while at < len(samples):
            size = min(len(samples) - at, self._window - self._filled)
            here = slice(self._filled, self._filled + size)
            self._audio[here] = samples[at : at + size]
            self._missing[here] = missing
            self._filled += size
            at += size
            if self._filled == self._window:
                if self._hops >= self.stride:
                    windows.append(self._emit(self._audio.copy()))
                    self._held, self._hops = self._filled, 0
                else:
                    self._judge()
                self._advance()
        return windows

    def _advance(self) -> None:
        """Move on by one hop, keeping what the next window shares with this one."""
        self._hops += 1
        self._audio[: -self._hop] = self._audio[self._hop :]
        frames = self._hop // FRAME_SAMPLES
        for buffer in (self._speech, self._present, self._power):
            buffer[:-frames] = buffer[frames:]
        self._traits.advance()
        self._start += self._hop
        self._filled = self._judged = self._window - self._hop
        self._held = max(self._held - self._hop, 0)

    def _tail(self, *, always: bool) -> list[Window]:
        if self._filled == self._held:
            return []
        self._judge()
        fresh_speech_s = self._speech_s(self._held)
        if not always and fresh_speech_s < MIN_TAIL_SPEECH_S:
            return []
        self._traits.clear()  # what is repeated does not go on where the window before ended
        # Not `np.resize`: it joins one array a repetition, which takes 30 ms where there are few samples.
        places = np.arange(self._window) % self._filled
        return [self._emit(self._audio[places])]

    def _emit(self, samples: Samples) -> Window:
        self._judge()
        self._any_window = True
        out_of_domain = False
        if self._speech.any():
            notes, bands = self._traits.of(samples)
            if is_music(notes):
                self._speech[:] = False
            else:
                speech = self._frames()[self._speech[: self._filled // FRAME_SAMPLES]]
                out_of_domain = is_out_of_domain(bands[:, self._in_speech(bands.shape[1])], speech)
        return Window(
            start_s=self._start / SAMPLE_RATE_HZ,
            samples=samples,
            fresh_samples=self._window - self._held,
            speech_s=self._speech_s(0),
            fresh_speech_s=self._speech_s(self._held),
            snr_db=self._snr_db(),
            out_of_domain=out_of_domain,
            speech=self._speech[: self._filled // FRAME_SAMPLES].copy(),
        )

    def _judge(self) -> None:
        """Let `activity` see what came since the last time: in one piece, because a call per packet would cost more."""
        flags = self._activity.push(self._audio[self._judged : self._filled])
        first = self._judged // FRAME_SAMPLES
        fresh = slice(first, first + len(flags))
        frames = self._frames()[fresh]
        missing = self._missing[first * FRAME_SAMPLES :][: frames.size]
        self._present[fresh] = ~missing.reshape(frames.shape).any(axis=1)
        self._power[fresh] = np.einsum("ij,ij->i", frames, frames)
        self._speech[first:] = False
        self._speech[fresh] = flags & self._present[fresh]
        self._judged = self._filled

    def _snr_db(self) -> float:
        """Return how far speech lies above the quietest tenth of the window, which is background between words."""
        count = self._filled // FRAME_SAMPLES
        power = self._power[:count]
        speech = power[self._speech[:count]]
        if not len(speech):
            return math.inf
        background = quantile(power[self._present[:count]], _QUIETEST)
        signal = float(speech.mean()) - background
        return 10 * math.log10(max(signal, _LITTLE) / max(background, _LITTLE))

    def _in_speech(self, spectra: int) -> NDArray[np.bool_]:
        """Tell which of a window's spectra lie in speech from end to end, once even where its tail is repeated.

        One that so much as touches a digit or a beep tells of that: tones drown what is spoken beside them.
        """
        spoken: NDArray[np.bool_] = self._speech[self._spans[:spectra]].all(axis=1)
        return spoken

    def _frames(self) -> NDArray[np.float32]:
        """Return what is filled of the window in whole frames, ``(n, FRAME_SAMPLES)``."""
        whole = self._filled // FRAME_SAMPLES * FRAME_SAMPLES
        return self._audio[:whole].reshape(-1, FRAME_SAMPLES)

    def _speech_s(self, from_sample: int) -> float:
        return float(np.count_nonzero(self._speech[from_sample // FRAME_SAMPLES :])) * FRAME_S


def quantile(values: NDArray[np.float32], share: float) -> float:
    """Return what `np.quantile` does, of one value at least, in a third of the time."""
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    ordered = np.partition(values, (below, above))
    low, high, part = ordered[below], ordered[above], place - below
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))


def _whole_frames(name: str, seconds: float) -> int:
    """Return `seconds` in samples."""
    samples = round(seconds * SAMPLE_RATE_HZ)
    if samples <= 0 or samples % FRAME_SAMPLES:
        raise ValueError(f"{name}: expected a positive multiple of {FRAME_S} s, got {seconds}")
    return samples
