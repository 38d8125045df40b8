"""What a run hears and what it is judged on: clips by side, and their renderings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.card import Contract
from detection.measure.metrics import Labels
from detection.training.bank import Bank, Joined, Ragged
from detection.training.data import Clip, read_manifest, refuse_shared_speakers
from detection.training.sampling import split_by_source

DEFAULT_CACHE = Path.home() / ".cache" / "callscreen"
"""Where renderings are kept unless told otherwise."""


@dataclass(frozen=True)
class Material:
    """Clips, which of them are trained and validated on, and their frames, by rendering."""

    clips: Sequence[Clip]
    train: Sequence[int]
    validation: Sequence[int]
    heard: Sequence[Ragged | Joined]
    judged: Mapping[str, Ragged]
    data_hash: str

    @property
    def is_fake(self) -> Labels:
        """Labels of the validation clips."""
        return np.array([self.clips[index].is_fake for index in self.validation])


@dataclass(frozen=True)
class Source:
    """Where clips come from, and where their renderings are kept."""

    manifest: Path
    surroundings: Path
    cache: Path
    workers: int
    held_out: Collection[int]
    """Groups of sources to validate on; none: `val` is both heard and validated on."""

    def bank(self, clips: Sequence[Clip]) -> Bank:
        """Return the renderings of `clips`."""
        return Bank(clips, self.surroundings, self.cache, self.workers)

    def clips(self) -> tuple[list[Clip], list[int], list[int]]:
        """Return all clips of `train` and `val`, and the indices to train and to validate on.

        Raises:
            DataError: a bad manifest, or a person who would be heard on both sides.
        """
        clips = read_manifest(self.manifest, ("train", "val"))
        refuse_shared_speakers(*([clip for clip in clips if clip.split == split] for split in ("train", "val")))
        if not self.held_out:
            return clips, list(range(len(clips))), [i for i, clip in enumerate(clips) if clip.split == "val"]
        train, validation = split_by_source(clips, self.held_out)
        refuse_shared_speakers([clips[index] for index in train], [clips[index] for index in validation])
        return clips, train, validation


def gather(
    source: Source, contract: Contract, heard: Iterable[str], judged: Iterable[str], more: Iterable[Path]
) -> Material:
    """Return what to train and validate on; clips of the manifests `more` are heard unless their source is held out."""
    clips, train, validation = source.clips()
    bank = source.bank(clips)
    heard_names = list(heard)
    frames: list[Ragged | Joined] = [bank.features(name, contract.features) for name in heard_names]
    judged_frames = {name: bank.features(name, contract.features) for name in judged}
    held_out = {clips[index].source for index in validation} if source.held_out else set()
    for manifest in more:
        further = read_manifest(manifest)
        train += [len(clips) + index for index, clip in enumerate(further) if clip.source not in held_out]
        clips += further
        further_bank = source.bank(further)
        frames = [
            Joined(part, further_bank.features(name, contract.features))
            for part, name in zip(frames, heard_names, strict=True)
        ]
    return Material(clips, train, validation, frames, judged_frames, bank.hash)
