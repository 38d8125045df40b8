"""The verifier's encodings of each clip, cached on disk because they are expensive.

Each clip has three windows, all from its middle: as recorded, through a line (`LINES`), and with pauses, recorded or
through a line. Rows ``[0, n)`` are the first, ``[n, 2 n)`` the second, ``[2 n, 3 n)`` the third.
"""

from __future__ import annotations

import hashlib
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
from detection.training.bank import FULL_SCALE, ORIGINAL, Bank, Ragged, code_of, whole
from detection.training.distillmos import factorise
from detection.types import Samples

VIEWS = 3
"""Number of windows of each clip."""
LINES = ("pstn", "augmented")
"""Lines for the second window of a clip, drawn at random: the PSTN alone, or all of `augment.augment_clip`."""
FACTORISED_ON = 24
"""Number of clips on whose spectra the convolutions are factorised."""


@dataclass(frozen=True)
class Encodings:
    """Outputs of the encoder for the windows of all clips."""

    statistics: NDArray[np.float16]
    """``(VIEWS * n, n_statistics)``."""
    line: NDArray[np.int64]
    """Index in `LINES` of each clip's second window, ``(n,)``."""


def encode(bank: Bank, surroundings: Path, encoder: specnet.Encoder, made_of: str, workers: int) -> Encodings:
    """Return the encodings of the clips of `bank`, made on first use by `workers` processes.

    `made_of` is a hash of the encoder's inputs; its weights cannot be hashed, because rounding differs by machine.
    """
    made_by = hashlib.sha256(f"{made_of} {bank.cache_key('pstn')} {bank.cache_key('augmented-1')}".encode())
    for part in (specnet.Encoder, specnet.levelled, specnet.near_speech, specnet.describe, _view):
        made_by.update(code_of(part).encode())  # a change of these changes the encodings
    file = bank.folder / f"encodings-{made_by.hexdigest()[:8]}.npy"
    line = np.random.default_rng(0).integers(len(LINES), size=len(bank.clips))
    if not file.exists():
        audio = bank.audio(ORIGINAL)
        jobs = [(view, clip, LINES[line[clip]]) for view in range(VIEWS) for clip in range(len(audio))]
        with TemporaryDirectory() as scratch, whole(file) as unfinished:
            graph = Path(scratch) / "encoder.onnx"
            write_graph(encoder, specnet.CONTRACT, graph, ("statistics",))
            recordings = load_surroundings(surroundings)
            with ProcessPoolExecutor(workers, initializer=_open, initargs=(graph, audio, recordings)) as pool:
                made = pool.map(_encode, jobs, chunksize=16)
                np.save(unfinished, np.stack(list(track(made, "encodings", len(jobs), console=Console(stderr=True)))))
    return Encodings(np.load(file, mmap_mode="r"), line)


def joined(parts: Sequence[Encodings]) -> Encodings:
    """Return the encodings of all `parts`, in order, as one."""
    if len(parts) == 1:
        return parts[0]
    by_view = [np.split(part.statistics, VIEWS) for part in parts]
    statistics = [of_part[view] for view in range(VIEWS) for of_part in by_view]
    return Encodings(np.concatenate(statistics), np.concatenate([part.line for part in parts]))


def factorised_encoder(bank: Bank, published: dict[str, torch.Tensor]) -> specnet.Encoder:
    """Return the verifier's encoder with the published convolutions, factorised on random clips of `bank`.

    Every second clip goes through the PSTN first.
    """
    audio = bank.audio(ORIGINAL)
    contract = specnet.CONTRACT
    chosen = np.random.default_rng(0).integers(len(audio), size=FACTORISED_ON)
    windows = [_middle(audio, int(clip)) for clip in chosen]
    sent = [apply_channel(window, "pstn") if place % 2 else window for place, window in enumerate(windows)]
    encoder = specnet.SpecNet().encoder
    factorise(encoder, published, torch.from_numpy(np.stack([contract.features.stream().push(one) for one in sent])))
    return encoder


def _middle(audio: Ragged, clip: int) -> Samples:
    """Return the middle window of a clip; a shorter clip is repeated, as in serving."""
    samples, length = audio[clip], specnet.CONTRACT.window_samples
    start = max(0, (len(samples) - length) // 2)
    return np.resize(samples[start : start + length], length).astype(np.float32) / np.float32(FULL_SCALE)


_worker: tuple[onnxruntime.InferenceSession, Ragged, Surroundings]
"""Set once in each worker process."""


def _open(graph: Path, audio: Ragged, surroundings: Surroundings) -> None:
    global _worker
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    _worker = onnxruntime.InferenceSession(graph, options), audio, surroundings


def _encode(job: tuple[int, int, str]) -> NDArray[np.float16]:
    view, clip, line = job
    session, audio, surroundings = _worker
    samples = _view(_middle(audio, clip), view, line, surroundings, np.random.default_rng((clip, view)))
    frames = specnet.CONTRACT.features.stream().push(samples)
    (statistics,) = session.run(None, {"frames": frames[None]})
    return np.asarray(statistics[0], np.float16)


def _view(samples: Samples, view: int, line: str, surroundings: Surroundings, rng: np.random.Generator) -> Samples:
    """Return the window as this view of the clip requires, of the same length."""
    if view == 1:
        changed = apply_channel(samples, line) if line == "pstn" else augment_clip(samples, surroundings, rng)
    elif view == 2:
        samples = with_pauses(samples, rng)
        match rng.integers(4):
            case 0:
                changed = level(samples, rng)
            case 1:
                changed = apply_channel(samples, "pstn")
            case 2:
                changed = through_codec(level(samples, rng), rng)
            case _:
                changed = augment_clip(samples, surroundings, rng)
    else:
        changed = samples
    return np.resize(changed, len(samples))
