"""Windows of augmented audio without end, drawn and augmented by worker processes while the network trains.

Nothing is kept: each window is a new place of a clip, augmented anew. The same settings give the same windows in the
same order, however many workers there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from detection.channels import apply_channel
from detection.training.augment import Surroundings, load_surroundings, spoil
from detection.training.bank import FULL_SCALE, Ragged
from detection.training.data import Clip
from detection.training.sampling import PageSampler
from detection.training.settings import Settings
from detection.types import Samples

AS_RECORDED, BY_TELEPHONE = 0.2, 0.15
"""Shares of windows as recorded, and through the PSTN without any other step; the rest goes through `spoil`."""


class Windows(Dataset[Tensor]):
    """Maps a clip's number and a seed to an augmented window, int16 ``(window_samples,)``."""

    def __init__(self, audio: Ragged, surroundings: Surroundings, window_samples: int) -> None:
        self._audio = audio
        self._surroundings = surroundings
        self._window_samples = window_samples

    def __getitem__(self, drawn: tuple[int, int]) -> Tensor:
        clip, seed = drawn
        rng = np.random.default_rng(seed)
        whole = self._audio[clip]
        start = int(rng.integers(max(1, len(whole) - self._window_samples + 1)))
        samples = whole[start : start + self._window_samples].astype(np.float32) / np.float32(FULL_SCALE)
        heard = self._augmented(samples, rng)
        # Speed changes the length; a short clip is repeated, as serving repeats it.
        return torch.from_numpy((np.clip(np.resize(heard, self._window_samples), -1, 1) * FULL_SCALE).astype(np.int16))

    def _augmented(self, samples: Samples, rng: np.random.Generator) -> Samples:
        chance = rng.random()
        if chance < AS_RECORDED:
            return samples
        if chance < AS_RECORDED + BY_TELEPHONE:
            return apply_channel(samples, "pstn")
        return spoil(samples, self._surroundings, rng)


class _Drawn(Sampler[list[tuple[int, int]]]):
    """Batches of clips by `PageSampler`, each clip with the seed of its augmentation."""

    def __init__(self, clips: Sequence[Clip], settings: Settings, n_batches: int) -> None:
        self._pages = PageSampler(clips, settings.temper, settings.anchors, settings.balanced)
        self._settings = settings
        self._n_batches = n_batches

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng(self._settings.seed)
        for _ in range(self._n_batches):
            clips = self._pages.draw(self._settings.batch, rng)
            yield [(int(clip), int(seed)) for clip, seed in zip(clips, rng.integers(2**62, size=len(clips)), strict=True)]


def batches(
    clips: Sequence[Clip],
    audio: Ragged,
    surroundings: Path,
    window_samples: int,
    settings: Settings,
    n_batches: int,
    workers: int,
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield `n_batches` of clips' numbers, and their windows ``(batch, window_samples)``, int16.

    Raises:
        DataError: what `load_surroundings` refuses.
    """
    drawn = _Drawn(clips, settings, n_batches)
    loader = DataLoader(
        Windows(audio, load_surroundings(surroundings), window_samples),
        batch_sampler=drawn,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
        multiprocessing_context="fork" if workers else None,  # the audio is shared, not copied
    )
    for chosen, windows in zip(drawn, loader, strict=True):
        yield [clip for clip, _ in chosen], windows


def _one_thread(worker: int) -> None:  # noqa: ARG001
    torch.set_num_threads(1)
