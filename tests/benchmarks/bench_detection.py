"""What one second of one leg costs the detector, stage by stage, on one core.

    python -m tests.benchmarks.bench_detection [--model NAME_OR_PATH] [--seconds 200]

Audio arrives in 20 ms packets, as from a telephone. The stages are timed one after the other over the same leg.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from detection import (
    DEFAULT_MODEL,
    SAMPLE_RATE_HZ,
    Activity,
    Decider,
    Policy,
    Samples,
    Score,
    Window,
    Windower,
    open_detector,
)
from tests.detection.sounds import speech

PACKET = SAMPLE_RATE_HZ // 50


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time the detector's stages.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seconds", type=int, default=200, help="length of the leg (default: %(default)s)")
    args = parser.parse_args()
    detector = open_detector(args.model)
    audio = np.resize(speech(), args.seconds * SAMPLE_RATE_HZ)
    windows: list[Window] = []
    windower = Windower(detector.window_s, detector.hop_s, Activity())
    frontend, decider = detector.frontend(), Decider(Policy())
    table = Table("stage", "µs per second of leg", title=detector.name)

    def stage(name: str, work: Callable[[], object]) -> None:
        start_s = time.process_time()
        work()
        table.add_row(name, f"{1e6 * (time.process_time() - start_s) / args.seconds:.0f}")

    activity = Activity()
    hop = round(detector.hop_s * SAMPLE_RATE_HZ)
    stage("speech activity alone", lambda: [activity.push(audio[at : at + hop]) for at in range(0, len(audio), hop)])
    stage("windows and speech activity", lambda: windows.extend(_play(audio, windower)))
    inputs: list[Samples] = []
    stage("front end", lambda: inputs.extend(frontend.inputs(window) for window in windows))
    stage("model, one window a batch", lambda: [detector.score(one[None]) for one in inputs])
    batches = [np.stack(inputs[at : at + 32]) for at in range(0, len(inputs), 32)]
    stage("model, 32 windows a batch", lambda: [detector.score(batch) for batch in batches])
    stage("decision", lambda: [decider.update(Score.of(window, -1.0)) for window in windows])
    Console().print(table)


def _play(audio: Samples, windower: Windower) -> list[Window]:
    windows: list[Window] = []
    for at in range(0, len(audio), PACKET):
        windows += windower.push(at / SAMPLE_RATE_HZ, audio[at : at + PACKET], 0.0)
    return windows


if __name__ == "__main__":
    main()
