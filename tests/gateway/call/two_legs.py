"""Two legs of one call that hear each other or not, for the crosstalk guard's tests and measurements."""

from __future__ import annotations

import numpy as np

from detection import Activity, Samples, Windower
from detection.signal.audio import read_audio
from gateway.call.crosstalk import Crosstalk
from gateway.call.resample import Resampler
from gateway.client import codecs
from gateway.ingest.codecs import open_decoder
from gateway.ingest.events import AudioFormat, LegId
from tests.gateway.loudness import VOICES

CALLER, CALLEE = LegId("caller"), LegId("callee")
RATE_HZ = 16_000
BLOCK = 3200
SECONDS = 9


def voice(name: str, rms: float = 0.06) -> Samples:
    samples = np.resize(read_audio(VOICES / name / "1.ogg"), SECONDS * RATE_HZ)
    return np.asarray(samples * (rms / np.sqrt(np.mean(samples**2))), np.float32)


def leak(source: Samples, delay_ms: float, level_db: float) -> Samples:
    """What of a voice comes back, on a line that isn't quite silent."""
    late = np.concatenate((np.zeros(round(delay_ms * 16), np.float32), source))[: len(source)]
    hiss = np.random.default_rng(1).normal(0, 1e-4, len(source))
    return np.asarray(10 ** (level_db / 20) * late + hiss, np.float32)


def telephone(samples: Samples, encoding: codecs.Encoding = "mulaw") -> Samples:
    decoded = open_decoder(AudioFormat(encoding, 8000)).decode([codecs.encode(samples[::2], encoding)])
    return np.asarray(Resampler(8000).push(decoded), np.float32)


class Ear:
    """A leg of a call: hears block by block, and keeps what was said of its windows."""

    def __init__(
        self,
        crosstalk: Crosstalk,
        leg: LegId,
        samples: Samples,
        *,
        arrives_s: float = 0.0,
        clock_s: float = 0.0,
        lost: range = range(0),
    ) -> None:
        """The audio arrives from `arrives_s` on, its media time begins at `clock_s`; `lost` are blocks that don't."""
        self.crosstalk, self.leg, self.samples = crosstalk, leg, samples
        self.arrives_s, self.clock_s, self.lost = arrives_s, clock_s, lost
        self.missing_s = 0.0
        self.windower = Windower(3.0, 1.0, Activity())
        self.leaks: list[bool] = []
        self.at = 0

    def arrival_s(self) -> float:
        return self.arrives_s + (self.at + BLOCK) / RATE_HZ

    def listen(self) -> None:
        start_s, block = self.clock_s + self.at / RATE_HZ, self.samples[self.at : self.at + BLOCK]
        received_s = self.arrival_s()
        self.at += BLOCK
        if start_s * RATE_HZ // BLOCK in self.lost:
            self.missing_s += BLOCK / RATE_HZ
            return
        self.crosstalk.add(self.leg, start_s, block, received_s)
        for window in self.windower.push(start_s, block, self.missing_s):
            if window.speech_s >= 0.8:
                self.leaks.append(self.crosstalk.is_leak(self.leg, window))
        self.missing_s = 0.0


def hold_call(*ears: Ear) -> None:
    """Let blocks arrive in order of time."""
    while any(pending := [ear for ear in ears if ear.at + BLOCK <= len(ear.samples)]):
        min(pending, key=Ear.arrival_s).listen()


def judged(caller: Samples, callee: Samples) -> tuple[list[bool], list[bool]]:
    crosstalk = Crosstalk()
    ears = Ear(crosstalk, CALLER, caller), Ear(crosstalk, CALLEE, callee)
    hold_call(*ears)
    return ears[0].leaks, ears[1].leaks
