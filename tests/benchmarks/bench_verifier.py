"""Whether the verifier costs the light model anything: its delay with and without one, under the same load.

    python -m tests.benchmarks.bench_verifier [--verifier NAME_OR_PATH] [--calls 25] [--seconds 30] [--rounds 2]

The floor, in the same run: the same gateway with `verifier = "off"`. The verifier may take a whole core, and more
speech comes than it can hear with that, so that it never rests. Where the sender itself was late, the machine was full,
and the figures are about that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from detection import VERIFIER
from tests.benchmarks.bench_calls import Load, loaded, metric
from tests.benchmarks.processes import gateway, served

VERIFIED = 'callscreen_verifier_windows_total{outcome="scored"}'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verifier", default=VERIFIER or "tinyaudionet", metavar="NAME_OR_PATH")
    parser.add_argument("--calls", type=int, default=25)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2, help="off and on, in turn")
    args = parser.parse_args(argv)
    rounds: dict[str, list[tuple[Load, float]]] = {"off": [], args.verifier: []}
    for _ in range(args.rounds):
        for verifier, loads in rounds.items():
            loads.append(_measure(verifier, args.calls, args.seconds))
    table = Table(
        "verifier",
        "gateway CPU",
        "window → event p50 / p99",
        "ratio",
        "skipped",
        "windows verified a minute",
        "sender late",
    )
    floor_ms = _percentile(rounds["off"], 99)
    for verifier, loads in rounds.items():
        seconds = sum(load.seconds for load, _ in loads)
        table.add_row(
            verifier,
            f"{sum(load.cpu_s for load, _ in loads) / seconds:.0%}",
            f"{_percentile(loads, 50):.0f} / {_percentile(loads, 99):.0f} ms",
            f"{_percentile(loads, 99) / floor_ms:.2f}",
            f"{sum(load.skipped for load, _ in loads):.0f}",
            f"{60 * sum(answers for _, answers in loads) / seconds:.0f}",
            f"{max(load.sender_late_ms for load, _ in loads):.0f} ms",
        )
    Console(width=120).print(table)
    return 0


def _measure(verifier: str, calls: int, seconds: int) -> tuple[Load, float]:
    """Return the load, and how many windows were verified."""
    settings = {"verifier": verifier, "verifier_cpu_share": "1", "alert_p": "0.999"}
    with tempfile.TemporaryDirectory() as folder:
        command, environ = gateway(Path(folder), max_calls=str(calls + 1), subscriber_queue_events="100000", **settings)
        with served(*command, **environ) as server:
            load = loaded(server, calls, seconds, subscribe=True)
            return load, metric(server.url, VERIFIED)


def _percentile(loads: list[tuple[Load, float]], percent: int) -> float:
    return float(np.percentile([lag_ms for load, _ in loads for lag_ms in load.lags_ms], percent))


if __name__ == "__main__":
    sys.exit(main())
