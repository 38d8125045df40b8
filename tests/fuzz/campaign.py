"""Very many inputs for many targets, in several processes, to be interrupted and gone on with."""

from __future__ import annotations

import gc
import json
import multiprocessing
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import structlog

from tests.fuzz.runner import fuzz
from tests.fuzz.target import Finding
from tests.fuzz.targets import TARGETS

MEMORY_BYTES = 512 << 20
"""Of address space, beyond what is taken at the start: an input that asks for more is a finding."""
BATCH, SLOW_BATCH = 2000, 200
"""Inputs that one process makes and gives before it is told what next."""


@dataclass
class Progress:
    """How far one target is, over all runs."""

    inputs: int = 0
    cpu_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    """As `Finding.why` tells them."""


@dataclass
class Campaign:
    """What is to be done, and how much of it is."""

    seed: int
    targets: dict[str, Progress] = field(default_factory=dict)
    stopping: bool = False
    """Whether what runs is the last: set it to end `run` early."""

    @classmethod
    def begin(cls, seed: int, state: Path | None) -> Campaign:
        """Go on with what `state` tells of; with a new one where there is no such file."""
        if state is None or not state.exists():
            return cls(seed)
        kept = json.loads(state.read_text(encoding="utf-8"))
        return cls(kept["seed"], {name: Progress(**progress) for name, progress in kept["targets"].items()})

    def save(self, state: Path) -> None:
        """Note how far all is."""
        written = state.with_name(f"{state.name}.new")
        kept = {"seed": self.seed, "targets": {name: asdict(progress) for name, progress in self.targets.items()}}
        written.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        written.replace(state)

    def run(
        self, names: Sequence[str], inputs: int, most_cpu_s: float, pool: Executor, waiting: int
    ) -> Iterator[tuple[str, list[Finding]]]:
        """Give each target its inputs, in this order; after each batch, yield the target and what was found.

        Args:
            inputs: for each target, with those of earlier runs.
            most_cpu_s: for each target, likewise.
            pool: gives the batches; see `processes`.
            waiting: batches that it has at a time.
        """
        for name in names:
            self.targets.setdefault(name, Progress())
        batches = self._batches(names, inputs, most_cpu_s)
        running: dict[Future[tuple[int, float, list[Finding]]], str] = {}
        while True:
            while len(running) < waiting and not self.stopping and (batch := next(batches, None)):
                running[pool.submit(_batch, *batch, tuple(self.targets[batch[0]].faults))] = batch[0]
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(done)
                yield name, self._note(name, *done.result())

    def _batches(self, names: Sequence[str], inputs: int, most_cpu_s: float) -> Iterator[tuple[str, int, str]]:
        for name in names:
            progress, given = self.targets[name], self.targets[name].inputs
            while given < inputs and progress.cpu_s < most_cpu_s:
                count = min(SLOW_BATCH if TARGETS[name].slow else BATCH, inputs - given)
                yield name, count, f"{self.seed} {name} {given}"
                given += count

    def _note(self, name: str, inputs: int, cpu_s: float, found: list[Finding]) -> list[Finding]:
        progress = self.targets[name]
        progress.inputs += inputs
        progress.cpu_s += cpu_s
        new = [finding for finding in found if finding.why not in progress.faults]
        progress.faults += [finding.why for finding in new]
        return new


def processes(jobs: int) -> ProcessPoolExecutor:
    """Return so many processes for `Campaign.run`, limited in memory."""
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare)


def _prepare() -> None:
    """Make a process ready: what is interrupted is the whole run, by the process that began it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    most_bytes = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # what the gateway logs of it is no finding
    gc.freeze()


def _batch(name: str, count: int, seed: str, known: tuple[str, ...]) -> tuple[int, float, list[Finding]]:
    began_s = time.process_time()
    found = fuzz(TARGETS[name], count, seed, known)
    return count, time.process_time() - began_s, found
