"""What a run hears and what it is judged on: clips by side, and their renderings."""

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
    more_hashes: Sequence[str]
    """Like `data_hash`, of each further list."""
    renderings: Sequence[str]
    """What is `heard`, with hashes of what augments it: `Bank.cache_key`."""

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
            DataError: a bad manifest, a person who would be heard on both sides, or a side without clips of each label.
        """
        clips = read_manifest(self.manifest, ("train", "val"))
        train_split, val_split = ([clip for clip in clips if clip.split == split] for split in ("train", "val"))
        refuse_shared_speakers(train_split, val_split, self.manifest)
        self._refuse_one_label(clips, "to train on and to validate on")
        if self.held_out:
            train, validation = split_by_source(clips, self.held_out)
            heard, judged = ([clips[index] for index in part] for part in (train, validation))
            refuse_shared_speakers(heard, judged, self.manifest)
            where = f"in the groups held out {' '.join(map(str, self.held_out))}"
        else:
            train = list(range(len(clips)))
            validation = [index for index, clip in enumerate(clips) if clip.split == "val"]
            where = "in split val"
        self._refuse_one_label((clips[index] for index in validation), where)
        but = " that share no source, system or person with those held out" if self.held_out else ""
        self._refuse_one_label((clips[index] for index in train), f"to train on{but}")
        return clips, train, validation

    def _refuse_one_label(self, clips: Iterable[Clip], where: str) -> None:
        """Raise `DataError` unless there are clips of both labels: neither error rate nor loss is known of one."""
        if len({clip.is_fake for clip in clips}) < 2:
            raise DataError(f"{self.manifest}: expected clips of both labels {where}")


def gather(
    source: Source, contract: Contract, heard: Iterable[str], judged: Iterable[str], more: Iterable[Path]
) -> Material:
    """Return what to train and validate on; of the manifests `more`, clips `unlike` those held out are heard, too.

    Raises:
        DataError: what `Source.clips` refuses, a bad manifest among `more`, or a person in one who is validated on.
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
    """Return the clips that each of `manifests` lists; those not `unlike` the ones `held_out` are not to be trained on.

    Raises:
        DataError: a bad manifest, or a person in the rest of one who speaks in `held_out`.
    """
    sources = {clip.source for clip in held_out}
    further = []
    for manifest in manifests:
        listed = read_manifest(manifest)
        refuse_shared_speakers((clip for clip in listed if clip.source not in sources), held_out, manifest)
        further.append(listed)
    return further
