"""Labelled clips, and legs made of them, along the path that calls take."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from detection.decision.rule import Policy
from detection.detector import CardDetector, open_detector
from detection.measure.conditions import Condition
from detection.offline import Answer, Cut, score_windows, verify_windows
from detection.training.data import Clip, is_known
from detection.types import Samples, Score

Leg = tuple[int, ...]
"""Numbers of the clips that one voice speaks, one after the other."""

Job = TypeVar("Job")
Result = TypeVar("Result")
_BLOCK = 256
"""Legs sent to the other processes in one go: `map` alone would read them all ahead of the first result."""
MIN_SPEECH_S = Policy().min_window_speech_s


def legs_of(clips: Sequence[Clip]) -> list[Leg]:
    """Join the clips of one page that one known speaker speaks, by one system, as a call would hold them.

    Clips of people whose page doesn't tell them apart are left out: two of them are no leg.
    """
    legs: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        if is_known(clip.speaker):
            legs[clip.label, clip.source, clip.system, clip.speaker].append(number)
    return [tuple(numbers) for _, numbers in sorted(legs.items())]


def clips_alone(clips: Sequence[Clip]) -> list[Leg]:
    """Return each clip as a leg of its own."""
    return [(number,) for number in range(len(clips))]


class Listener:
    """Scores legs with one model, in `jobs` processes, telling `done` of each leg. Use as a context manager.

    Each process takes one thread: matrices are small, more threads only cost more CPU, and other sums.
    """

    def __init__(self, detector: CardDetector, model: str | Path, jobs: int, done: Callable[[], object]) -> None:
        """Take a detector, and where other processes find its model."""
        self._detector, self._done = detector, done
        self._pool = ProcessPoolExecutor(jobs, get_context("spawn"), _open, (model,)) if jobs > 1 else None

    def __enter__(self) -> Self:
        self._limits = threadpool_limits(1, user_api="blas")
        return self

    def __exit__(self, *_: object) -> None:
        self._limits.restore_original_limits()
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def listen(self, condition: Condition, legs: Sequence[Leg]) -> list[list[Score]]:
        """Return the scores of the windows of each leg."""
        return list(self.each(_score, (leg_samples(condition, leg) for leg in legs)))

    def listen_to_legs(
        self, condition: Condition, legs: Sequence[Leg], alone: Sequence[list[Score]]
    ) -> list[list[Score]]:
        """Return the same, taking the scores of legs of one clip from those of all clips `alone`."""
        joined = iter(self.listen(condition, [leg for leg in legs if len(leg) > 1]))
        return [next(joined) if len(leg) > 1 else alone[leg[0]] for leg in legs]

    def verify(self, condition: Condition, legs: Sequence[Leg], light: Cut) -> list[list[Answer]]:
        """Return what the model says of each leg as the verifier beside a light one that cuts it so."""
        return list(self.each(partial(_verify, light), (leg_samples(condition, leg) for leg in legs)))

    def each(self, work: Callable[[CardDetector, Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """Yield what `work`, which other processes must be able to import, makes of each job with the model."""
        for result in self._results(work, iter(jobs)):
            self._done()
            yield result

    def _results(self, work: Callable[[CardDetector, Job], Result], jobs: Iterator[Job]) -> Iterator[Result]:
        if self._pool is None:
            yield from (work(self._detector, job) for job in jobs)
            return
        for block in iter(lambda: list(itertools.islice(jobs, _BLOCK)), []):
            yield from self._pool.map(partial(_with_model, work), block, chunksize=8)


def leg_samples(condition: Condition, leg: Leg) -> Samples:
    """Return the audio of a leg in one piece."""
    return np.concatenate([condition.samples(number) for number in leg])


_detector: CardDetector
"""Set once per worker process, so that each opens the model once."""


def _open(model: str | Path) -> None:
    global _detector
    threadpool_limits(1, user_api="blas")
    _detector = open_detector(model)


def _with_model(work: Callable[[CardDetector, Job], Result], job: Job) -> Result:
    return work(_detector, job)


def _score(detector: CardDetector, samples: Samples) -> list[Score]:
    return score_windows(samples, detector, MIN_SPEECH_S)


def _verify(light: Cut, detector: CardDetector, samples: Samples) -> list[Answer]:
    return verify_windows(samples, light, detector, MIN_SPEECH_S)
