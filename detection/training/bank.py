"""The cached corpus: decoded, augmented and analysed clips on disk, memory-mapped in training.

A `Bank` has *renderings* of all clips: ``original``, one for each telephone channel (``pstn`` ...), augmented versions
(``augmented-1`` ...), and versions augmented by one step only (``only-noise`` ...). Audio and features are made once,
in parallel, and found again by the hash of the data. The names of augmented renderings also contain a hash of the code
and the recordings used.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from detection.errors import DataError
from detection.signal import channels
from detection.signal.audio import read_audio
from detection.signal.channels import CHANNELS, apply_channel
from detection.signal.features import Features, Waveform
from detection.training import augment, rawboost
from detection.training.augment import Surroundings, augment_clip, augment_clip_by, load_surroundings
from detection.training.data import Clip, data_hash
from detection.types import Samples

ORIGINAL = "original"
AUGMENTED = "augmented-"
ONLY = "only-"
FULL_SCALE = 32_767


@dataclass(frozen=True)
class Ragged:
    """Clips of different lengths in one memory-mapped array: clip `i` is ``values[offsets[i]:offsets[i + 1]] *
    scale``."""

    values: NDArray[np.generic]
    offsets: NDArray[np.int64]
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        rows = self.values[self.offsets[index] : self.offsets[index + 1]]
        return rows if self.scale == 1 else rows.astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True)
class Joined:
    """The clips of one array followed by those of another."""

    first: Ragged | Joined
    second: Ragged

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        return self.first[index] if index < len(self.first) else self.second[index - len(self.first)]


class Bank:
    """Renderings of `clips` under `cache`, made on first use by `workers` processes."""

    def __init__(self, clips: Sequence[Clip], surroundings: Path, cache: Path, workers: int = 2) -> None:
        self.clips = list(clips)
        self.hash = data_hash(clips)
        self.folder = cache / self.hash
        """Folder of these clips' renderings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._surroundings = surroundings
        self._workers = workers

    def audio(self, rendering: str) -> Ragged:
        """Return the clips' audio as int16, rendered as `original`, `augmented-N`, `only-STEP` or a channel's name.

        Raises:
            AudioError: a clip cannot be read.
            DataError: no such rendering, or no noises and room responses for augmentation.
        """
        if rendering not in (ORIGINAL, *CHANNELS) and not rendering.startswith((AUGMENTED, ONLY)):
            kinds = f"{ORIGINAL}, {AUGMENTED}N, {ONLY}STEP"
            raise DataError(f"{rendering!r}: expected a rendering, one of {kinds}, {', '.join(CHANNELS)}")
        if rendering == ORIGINAL:
            jobs: Iterable[object] = [clip.file for clip in self.clips]
            return self._made(f"audio-{self.cache_key(rendering)}", _decode, jobs)
        original = self.audio(ORIGINAL)
        if rendering.startswith(AUGMENTED):
            render: Callable[..., NDArray[np.int16]] = partial(_augmented, load_surroundings(self._surroundings))
        elif rendering.startswith(ONLY):
            step = rendering.removeprefix(ONLY)
            render = partial(_augmented_by, step, load_surroundings(self._surroundings))
        else:
            render = partial(_in_channel, rendering)
        seeds = (int.from_bytes(hashlib.sha256(f"{rendering} {i}".encode()).digest()[:8]) for i in itertools.count())
        jobs = zip(seeds, (original[i] for i in range(len(original))), strict=False)
        return self._made(f"audio-{self.cache_key(rendering)}", render, jobs)

    def cache_key(self, rendering: str) -> str:
        """Return the rendering's name on disk: with a hash of the code and of the listing that produce it."""
        if rendering == ORIGINAL:
            return rendering
        made_by = hashlib.sha256(code_of(channels).encode())
        if rendering.startswith((AUGMENTED, ONLY)):
            for module in (augment, rawboost):
                made_by.update(code_of(module).encode())
            made_by.update(self._surroundings.read_bytes() if self._surroundings.is_file() else b"")
        return f"{rendering}-{made_by.hexdigest()[:8]}"

    def features(self, rendering: str, spec: Features) -> Ragged:
        """Return the clips' frames, ``(frames of all clips, n_features)``: float16; samples in [-1, 1] for
        `Waveform`."""
        audio = self.audio(rendering)
        if isinstance(spec, Waveform):
            return Ragged(audio.values[:, None], audio.offsets, 1 / FULL_SCALE)
        spec_hash = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:8]
        jobs = (audio[i] for i in range(len(audio)))
        return self._made(f"features-{spec_hash}-{self.cache_key(rendering)}", partial(_features, spec), jobs)

    def _made(self, name: str, make: Callable[..., NDArray[np.generic]], jobs: Iterable[object]) -> Ragged:
        values_file, offsets_file = self.folder / f"{name}.npy", self.folder / f"{name}-offsets.npy"
        if not offsets_file.exists():  # written last, so the values are complete if it exists
            with whole(values_file) as unfinished:
                offsets = _write_end_to_end(unfinished, self._map(name, make, jobs))
            with whole(offsets_file) as unfinished:
                np.save(unfinished, offsets)
        return Ragged(np.load(values_file, mmap_mode="r"), np.load(offsets_file))

    def _map(
        self, name: str, make: Callable[..., NDArray[np.generic]], jobs: Iterable[object]
    ) -> Iterator[NDArray[np.generic]]:
        with ProcessPoolExecutor(self._workers) as pool:
            # In blocks: `map` would read and pickle all jobs before the first result.
            remaining = iter(jobs)
            blocks = iter(lambda: list(itertools.islice(remaining, 256)), [])
            n_blocks = -(-len(self.clips) // 256)
            for block in track(blocks, description=name, total=n_blocks):
                yield from pool.map(make, block, chunksize=8)


def code_of(part: ModuleType | type | Callable[..., object]) -> str:
    """Return the code of a module, class or function without comments and docstrings: equal for equal behaviour."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, with the same name; it becomes `file` on success and is removed on error.

    Two processes that miss the same cache entry both produce it: each writes to its own path, the results are equal,
    and no process reads an incomplete file.
    """
    with TemporaryDirectory(prefix=f"{file.stem}-", dir=file.parent) as folder:
        unfinished = Path(folder) / file.name
        yield unfinished
        unfinished.replace(file)


def _write_end_to_end(file: Path, pieces: Iterator[NDArray[np.generic]]) -> NDArray[np.int64]:
    """Write the concatenation of `pieces` along axis 0 as .npy without holding it in memory; return the offsets.

    The header of an .npy file needs the length, which is known only at the end, so the values go to a .raw file first.
    """
    first = next(pieces)
    raw = file.with_suffix(".raw")
    lengths = []
    with raw.open("wb") as out:
        for piece in itertools.chain([first], pieces):
            out.write(np.ascontiguousarray(piece).tobytes())
            lengths.append(len(piece))
    shape = (sum(lengths), *first.shape[1:])
    target = np.lib.format.open_memmap(file, "w+", first.dtype, shape)
    target[:] = np.memmap(raw, first.dtype, "r", shape=shape)
    target.flush()
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _to_int16(samples: Samples) -> NDArray[np.int16]:
    return (np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16)


def _to_float(samples: NDArray[np.int16]) -> Samples:
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def _decode(file: Path) -> NDArray[np.int16]:
    return _to_int16(read_audio(file))


def _in_channel(name: str, job: tuple[int, NDArray[np.int16]]) -> NDArray[np.int16]:
    return _to_int16(apply_channel(_to_float(job[1]), name))


def _augmented(surroundings: Surroundings, job: tuple[int, NDArray[np.int16]]) -> NDArray[np.int16]:
    seed, samples = job
    return _to_int16(augment_clip(_to_float(samples), surroundings, np.random.default_rng(seed)))


def _augmented_by(step: str, surroundings: Surroundings, job: tuple[int, NDArray[np.int16]]) -> NDArray[np.int16]:
    seed, samples = job
    return _to_int16(augment_clip_by(step, _to_float(samples), surroundings, np.random.default_rng(seed)))


def _features(spec: Features, samples: NDArray[np.int16]) -> NDArray[np.float16]:
    return spec.stream().push(_to_float(samples)).astype(np.float16)
