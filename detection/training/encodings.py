"""What the verifier's encoder makes of each clip, kept on disk: it costs most, so it is computed once.

Two windows of each clip: one as recorded, and one as heard over a line (`LINES`), each of a clip's middle. Rows
``[0, n)`` are the first, rows ``[n, 2 n)`` the second.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from detection.channels import apply_channel
from detection.export import write_graph
from detection.models import specnet
from detection.training.augment import Surroundings, load_surroundings, spoil
from detection.training.bank import FULL_SCALE, ORIGINAL, Bank, Ragged, whole
from detection.training.distillmos import factorise
from detection.types import Samples

LINES = ("pstn", "augmented")
"""What the second window of a clip went through, by lot: the PSTN alone, or everything in `augment.spoil`."""
FACTORISED_ON = 24
"""Clips whose spectra the convolutions are factorised on."""


@dataclass(frozen=True)
class Encodings:
    """Windows as the encoder leaves them."""

    statistics: NDArray[np.float16]
    """``(2 n, n_statistics)``."""
    line: NDArray[np.int64]
    """Of each clip, the place in `LINES` of what its second window went through, ``(n,)``."""


def encode(bank: Bank, surroundings: Path, encoder: specnet.Encoder, made_of: str, workers: int) -> Encodings:
    """Return the encodings of the clips of `bank`, made on first use by `workers` processes.

    `made_of` is a hash of what the encoder is made of; its own weights round otherwise on each machine.
    """
    made_by = hashlib.sha256(f"{made_of} {bank.known_as('pstn')} {bank.known_as('spoiled-1')}".encode())
    for part in (specnet.Encoder, specnet.levelled, specnet.describe):  # another way of encoding encodes otherwise
        made_by.update(inspect.getsource(part).encode())
    file = bank.folder / f"encodings-{made_by.hexdigest()[:8]}.npy"
    line = np.random.default_rng(0).integers(len(LINES), size=len(bank.clips))
    if not file.exists():
        audio = bank.audio(ORIGINAL)
        jobs = [(row, row % len(audio), _line(row, line)) for row in range(2 * len(audio))]
        with TemporaryDirectory() as scratch, whole(file) as unfinished:
            graph = Path(scratch) / "encoder.onnx"
            write_graph(encoder, specnet.CONTRACT, graph, ("statistics",))
            told = load_surroundings(surroundings)
            with ProcessPoolExecutor(workers, initializer=_open, initargs=(graph, audio, told)) as pool:
                made = pool.map(_encode, jobs, chunksize=16)
                np.save(unfinished, np.stack(list(track(made, "encodings", len(jobs), console=Console(stderr=True)))))
    return Encodings(np.load(file, mmap_mode="r"), line)


def joined(parts: Sequence[Encodings]) -> Encodings:
    """Return the encodings of the clips of all `parts`, in order, as if they were of one list."""
    if len(parts) == 1:
        return parts[0]
    firsts = [part.statistics[: len(part.line)] for part in parts]
    seconds = [part.statistics[len(part.line) :] for part in parts]
    return Encodings(np.concatenate([*firsts, *seconds]), np.concatenate([part.line for part in parts]))


def factorised_encoder(bank: Bank, published: dict[str, torch.Tensor]) -> specnet.Encoder:
    """Return the verifier's encoder with the published convolutions, factorised on clips drawn from `bank`.

    Every second clip goes through the PSTN first.
    """
    audio = bank.audio(ORIGINAL)
    contract = specnet.CONTRACT
    chosen = np.random.default_rng(0).integers(len(audio), size=FACTORISED_ON)
    windows = [_middle(audio, int(clip)) for clip in chosen]
    heard = [apply_channel(window, "pstn") if place % 2 else window for place, window in enumerate(windows)]
    encoder = specnet.SpecNet().encoder
    factorise(encoder, published, torch.from_numpy(np.stack([contract.features.stream().push(one) for one in heard])))
    return encoder


def _line(row: int, line: Sequence[int] | NDArray[np.int64]) -> str:
    return ORIGINAL if row < len(line) else LINES[line[row - len(line)]]


def _middle(audio: Ragged, clip: int) -> Samples:
    """Return the window in the middle of a clip; a shorter clip is repeated, as serving repeats it."""
    samples, length = audio[clip], specnet.CONTRACT.window_samples
    start = max(0, (len(samples) - length) // 2)
    return np.resize(samples[start : start + length], length).astype(np.float32) / np.float32(FULL_SCALE)


_worker: tuple[onnxruntime.InferenceSession, Ragged, Surroundings]
"""Set once per process."""


def _open(graph: Path, audio: Ragged, surroundings: Surroundings) -> None:
    global _worker
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    _worker = onnxruntime.InferenceSession(graph, options), audio, surroundings


def _encode(job: tuple[int, int, str]) -> NDArray[np.float16]:
    row, clip, line = job
    session, audio, surroundings = _worker
    samples = _middle(audio, clip)
    if line == "augmented":
        samples = np.resize(spoil(samples, surroundings, np.random.default_rng(row)), len(samples))
    elif line != ORIGINAL:
        samples = apply_channel(samples, line)
    frames = specnet.CONTRACT.features.stream().push(samples)
    (statistics,) = session.run(None, {"frames": frames[None]})
    return np.asarray(statistics[0], np.float16)
