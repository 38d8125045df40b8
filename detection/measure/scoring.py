"""Scores labelled clips, and legs made of them, with the steps of live calls."""

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
from detection.offline import VerifierScore, Windowing, score_windows, verify_windows
from detection.training.data import Clip, is_known
from detection.types import Samples, Score

Leg = tuple[int, ...]
"""Numbers of the clips of one speaker, in order."""

Job = TypeVar("Job")
Result = TypeVar("Result")
_BLOCK = 256
"""Legs sent to the worker processes at a time: `map` alone would read all of them before the first result."""
MIN_SPEECH_S = Policy().min_window_speech_s


def legs_of(clips: Sequence[Clip]) -> list[Leg]:
    """Join the clips with the same known speaker, source and system, as a call would contain them.

    Clips of unknown speakers are left out: two of them are not one leg.
    """
    legs: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        if is_known(clip.speaker):
            legs[clip.label, clip.source, clip.system, clip.speaker].append(number)
    return [tuple(numbers) for _, numbers in sorted(legs.items())]


def clips_alone(clips: Sequence[Clip]) -> list[Leg]:
    """Return each clip as a leg."""
    return [(number,) for number in range(len(clips))]


class LegScorer:
    """Scores legs with one model in `jobs` processes, and calls `done` after each leg. A context manager.

    Each process uses one thread: the matrices are small, so more threads only cost CPU time, and would change the
    rounding of sums.
    """

    def __init__(self, detector: CardDetector, model: str | Path, jobs: int, done: Callable[[], object]) -> None:
        """Take a detector, and the name or path by which worker processes open its model."""
        self._detector, self._done = detector, done
        self._pool = ProcessPoolExecutor(jobs, get_context("spawn"), _open, (model,)) if jobs > 1 else None

    def __enter__(self) -> Self:
        self._limits = threadpool_limits(1, user_api="blas")
        return self

    def __exit__(self, *_: object) -> None:
        self._limits.restore_original_limits()
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def score(self, condition: Condition, legs: Sequence[Leg]) -> list[list[Score]]:
        """Return the scores of the windows of each leg."""
        return list(self.each(_score, (leg_samples(condition, leg) for leg in legs)))

    def score_legs(self, condition: Condition, legs: Sequence[Leg], alone: Sequence[list[Score]]) -> list[list[Score]]:
        """Return the scores of the windows of each leg; those of legs of one clip are taken from `alone`."""
        joined = iter(self.score(condition, [leg for leg in legs if len(leg) > 1]))
        return [next(joined) if len(leg) > 1 else alone[leg[0]] for leg in legs]

    def verify(self, condition: Condition, legs: Sequence[Leg], light: Windowing) -> list[list[VerifierScore]]:
        """Return the scores of each leg by this model as the verifier, for a light model with windowing `light`."""
        return list(self.each(partial(_verify, light), (leg_samples(condition, leg) for leg in legs)))

    def each(self, work: Callable[[CardDetector, Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """Yield the result of `work` on each job with the model; worker processes must be able to import `work`."""
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
    """Return the audio of a leg as one array."""
    return np.concatenate([condition.samples(number) for number in leg])


_detector: CardDetector
"""Set once in each worker process, so that it opens the model once."""


def _open(model: str | Path) -> None:
    global _detector
    threadpool_limits(1, user_api="blas")
    _detector = open_detector(model)


def _with_model(work: Callable[[CardDetector, Job], Result], job: Job) -> Result:
    return work(_detector, job)


def _score(detector: CardDetector, samples: Samples) -> list[Score]:
    return score_windows(samples, detector, MIN_SPEECH_S)


def _verify(light: Windowing, detector: CardDetector, samples: Samples) -> list[VerifierScore]:
    return verify_windows(samples, light, detector, MIN_SPEECH_S)
