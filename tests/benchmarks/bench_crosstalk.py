"""Measure the guard against voices that leak into the other leg: leaks told, own voices lost, CPU.

    python -m tests.benchmarks.bench_crosstalk CORPUS_FOLDER [--split test] [--clips 12]

A voice is 12 s of one source of the corpus, half of the voices human; sources differ within a pair. All of it went
through a G.711 call.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from detection import Activity, Samples, Windower
from detection.signal.audio import read_audio
from gateway.call.crosstalk import Crosstalk
from tests.gateway.call.two_legs import BLOCK, CALLEE, CALLER, RATE_HZ, judged, leak, telephone

SECONDS = 12
DELAYS_MS = (0, 3.3, 120, 500)
LEVELS_DB = (-10, -20, -30)
RUNS = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the guard against voices that leak into the other leg.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--split", default="test", help="which clips of the corpus (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=12, help="how many voices (default: %(default)s)")
    args = parser.parse_args()
    voices = list(_voices(args.corpus, args.split, args.clips))
    table = Table("legs", "windows", "taken for a leak", title=f"{len(voices)} voices of the split {args.split}")
    for level_db in LEVELS_DB:
        pairs = [
            judged(telephone(voice), telephone(leak(voice, delay_ms, level_db)))
            for voice, delay_ms in itertools.product(voices, DELAYS_MS)
        ]
        for name, side in (("source", 0), (f"its leak, {level_db} dB", 1)):
            _add(table, name, [window for pair in pairs for window in pair[side]])
    lines = list(map(telephone, voices))
    others = [judged(*pair) for pair in itertools.combinations(lines, 2)]
    _add(table, "two voices at once", [window for pair in others for side in pair for window in side])
    over = [
        judged(telephone(caller), telephone(callee + leak(caller, 180, -15)))[1]
        for caller, callee in itertools.pairwise(voices)
    ]
    _add(table, "a voice over a leak 15 dB below it", [window for windows in over for window in windows])
    Console().print(table)
    with threadpool_limits(1, user_api="blas"):
        for name, legs in (("both talk all the time", lines[:2]), ("they take turns", _turns(*lines[:2]))):
            Console().print(f"{name}: {_cost_us(legs[0], legs[1]):.0f} µs of CPU a second of a leg")


def _voices(corpus: Path, split: str, count: int) -> Iterator[Samples]:
    with (corpus / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    random.Random(5).shuffle(rows)
    for label in ("real", "fake"):
        found = 0
        for source in dict.fromkeys(row["source"] for row in rows if row["label"] == label):
            clips = [
                read_audio(corpus / row["path"]) for row in rows if (row["source"], row["label"]) == (source, label)
            ]
            voice = np.concatenate(clips)[: SECONDS * RATE_HZ]
            if len(voice) == SECONDS * RATE_HZ and found < count // 2:
                found += 1
                yield np.asarray(0.06 * voice / np.sqrt(np.mean(voice**2)), np.float32)


def _add(table: Table, name: str, told: list[bool]) -> None:
    table.add_row(name, str(len(told)), f"{np.mean(told):.1%}")


def _turns(caller: Samples, callee: Samples) -> tuple[Samples, Samples]:
    """Let them talk four seconds each."""
    first = np.arange(len(caller)) // (4 * RATE_HZ) % 2 == 0
    return caller * first, callee * ~first


def _cost_us(caller: Samples, callee: Samples) -> float:
    """Of the guard alone, at its best: windows are made beforehand."""
    heard = []
    windowers = {leg: Windower(3.0, 1.0, Activity()) for leg in (CALLER, CALLEE)}
    for at in range(0, SECONDS * RATE_HZ, BLOCK):
        for leg, samples in ((CALLER, caller), (CALLEE, callee)):
            block = samples[at : at + BLOCK]
            windows = [window for window in windowers[leg].push(at / RATE_HZ, block, 0) if window.speech_s >= 0.8]
            heard.append((leg, at / RATE_HZ, block, windows))

    def call() -> None:
        crosstalk = Crosstalk()
        for leg, start_s, block, windows in heard:
            crosstalk.add(leg, start_s, block, start_s)
            for window in windows:
                crosstalk.is_leak(leg, window)

    return 1e6 * min(_cpu_s(call) for _ in range(RUNS)) / (2 * SECONDS)


def _cpu_s(work: Callable[[], None]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


if __name__ == "__main__":
    main()
