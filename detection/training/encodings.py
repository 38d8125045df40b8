"""What the verifier's frozen encoder makes of each clip, kept on disk: it costs most, so it is computed once.

Two windows of each clip: one as recorded, and one as heard over a line (`LINES`), each of a clip's middle. Rows
``[0, n)`` of every array are the first, rows ``[n, 2 n)`` the second.
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
    sequences: NDArray[np.float16]
    """``(2 n, frames, n_outputs)``."""
    line: NDArray[np.int64]
    """Of each clip, the place in `LINES` of what its second window went through, ``(n,)``."""


def encode(bank: Bank, surroundings: Path, encoder: specnet.Encoder, workers: int) -> Encodings:
    """Return the encodings of the clips of `bank`, made on first use by `workers` processes."""
    made_by = hashlib.sha256(f"{bank.known_as('pstn')} {bank.known_as('spoiled-1')}".encode())
    for part in (specnet.Encoder, specnet.levelled, specnet.describe):  # another way of encoding encodes otherwise
        made_by.update(inspect.getsource(part).encode())
    for value in encoder.state_dict().values():
        made_by.update(value.numpy().tobytes())
    folder = bank.folder / f"encodings-{made_by.hexdigest()[:8]}"
    folder.mkdir(exist_ok=True)
    line = np.random.default_rng(0).integers(len(LINES), size=len(bank.clips))
    files = [folder / "statistics.npy", folder / "sequences.npy"]
    if not files[-1].exists():
        audio = bank.audio(ORIGINAL)
        with TemporaryDirectory() as scratch, whole(files[0]) as statistics, whole(files[1]) as sequences:
            graph = Path(scratch) / "encoder.onnx"
            contract = specnet.CONTRACT
            write_graph(encoder, contract, graph, ("statistics", "sequence"))
            frames = torch.zeros(1, *contract.input_shape)
            with torch.inference_mode():
                shapes = [tuple(part.shape[1:]) for part in encoder.eval()(frames)]
            kept = (shapes[0], (-(-shapes[1][0] // specnet.STEP), shapes[1][1]))
            outputs = [
                np.lib.format.open_memmap(file, "w+", np.float16, (2 * len(audio), *shape))
                for file, shape in zip((statistics, sequences), kept, strict=True)
            ]
            jobs = [(row, row % len(audio), _line(row, line)) for row in range(2 * len(audio))]
            with ProcessPoolExecutor(
                workers, initializer=_open, initargs=(graph, audio, load_surroundings(surroundings))
            ) as pool:
                console = Console(stderr=True)
                made = pool.map(_encode, jobs, chunksize=16)
                for (row, _, _), parts in zip(jobs, track(made, "encodings", len(jobs), console=console), strict=True):
                    for output, part in zip(outputs, parts, strict=True):
                        output[row] = part
            for output in outputs:
                output.flush()
    return Encodings(np.load(files[0], mmap_mode="r"), np.load(files[1], mmap_mode="r"), line)


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


def _encode(job: tuple[int, int, str]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    row, clip, line = job
    session, audio, surroundings = _worker
    samples = _middle(audio, clip)
    if line == "augmented":
        samples = np.resize(spoil(samples, surroundings, np.random.default_rng(row)), len(samples))
    elif line != ORIGINAL:
        samples = apply_channel(samples, line)
    frames = specnet.CONTRACT.features.stream().push(samples)
    statistics, sequence = session.run(None, {"frames": frames[None]})
    return statistics[0].astype(np.float16), sequence[0, :: specnet.STEP].astype(np.float16)
