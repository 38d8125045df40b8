"""Which clips an epoch hears, and which it is validated on.

Source is confounded with label in any corpus gathered from demonstration pages, so both choices go by source: no
source and no system is heard much more often than another, and validation holds whole sources out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection.training.data import Clip

FOLDS = 5


def source_folds(clips: Sequence[Clip]) -> dict[str, int]:
    """Deal the sources into `FOLDS` groups with about as many human and as many synthetic clips each."""
    sizes: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(2, np.int64))
    for clip in clips:
        sizes[clip.source][int(clip.is_fake)] += 1
    totals = np.zeros((FOLDS, 2))
    folds = {}
    for source, size in sorted(sizes.items(), key=lambda item: (-item[1].sum(), item[0])):
        fullness = (totals + size) / sum(sizes.values())
        folds[source] = int(np.argmin((fullness**2).sum(axis=1)))
        totals[folds[source]] += size
    return folds


def split_by_source(clips: Sequence[Clip], fold: int) -> tuple[list[int], list[int]]:
    """Return the indices of training and validation clips; validation is all clips of the sources in `fold`.

    Human clips of a person who speaks in validation are left out of training, whatever their source.
    """
    folds = source_folds(clips)
    validation = [index for index, clip in enumerate(clips) if folds[clip.source] == fold]
    heard = {clips[index].speaker for index in validation if not clips[index].is_fake}
    train = [
        index
        for index, clip in enumerate(clips)
        if folds[clip.source] != fold and (clip.is_fake or clip.speaker not in heard or _is_pool(clip.speaker))
    ]
    return train, validation


def _is_pool(speaker: str) -> bool:
    return not speaker or "?" in speaker or "_unk" in speaker


def balanced_weights(clips: Sequence[Clip], temper: float = 0.5) -> NDArray[np.float64]:
    """Return the probability of drawing each clip, shape ``(len(clips),)``; both classes get half.

    Within a class a source counts as its number of clips to the power `temper` (0: all alike, 1: as they come), and
    within a source a system likewise.
    """
    weights = np.zeros(len(clips))
    for is_fake in (False, True):
        chosen = [index for index, clip in enumerate(clips) if clip.is_fake == is_fake]
        sources = Counter(clips[index].source for index in chosen)
        systems = Counter((clips[index].source, clips[index].system) for index in chosen)
        per_source: dict[str, float] = defaultdict(float)
        for (source, _), count in systems.items():
            per_source[source] += count**temper
        for index in chosen:
            source, system = clips[index].source, clips[index].system
            count = systems[source, system]
            weights[index] = sources[source] ** temper * (count**temper / per_source[source]) / count
        weights[chosen] *= 0.5 / weights[chosen].sum()
    return weights
