"""The conditions in which clips are scored: telephone channels, added noise, cut clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from detection.signal.activity import FRAME_SAMPLES, Activity
from detection.signal.channels import CHANNELS
from detection.training.augment import load_surroundings, rms
from detection.training.bank import ORIGINAL, Bank, Ragged
from detection.types import SAMPLE_RATE_HZ, Samples

ChannelClass = Literal["wide", "narrow", "lossy"]
NARROW_OPUS_BIT_RATE = 9_000
"""Below this bit rate, in bits per second, libopus codes voice up to 4 kHz only: `mono_voice_bandwidth_thresholds` in
opus_encoder.c."""
FIRST_S = 2
"""Length of a clip cut to a fixed length, in seconds."""


class Change(Protocol):
    """A change to the audio of the clip with number `index`."""

    def __call__(self, samples: Samples, index: int) -> Samples: ...


@dataclass(frozen=True)
class Condition:
    """A name for tables, and the audio of every clip in this condition."""

    name: str
    audio: Ragged
    """int16, 16 kHz."""
    change: Change | None = None
    """Applied to each clip when it is scored; None for no change."""
    kind: Literal["channel", "noise", "cut"] = "channel"

    def samples(self, index: int) -> Samples:
        """Return the clip with number `index`, float32 at 16 kHz, ``(n,)``."""
        samples = np.asarray(self.audio[index], np.float32) / np.float32(32_767)
        return samples if self.change is None else self.change(samples, index)


def channel_class(channel: str) -> ChannelClass:
    """Return the class of one of `CHANNELS`: `lossy` with packet loss, `narrow` with audio up to 4 kHz, else `wide`."""
    if CHANNELS[channel].loss:
        return "lossy"
    codec = CHANNELS[channel].codec
    if codec is None:
        return "wide"
    narrow_opus = codec.encoder == "libopus" and codec.bit_rate < NARROW_OPUS_BIT_RATE
    return "narrow" if codec.rate_hz == 8_000 or narrow_opus else "wide"


def conditions(
    bank: Bank, channels: Sequence[str], snrs_db: Sequence[float], surroundings: Path, *, trimmed: bool
) -> list[Condition]:
    """Return the requested conditions, channels first; their audio is made in the bank's cache, or found there.

    `trimmed` adds conditions without cues other than the voice: without silence at the ends, and of one length.

    Raises:
        DataError: noise is requested without a listing of noises.
    """
    noises = load_surroundings(surroundings).noises if snrs_db else []  # first: the channels take minutes
    found = [Condition(name, bank.audio(ORIGINAL if name == "clean" else name)) for name in channels]
    original = bank.audio(ORIGINAL) if snrs_db or trimmed else None
    if original and snrs_db:
        found += [Condition(f"noise {snr:g} dB", original, partial(add_noise, noises, snr), "noise") for snr in snrs_db]
    if original and trimmed:
        found.append(Condition("silence cut", original, cut_silence, "cut"))
        found.append(Condition(f"first {FIRST_S} s", original, keep_first, "cut"))
    return found


def add_noise(noises: Sequence[Samples], snr_db: float, samples: Samples, index: int) -> Samples:
    """Add a recorded noise, looped; clip number `index` gets the same one at every level."""
    rng = np.random.default_rng(index)
    noise = noises[int(rng.integers(len(noises)))]
    noise = np.resize(np.roll(noise, rng.integers(len(noise))), len(samples))
    return np.asarray(samples + noise * (rms(samples) / rms(noise) * 10 ** (-snr_db / 20)), np.float32)


def cut_silence(samples: Samples, index: int = 0) -> Samples:
    """Cut the audio before the first and after the last speech; without speech, keep all."""
    del index  # the same for every clip
    speech = np.flatnonzero(Activity().push(samples))
    return samples[speech[0] * FRAME_SAMPLES : (speech[-1] + 1) * FRAME_SAMPLES] if len(speech) else samples


def keep_first(samples: Samples, index: int = 0) -> Samples:
    """Keep at most `FIRST_S` seconds from the first speech on, or from the start where no speech is found."""
    return cut_silence(samples, index)[: FIRST_S * SAMPLE_RATE_HZ]
