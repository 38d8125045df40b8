"""The data of a run: clips for training and validation, and their renderings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.card import Contract
from detection.errors import DataError
from detection.measure.metrics import Labels
from detection.training.bank import Bank, Joined, Ragged
from detection.training.data import Clip, read_manifest, refuse_shared_speakers
from detection.training.sampling import split_by_source, unlike

DEFAULT_CACHE = Path.home() / ".cache" / "callscreen"
"""Default folder of renderings."""


@dataclass(frozen=True)
class Material:
    """All clips, the indices for training and validation, and the clips' frames by rendering."""

    clips: Sequence[Clip]
    train: Sequence[int]
    validation: Sequence[int]
    heard: Sequence[Ragged | Joined]
    judged: Mapping[str, Ragged]
    data_hash: str
    more_hashes: Sequence[str]
    """As `data_hash`, of each further manifest."""
    renderings: Sequence[str]
    """The renderings trained on, each with a hash of its augmentation: `Bank.cache_key`."""

    @property
    def is_fake(self) -> Labels:
        """Labels of the validation clips."""
        return np.array([self.clips[index].is_fake for index in self.validation])


@dataclass(frozen=True)
class Source:
    """Where clips come from, and the cache of their renderings."""

    manifest: Path
    surroundings: Path
    cache: Path
    workers: int
    held_out: Collection[int]
    """Groups of sources to validate on; if empty, `val` is used for both training and validation."""

    def bank(self, clips: Sequence[Clip]) -> Bank:
        """Return the renderings of `clips`."""
        return Bank(clips, self.surroundings, self.cache, self.workers)

    def clips(self) -> tuple[list[Clip], list[int], list[int]]:
        """Return all clips of `train` and `val`, and the indices for training and for validation.

        Raises:
            DataError: a bad manifest, a speaker on both sides, or a side without clips of both labels.
        """
        clips = read_manifest(self.manifest, ("train", "val"))
        train_split, val_split = ([clip for clip in clips if clip.split == split] for split in ("train", "val"))
        refuse_shared_speakers(train_split, val_split, self.manifest)
        self._refuse_one_label(clips, "to train on and to validate on")
        if self.held_out:
            train, validation = split_by_source(clips, self.held_out)
            train_clips, validation_clips = ([clips[index] for index in part] for part in (train, validation))
            refuse_shared_speakers(train_clips, validation_clips, self.manifest)
            where = f"in the groups held out {' '.join(map(str, self.held_out))}"
        else:
            train = list(range(len(clips)))
            validation = [index for index, clip in enumerate(clips) if clip.split == "val"]
            where = "in split val"
        self._refuse_one_label((clips[index] for index in validation), where)
        but = " that share no source, system or speaker with those held out" if self.held_out else ""
        self._refuse_one_label((clips[index] for index in train), f"to train on{but}")
        return clips, train, validation

    def _refuse_one_label(self, clips: Iterable[Clip], where: str) -> None:
        """Raise `DataError` unless there are clips of both labels."""
        if len({clip.is_fake for clip in clips}) < 2:
            raise DataError(f"{self.manifest}: expected clips of both labels {where}")


def gather(
    source: Source, contract: Contract, heard: Iterable[str], judged: Iterable[str], more: Iterable[Path]
) -> Material:
    """Return the data for training and validation; from the manifests `more`, clips `unlike` the held-out ones are
    added.

    Raises:
        DataError: as `Source.clips`; a bad manifest among `more`; or a speaker in one who is in the validation clips.
    """
    clips, train, validation = source.clips()
    held_out = [clips[index] for index in validation] if source.held_out else []
    further = read_further(more, held_out)  # before anything is rendered, which takes long
    bank = source.bank(clips)
    heard_names = list(heard)
    frames: list[Ragged | Joined] = [bank.features(name, contract.features) for name in heard_names]
    judged_frames = {name: bank.features(name, contract.features) for name in judged}
    more_hashes = []
    for listed in further:
        train += [len(clips) + index for index in unlike(listed, held_out)]
        clips += listed
        further_bank = source.bank(listed)
        more_hashes.append(further_bank.hash)
        frames = [
            Joined(part, further_bank.features(name, contract.features))
            for part, name in zip(frames, heard_names, strict=True)
        ]
    renderings = [bank.cache_key(name) for name in heard_names]
    return Material(clips, train, validation, frames, judged_frames, bank.hash, more_hashes, renderings)


def read_further(manifests: Iterable[Path], held_out: Sequence[Clip]) -> list[list[Clip]]:
    """Return the clips of each of `manifests`; those that are not `unlike` the `held_out` ones must not be trained on.

    Raises:
        DataError: a bad manifest, or a speaker of `held_out` in clips from other sources.
    """
    sources = {clip.source for clip in held_out}
    further = []
    for manifest in manifests:
        listed = read_manifest(manifest)
        refuse_shared_speakers((clip for clip in listed if clip.source not in sources), held_out, manifest)
        further.append(listed)
    return further
