"""Cuts one leg's audio into overlapping windows of equal length, as it arrives.  [sans-I/O]

::

    media time   0         1         2         3         4         5
    audio        |===================================|...lost...|========
    windows      [-----------------------------]                              window_s = 3, hop_s = 1
                           [--------------------~~~~~~~~]                     tail, repeated to fill the window
                                                                [--------...  starts over on a multiple of hop_s

A window of music has no speech, whatever the activity detector reports. A window of speech unlike the training data is
marked as out of domain (`detection.signal.domain`).

A gap of up to `MAX_FILL_S` is filled with silence that never counts as speech. After a longer gap the audio before it
is flushed as a tail and windows start over, so that no window spans the gap.
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
"""The longest gap that is filled with silence."""
_QUIETEST = 0.1
_LITTLE = 1e-9  # energy of a frame of digital silence, 85 dB below the least 16-bit amplitude
MIN_TAIL_SPEECH_S = 0.5
"""A tail becomes a window if it has this much speech that is in no window yet."""


class Windower:
    """Cuts one leg into windows that start at multiples of the hop, in media time."""

    def __init__(self, window_s: float, hop_s: float, activity: Activity) -> None:
        """Set the lengths.

        Args:
            window_s: length of a window in seconds, a multiple of `FRAME_S`.
            hop_s: from the start of a window to that of the next, a multiple of `FRAME_S`, at most `window_s`.
            activity: this leg's voice activity detector.

        Raises:
            ValueError: a length is not such a multiple, or the hop is longer than the window.
        """
        self._window = _whole_frames("window_s", window_s)
        self._hop = _whole_frames("hop_s", hop_s)
        if self._hop > self._window:
            raise ValueError(f"hop_s: expected at most window_s ({window_s}), got {hop_s}")
        self._activity = activity
        self._audio = np.zeros(self._window, np.float32)
        self._missing = np.zeros(self._window, np.bool_)
        """Whether each sample is filled in; valid from `_judged` on."""
        frames = self._window // FRAME_SAMPLES
        self._speech, self._present = np.zeros((2, frames), np.bool_)
        self._power = np.zeros(frames, np.float32)
        """For each frame: whether it is speech, whether all of its samples were received, its energy."""
        first = np.arange(0, frames, STEP_SAMPLES // FRAME_SAMPLES)
        self._spans = first[:, None] + np.arange(math.ceil(SPAN_S / FRAME_S))
        """Indices of the frames that each spectrum overlaps."""
        self._traits = Traits(self._hop)
        self.stride = 1
        """Hops from one window to the next; may be changed at any time. If it exceeds the window's length, the audio
        between two windows is in none."""
        self.clear()

    def clear(self) -> None:
        """Reset to the state at the start of a leg."""
        self._begun = self._any_window = False
        self._start_over(0)

    @property
    def due_s(self) -> float:
        """Media time at which the next window ends, unless a long gap comes before."""
        return self.next_start_s + self._window / SAMPLE_RATE_HZ

    @property
    def next_start_s(self) -> float:
        """Media time at which the next window starts; no later window contains audio before it."""
        return (self._start + max(self.stride - self._hops, 0) * self._hop) / SAMPLE_RATE_HZ

    def push(self, start_s: float, samples: Samples, gap_s: float) -> list[Window]:
        """Take the leg's next samples; return the windows that they complete.

        Args:
            start_s: media time of the first sample, in seconds.
            samples: shape ``(n,)``, float32 at 16 kHz.
            gap_s: length of the gap before them, in seconds. Ignored at the start of a leg, where all time before
                `start_s` is the gap.
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
        """Return the tail as a last window, where it has enough speech, and start over.

        The tail is repeated until it fills the window. It needs `MIN_TAIL_SPEECH_S` of speech that is in no window yet,
        unless the leg had no window at all.
        """
        windows = self._tail(always=not self._any_window)
        self.clear()
        return windows

    def _start_over(self, position: int) -> None:
        """Continue with audio that begins `position` samples after the leg's start."""
        self._skip = -position % self._hop
        """Samples to drop before the next multiple of the hop."""
        self._start = position + self._skip
        self._filled = 0
        self._judged = 0
        """Of the filled samples, how many `activity` has processed, and how many the previous window contained."""
        self._held = 0
        self._hops: float = math.inf
        """Hops from the start of the last window to `_start`; infinite before the first window."""
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
        """Advance by one hop; keep the part that the next window shares with this one."""
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
        self._traits.clear()  # a repeated tail does not continue the previous window
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
        """Run the activity detector over the new samples, once per window: a call for each packet would cost more."""
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
        """Return the level of speech above the quietest tenth of the window, taken as background noise, in dB."""
        count = self._filled // FRAME_SAMPLES
        power = self._power[:count]
        speech = power[self._speech[:count]]
        if not len(speech):
            return math.inf
        background = quantile(power[self._present[:count]], _QUIETEST)
        signal = float(speech.mean()) - background
        return 10 * math.log10(max(signal, _LITTLE) / max(background, _LITTLE))

    def _in_speech(self, spectra: int) -> NDArray[np.bool_]:
        """Return flags of the spectra that lie wholly in speech, without repetitions of a tail.

        A spectrum that overlaps a DTMF digit or a beep describes the tone, not the speech.
        """
        spoken: NDArray[np.bool_] = self._speech[self._spans[:spectra]].all(axis=1)
        return spoken

    def _frames(self) -> NDArray[np.float32]:
        """Return the filled part of the window as whole frames, shape ``(n, FRAME_SAMPLES)``."""
        whole = self._filled // FRAME_SAMPLES * FRAME_SAMPLES
        return self._audio[:whole].reshape(-1, FRAME_SAMPLES)

    def _speech_s(self, from_sample: int) -> float:
        return float(np.count_nonzero(self._speech[from_sample // FRAME_SAMPLES :])) * FRAME_S


def quantile(values: NDArray[np.float32], share: float) -> float:
    """Return `np.quantile(values, share)` in a third of its time; at least one value."""
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    ordered = np.partition(values, (below, above))
    low, high, part = ordered[below], ordered[above], place - below
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))


def _whole_frames(name: str, seconds: float) -> int:
    """Return `seconds` as a number of samples. Raises ValueError: not a positive multiple of `FRAME_S`."""
    samples = round(seconds * SAMPLE_RATE_HZ)
    if samples <= 0 or samples % FRAME_SAMPLES:
        raise ValueError(f"{name}: expected a positive multiple of {FRAME_S} s, got {seconds}")
    return samples
