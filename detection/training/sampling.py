"""Selection of the clips for each epoch and for validation.

In corpora from demonstration pages the source is confounded with the label, so both selections are by source: no source
and no system is drawn much more often than another, and validation holds out whole sources.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from detection.training.data import Clip, is_known, people

FOLDS = 5

MIN_OF_EACH = 4
"""Least number of clips of each class for a page to be an anchor."""


def source_folds(clips: Sequence[Clip]) -> dict[str, int]:
    """Divide the sources into `FOLDS` groups with similar numbers of human and of synthetic clips."""
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


def split_by_source(clips: Sequence[Clip], held_out: Collection[int]) -> tuple[list[int], list[int]]:
    """Return the indices of training and validation clips; validation has all clips of the sources in these folds.

    Training has the clips `unlike` them, so whole systems and speakers are held out too.
    """
    folds = source_folds(clips)
    validation = [index for index, clip in enumerate(clips) if folds[clip.source] in held_out]
    return unlike(clips, [clips[index] for index in validation]), validation


def unlike(clips: Sequence[Clip], held_out: Collection[Clip]) -> list[int]:
    """Return the indices of the clips that share no source, system or human speaker with `held_out`.

    Synthetic clips in the voice of a held-out speaker stay. Systems and speakers without a name match no other. Names
    are compared without case, because pages write them differently.
    """
    sources = {clip.source for clip in held_out}
    systems = {clip.system.casefold() for clip in held_out if clip.is_fake and is_known(clip.system)}
    speakers = people(held_out)
    return [
        index
        for index, clip in enumerate(clips)
        if clip.source not in sources
        and (clip.system.casefold() not in systems if clip.is_fake else clip.speaker.casefold() not in speakers)
    ]


class PageSampler:
    """Draws clips so that properties of a page are of little use as a cue.

    Part of each batch are two human and two synthetic clips of each of some pages that have both (the anchors). The
    rest is drawn by `balanced_weights`, or uniformly if not `balanced`.
    """

    def __init__(self, clips: Sequence[Clip], temper: float, anchors: int, balanced: bool = True) -> None:
        self._anchors = anchors
        is_fake = np.array([clip.is_fake for clip in clips])
        sources = np.array([clip.source for clip in clips])
        members = {
            source: [np.flatnonzero((sources == source) & (is_fake == wanted)) for wanted in (False, True)]
            for source in sorted(set(sources))
        }
        self._pages = [classes for classes in members.values() if min(map(len, classes)) >= MIN_OF_EACH]
        sizes = np.array([min(map(len, classes)) for classes in self._pages])
        self._page_weights = sizes**temper / np.sum(sizes**temper)
        self._weights = balanced_weights(clips, temper) if balanced else np.full(len(clips), 1 / len(clips))
        share = self._weights[is_fake].sum()
        self.class_weights = (0.5 / (1 - share), 0.5 / share)
        """Weights of human and synthetic clips: inverse to the class's share in the rest of a batch; 1 if balanced."""

    def draw(self, size: int, rng: np.random.Generator) -> list[int]:
        """Return the positions of `size` clips."""
        n_pages = min(self._anchors, len(self._pages), size // 4)
        drawn: list[int] = []
        if n_pages:
            for page in rng.choice(len(self._pages), n_pages, replace=False, p=self._page_weights):
                drawn += [int(rng.choice(members)) for members in self._pages[page] for _ in range(2)]
        rest = rng.choice(len(self._weights), size - len(drawn), p=self._weights)
        return [*drawn, *map(int, rest)]


def balanced_weights(clips: Sequence[Clip], temper: float = 0.5) -> NDArray[np.float64]:
    """Return the probability of drawing each clip, shape ``(len(clips),)``; each class gets one half.

    The weight of a system (synthetic) or a source (human) is its number of clips to the power `temper`: 0 is uniform
    over systems, 1 is uniform over clips. Systems are counted over all sources: counted within sources, a system that
    has a page of its own is drawn too rarely (espeak-ng was then classified as human in spite of 165 clips in
    training).
    """
    groups = [(clip.is_fake, clip.system if clip.is_fake else clip.source) for clip in clips]
    counts = Counter(groups)
    weights = np.array([counts[group] ** (temper - 1) for group in groups])
    for wanted in (False, True):
        chosen = np.array([is_fake == wanted for is_fake, _ in groups])
        weights[chosen] *= 0.5 / weights[chosen].sum()
    return weights
