"""Copy-synthesis: real speech taken apart and put together again, as vocoders do; further synthetic classes.

The copy shares speaker, words, room, microphone and page with its original, so that what tells the two apart can only
be the synthesis (Wang and Yamagishi, "Spoofed training data for speech spoofing countermeasure can be efficiently
created using neural vocoders", ICASSP 2023; here with vocoders that need no training). It gives pages that hold humans
alone a synthetic side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.progress import track
from scipy import fft

from detection.audio import read_audio
from detection.features import FeatureSpec, band_weights, hann
from detection.training.data import Clip, data_hash
from detection.types import SAMPLE_RATE_HZ, Samples

Spectrum = NDArray[np.complex64]
Magnitude = NDArray[np.float32]

COPIES_PER_SOURCE = 40


def copy_humans(clips: Sequence[Clip], cache: Path, workers: int = 2) -> list[Clip]:
    """Return synthetic copies of up to `COPIES_PER_SOURCE` human clips of each source, kept as files under `cache`."""
    humans: list[Clip] = []
    per_source: Counter[str] = Counter()
    for clip in clips:
        if not clip.is_fake and per_source[clip.source] < COPIES_PER_SOURCE:
            per_source[clip.source] += 1
            humans.append(clip)
    folder = cache / f"copies-{data_hash(humans)}"
    folder.mkdir(parents=True, exist_ok=True)
    copies = [_as_copy(clip, folder, seed) for seed, clip in enumerate(humans)]
    todo = [(human.file, copy.file, seed) for seed, (human, copy) in enumerate(zip(humans, copies, strict=True))]
    missing = [job for job in todo if not job[1].exists()]
    if missing:
        with ProcessPoolExecutor(workers) as pool:
            for _ in track(pool.map(_write_copy, missing, chunksize=8), "copy-synthesis", len(missing)):
                pass
    return copies


def _as_copy(clip: Clip, folder: Path, seed: int) -> Clip:
    system = "copy-smoothed" if seed % 4 == 3 else "copy-griffin-lim"
    file = folder / f"{system}-{clip.file.stem}.flac"
    return replace(clip, file=file, label="fake", system=system, family="vocoder-copy-synthesis")


def _write_copy(job: tuple[Path, Path, int]) -> None:
    source, target, seed = job
    rng = np.random.default_rng(seed)
    samples = read_audio(source)
    copy = smoothed(samples) if target.name.startswith("copy-smoothed") else griffin_lim(samples, rng)
    unfinished = target.with_suffix(".part")
    soundfile.write(unfinished, np.clip(copy, -1, 1), SAMPLE_RATE_HZ, format="FLAC")
    unfinished.rename(target)


def griffin_lim(samples: Samples, rng: np.random.Generator) -> Samples:
    """Go through 80 or 100 mel bands and back, phases found by fast Griffin-Lim (Perraudin et al., WASPAA 2013)."""
    magnitude = through_mel(np.abs(_analyse(samples)), int(rng.choice([80, 100])))
    turned = np.exp(2j * np.pi * rng.random(magnitude.shape)).astype(np.complex64)
    before = np.zeros_like(turned)
    for _ in range(int(rng.integers(8, 32))):
        consistent = _analyse(_synthesise(magnitude * turned, len(samples)))[: len(magnitude)]
        pushed = consistent + np.float32(0.99) * (consistent - before)
        before = consistent
        turned = pushed / np.maximum(np.abs(pushed), np.float32(1e-9))
    return _synthesise(magnitude * turned, len(samples))


def smoothed(samples: Samples) -> Samples:
    """Go through 80 mel bands and back, phases kept: a vocoder's blurred spectrum without its phases."""
    spectrum = _analyse(samples)
    magnitude = np.abs(spectrum)
    return _synthesise(spectrum * (through_mel(magnitude, 80) / np.maximum(magnitude, 1e-9)), len(samples))


_FFT, _HOP = 1024, 256


def through_mel(magnitude: Magnitude, bands: int) -> Magnitude:
    """Return the least non-negative spectrum, shape ``(frames, bins)``, that has the same mel bands (Lee and Seung)."""
    mel = band_weights(FeatureSpec(fft_samples=_FFT, hop_samples=_HOP, bands=bands))
    wanted = magnitude @ mel
    guess = np.maximum(wanted @ np.linalg.pinv(mel), 1e-8).astype(np.float32)
    for _ in range(8):
        guess *= (wanted @ mel.T) / np.maximum(guess @ mel @ mel.T, 1e-9)
    return guess


def _analyse(samples: Samples) -> Spectrum:
    padded = np.pad(samples, _FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    return np.asarray(fft.rfft(frames * hann(_FFT)), np.complex64)


def _synthesise(spectrum: Spectrum, n_samples: int) -> Samples:
    frames = fft.irfft(spectrum, _FFT) * hann(_FFT)
    overlap = _FFT // _HOP
    blocks = np.zeros((len(frames) + overlap, _HOP), np.float32)
    for part in range(overlap):
        blocks[part : part + len(frames)] += frames[:, part * _HOP : (part + 1) * _HOP]
    audio = blocks.reshape(-1)[_FFT // 2 : _FFT // 2 + n_samples] / 1.5  # the squared windows overlap to 1.5
    return np.pad(audio, (0, n_samples - len(audio))).astype(np.float32)
