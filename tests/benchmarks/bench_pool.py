"""What a verified window costs over the pool, against the same window in the gateway's own process.

    python -m tests.benchmarks.bench_pool [--verifier specnet] [--windows 200] [--rounds 3]

The floor, in the same run: a `Scorer` in this process, as a gateway without a pool has it. Over the pool, this process
is the gateway's side, a `callscreen verifier` process scores, and a NATS server is between them. Of CPU, for the
machine may be busy; the rounds alternate. Some windows are under way at any time, so that nobody rests.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from detection import VERIFIER, Frontend, Score, Window, open_detector
from gateway import clock
from gateway.call.scorer import Fifo, Scorer, Scoring
from gateway.call.verification import METERS
from gateway.pool import messages
from gateway.pool.scorer import PoolScorer
from gateway.shared.settings import NatsSettings
from tests.benchmarks.processes import served
from tests.gateway.shared.nats_server import PROGRAM, NatsServer, nats_server

AT_ONCE = 4


@dataclass
class Cost:
    """Of all windows together, in seconds."""

    windows: int = 0
    cpu_s: dict[str, float] = field(default_factory=dict)
    """By process."""
    took_s: list[float] = field(default_factory=list)


class Leg:
    """Offers windows, some at once, until all are scored."""

    def __init__(self, scoring: Scoring, windows: list[Window], model: str) -> None:
        self.frontend: Frontend = open_detector(model, backend="elsewhere").frontend()
        self._scoring = scoring
        self._left = list(windows)
        self._due = len(windows)
        self.took_s: list[float] = []
        self.done = asyncio.Event()

    def start(self) -> None:
        for _ in range(AT_ONCE):
            self._offer()

    def scored(self, window: Window, score: Score, received_s: float) -> None:
        self.took_s.append(clock.monotonic_s() - received_s)
        self._settle()

    def skipped(self, window: Window) -> None:
        self._settle()

    def _settle(self) -> None:
        self._due -= 1
        self._offer()
        if not self._due:
            self.done.set()

    def _offer(self) -> None:
        if self._left:
            window = self._left.pop()
            asyncio.get_running_loop().call_soon(lambda: self._scoring.offer(self, window, clock.monotonic_s()))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verifier", default=VERIFIER or "tinyaudionet", metavar="NAME_OR_PATH")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="here and over the pool, in turn")
    args = parser.parse_args(argv)
    if PROGRAM is None:
        Console().print("nats-server is not installed")
        return 0
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):  # as in a gateway
        asyncio.run(_measure(Path(folder), args.verifier, args.windows, args.rounds))
    return 0


async def _measure(folder: Path, model: str, windows: int, rounds: int) -> None:
    here, pool = Cost(), Cost()
    noise = np.random.default_rng(0)
    asked = [_window(noise.integers(-3000, 3000, 48_000)) for _ in range(windows)]
    async with nats_server(folder) as server:
        with served("-m", "gateway", "verifier", "--nats", server.url, "--model", model, "--port", "0") as verifier:
            own = Scorer(open_detector(model), Fifo(AT_ONCE), 1, METERS)
            away = PoolScorer(
                open_detector(model, backend="elsewhere"),
                Fifo(AT_ONCE),
                METERS,
                NatsSettings.model_validate({"url": server.url, "verifier_pool": True}),
            )
            for scoring in (own, away):
                scoring.start()
            while away.fault is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            processes = {
                "gateway": psutil.Process(),
                "verifier": verifier.process,
                "nats-server": psutil.Process(server.pid),
            }
            for scoring in (own, away):  # what the first windows cost is not what the others do
                await _score(scoring, asked[:8], model, processes, Cost())
            for _ in range(rounds):
                await _score(own, asked, model, {"gateway": psutil.Process()}, here)
                await _score(away, asked, model, processes, pool)
            for scoring in (own, away):
                await scoring.close()
            job_bytes = await _job_bytes(server, messages.to_bytes(asked[0].samples))
    _show(here, pool, job_bytes)


async def _score(
    scoring: Scoring, windows: list[Window], model: str, processes: dict[str, psutil.Process], cost: Cost
) -> None:
    leg = Leg(scoring, windows, model)
    with _measured(processes, cost):
        leg.start()
        await leg.done.wait()
    cost.windows += len(leg.took_s)
    cost.took_s += leg.took_s


def _window(samples: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Window:
    return Window(0.0, samples.astype(np.float32) / np.float32(32_767), len(samples), 3.0, 3.0)


async def _job_bytes(server: NatsServer, body: bytes) -> int:
    """Return what a job takes in the stream."""
    client = await nats.connect(server.url)
    js = client.jetstream()
    await js.publish(messages.job("callscreen", "none", "0" * 16, 123), body)
    state = (await js.stream_info(messages.jobs_stream("callscreen"))).state
    await client.close()
    return state.bytes // state.messages


@contextmanager
def _measured(processes: dict[str, psutil.Process], cost: Cost) -> Iterator[None]:
    before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
    before["gateway"] = time.process_time()  # finer
    yield
    for name, process in processes.items():
        now_s = time.process_time() if name == "gateway" else sum(process.cpu_times()[:2])
        cost.cpu_s[name] = cost.cpu_s.get(name, 0.0) + now_s - before[name]


def _show(here: Cost, pool: Cost, job_bytes: int) -> None:
    table = Table("", "gateway CPU a window", "verifier", "nats-server", "all", "ratio", "p50 of a window")
    floor_ms = 1e3 * sum(here.cpu_s.values()) / here.windows
    for name, cost in (("in the gateway", here), ("over the pool", pool)):
        ms = {process: 1e3 * cpu_s / cost.windows for process, cpu_s in cost.cpu_s.items()}
        table.add_row(
            name,
            *(f"{ms[process]:.2f} ms" if process in ms else "-" for process in ("gateway", "verifier", "nats-server")),
            f"{sum(ms.values()):.2f} ms",
            f"{sum(ms.values()) / floor_ms:.2f}",
            f"{1e3 * float(np.median(cost.took_s)):.0f} ms",
        )
    Console(width=120).print(table)
    Console().print(f"a job: {job_bytes} bytes in the stream; {AT_ONCE} windows at once")


if __name__ == "__main__":
    sys.exit(main())
