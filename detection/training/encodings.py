"""What the verifier's encoder makes of each clip, kept on disk: it costs most, so it is computed once.

Three windows of each clip, all of its middle: as recorded, as heard over a line (`LINES`), and with pauses, recorded or
over a line. Rows ``[0, n)`` are the first, ``[n, 2 n)`` the second, ``[2 n, 3 n)`` the third.
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

from detection.export import write_graph
from detection.models import specnet
from detection.signal.channels import apply_channel
from detection.training.augment import Surroundings, augment_clip, level, load_surroundings, through_codec, with_pauses
from detection.training.bank import FULL_SCALE, ORIGINAL, Bank, Ragged, whole
from detection.training.distillmos import factorise
from detection.types import Samples

VIEWS = 3
"""Windows of each clip."""
LINES = ("pstn", "augmented")
"""What the second window of a clip went through, by lot: the PSTN alone, or everything in `augment.augment_clip`."""
FACTORISED_ON = 24
"""Clips whose spectra the convolutions are factorised on."""


@dataclass(frozen=True)
class Encodings:
    """Windows as the encoder leaves them."""

    statistics: NDArray[np.float16]
    """``(VIEWS * n, n_statistics)``."""
    line: NDArray[np.int64]
    """Of each clip, the place in `LINES` of what its second window went through, ``(n,)``."""


def encode(bank: Bank, surroundings: Path, encoder: specnet.Encoder, made_of: str, workers: int) -> Encodings:
    """Return the encodings of the clips of `bank`, made on first use by `workers` processes.

    `made_of` is a hash of what the encoder is made of; its own weights round otherwise on each machine.
    """
    made_by = hashlib.sha256(f"{made_of} {bank.cache_key('pstn')} {bank.cache_key('augmented-1')}".encode())
    for part in (
        specnet.Encoder,
        specnet.levelled,
        specnet.near_speech,
        specnet.describe,
        _heard,
    ):  # else encoded otherwise
        made_by.update(inspect.getsource(part).encode())
    file = bank.folder / f"encodings-{made_by.hexdigest()[:8]}.npy"
    line = np.random.default_rng(0).integers(len(LINES), size=len(bank.clips))
    if not file.exists():
        audio = bank.audio(ORIGINAL)
        jobs = [(view, clip, LINES[line[clip]]) for view in range(VIEWS) for clip in range(len(audio))]
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
    by_view = [np.split(part.statistics, VIEWS) for part in parts]
    statistics = [of_part[view] for view in range(VIEWS) for of_part in by_view]
    return Encodings(np.concatenate(statistics), np.concatenate([part.line for part in parts]))


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
    view, clip, line = job
    session, audio, surroundings = _worker
    samples = _heard(_middle(audio, clip), view, line, surroundings, np.random.default_rng((clip, view)))
    frames = specnet.CONTRACT.features.stream().push(samples)
    (statistics,) = session.run(None, {"frames": frames[None]})
    return np.asarray(statistics[0], np.float16)


def _heard(samples: Samples, view: int, line: str, surroundings: Surroundings, rng: np.random.Generator) -> Samples:
    """Return the window as this view of the clip has it, at its own length."""
    if view == 1:
        heard = apply_channel(samples, line) if line == "pstn" else augment_clip(samples, surroundings, rng)
    elif view == 2:
        samples = with_pauses(samples, rng)
        match rng.integers(4):
            case 0:
                heard = level(samples, rng)
            case 1:
                heard = apply_channel(samples, "pstn")
            case 2:
                heard = through_codec(level(samples, rng), rng)
            case _:
                heard = augment_clip(samples, surroundings, rng)
    else:
        heard = samples
    return np.resize(heard, len(samples))
