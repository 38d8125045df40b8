"""Whether a gateway keeps its memory, descriptors, tasks and delay over a long time, and what a call leaves behind.

    python -m tests.benchmarks soak [--minutes 30] [--calls 20] [--call-s 60] [--short 10000] [--plot soak.png]

Virtual callers over real sockets keep `--calls` two-party Twilio calls going, each of `--call-s`, one after another,
in real time. Then `--short` calls of a fifth of a second follow, some at once: memory after 100 of them against memory
after all tells of leaks that hours of few calls do not. The floor of all figures is the same gateway before any call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect

from sim.load.sender import FRAMES_A_SECOND, Frames
from tests.benchmarks.bench_calls import metric
from tests.benchmarks.processes import Server, gateway, served
from tests.gateway.wire import TWILIO_STOP, twilio_start

AT_ONCE = 20
"""Short calls at a time."""
SHORT_FRAMES = 10
FIRST = 100
SETTLE_S = 2.0
"""For the gateway to end calls and write their events, before it is looked at."""


@dataclass(frozen=True)
class Sample:
    """What the gateway is like at one moment."""

    at_s: float
    calls: int
    rss_mb: float
    descriptors: int
    tasks: int
    journal_bytes: int
    lags_ms: list[float]
    """Of the scores since the sample before."""

    def cells(self) -> Iterable[str]:
        lag = "{:.0f} / {:.0f}".format(*np.percentile(self.lags_ms, (50, 99))) if self.lags_ms else ""
        yield from (f"{self.at_s:.0f} s", f"{self.calls}", f"{self.rss_mb:.1f}", f"{self.descriptors}")
        yield from (f"{self.tasks}", lag)


@dataclass
class Soak:
    """One gateway under watch."""

    server: Server
    journal: Path
    began_s: float = field(default_factory=time.monotonic)
    begun_s: dict[str, float] = field(default_factory=dict)
    """When each call began, by its id."""
    lags_ms: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.server.url.replace("http", "ws", 1) + "/v1/"

    async def sample(self) -> Sample:
        """Look at it now."""
        lags_ms, self.lags_ms = self.lags_ms, []
        calls, tasks = [
            int(await asyncio.to_thread(metric, self.server.url, name))
            for name in ("callscreen_calls ", "callscreen_tasks ")
        ]
        return Sample(
            time.monotonic() - self.began_s,
            calls,
            self.server.rss_mb(),
            self.server.process.num_fds(),
            tasks,
            sum(file.stat().st_size for file in self.journal.parent.glob(f"{self.journal.name}*")),
            lags_ms,
        )

    async def follow(self) -> None:
        """Note how late each score is; never ends."""
        async with connect(f"{self.url}events?type=score", max_queue=None) as events:
            async for message in events:
                data = json.loads(message)["data"]
                if (begun_s := self.begun_s.get(data["call_id"])) is not None:  # else the call has just ended
                    self.lags_ms.append(1000 * (time.monotonic() - begun_s - data["media_time_s"]))

    async def call(self, call_id: str, frames: list[bytes], frame_s: float) -> None:
        """Play a call from beginning to end."""
        async with connect(f"{self.url}media/twilio", compression=None, ping_interval=None) as socket:
            await socket.send(twilio_start(call_id))
            began_s = self.begun_s[call_id] = time.monotonic()
            for index, frame in enumerate(frames):
                socket.transport.write(frame)
                await asyncio.sleep(max(0.0, began_s + (index + 2) * frame_s - time.monotonic()))
            await socket.send(TWILIO_STOP)
            await socket.wait_closed()
        del self.begun_s[call_id]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--call-s", type=float, default=60)
    parser.add_argument("--every-s", type=float, default=10, help="between two looks")
    parser.add_argument("--short", type=int, default=10_000, help="calls of 0.2 s afterwards")
    parser.add_argument("--plot", type=Path, default=Path("soak.png"))
    uvloop.run(_soak(parser.parse_args(argv)))
    return 0


async def _soak(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command, environ = gateway(Path(folder), max_calls=str(2 * args.calls + AT_ONCE), verifier="off")
        with served(*command, **environ) as server:
            soak = Soak(server, Path(folder) / "bench.sqlite3")
            console = Console(width=120)
            before = await soak.sample()
            samples, played = await _long_calls(soak, args)
            table = Table("time", "calls", "RSS MB", "descriptors", "tasks", "window → event ms p50 / p99")
            for sample in (before, *samples):
                table.add_row(*sample.cells())
            console.print(table)
            _plot([before, *samples], args.plot)
            console.print(f"plot: {args.plot}")
            busy = max(samples, key=lambda sample: sample.calls)
            legs = 2 * busy.calls
            table = Table("what", "measured")
            table.add_row(f"RSS a leg, {legs} legs", f"{(busy.rss_mb - before.rss_mb) * 1000 / max(1, legs):.0f} kB")
            written = samples[-1].journal_bytes - before.journal_bytes
            table.add_row(f"journal a call of {args.call_s:g} s", f"{written / max(1, played) / 1000:.1f} kB")
            for name, value in (await _short_calls(soak, args.short)).items():
                table.add_row(name, value)
            console.print(table)


async def _long_calls(soak: Soak, args: argparse.Namespace) -> tuple[list[Sample], int]:
    """Return what was seen while calls came and went, and at last when all were gone; and how many there were."""
    frames = Frames().first(round(args.call_s * FRAMES_A_SECOND))
    until_s = time.monotonic() + 60 * args.minutes
    played = 0

    async def caller(number: int) -> None:
        nonlocal played
        await asyncio.sleep(args.call_s * number / args.calls)  # calls do not begin at once
        while time.monotonic() < until_s:
            played += 1
            await soak.call(f"CA{number}-{played}", frames, 1 / FRAMES_A_SECOND)

    follower = asyncio.create_task(soak.follow())
    callers = asyncio.gather(*(caller(number) for number in range(args.calls)))
    samples = []
    while not callers.done():
        await asyncio.wait([callers], timeout=args.every_s)
        samples.append(await soak.sample())
    await callers
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    await asyncio.sleep(SETTLE_S)
    return [*samples, await soak.sample()], played


async def _short_calls(soak: Soak, count: int) -> dict[str, str]:
    """Play `count` calls, `AT_ONCE` at a time; return what they leave behind."""
    frames, numbers = Frames().first(SHORT_FRAMES), iter(range(count))

    async def play(most: int) -> Sample:
        async def caller() -> None:
            for number in numbers:
                await soak.call(f"short-{number}", frames, 1 / FRAMES_A_SECOND / 4)
                if number >= most - AT_ONCE:
                    return

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        await asyncio.sleep(SETTLE_S)
        return await soak.sample()

    first = await play(FIRST)
    last = await play(count)
    calls = max(1, count - FIRST)
    return {
        f"RSS after {FIRST} short calls": f"{first.rss_mb:.1f} MB",
        f"RSS after {count}": f"{last.rss_mb:.1f} MB, {(last.rss_mb - first.rss_mb) * 1e6 / calls:.0f} bytes a call",
        "descriptors, tasks": f"{first.descriptors}, {first.tasks} -> {last.descriptors}, {last.tasks}",
        "journal a short call": f"{(last.journal_bytes - first.journal_bytes) / calls / 1000:.1f} kB",
    }


def _plot(samples: list[Sample], path: Path) -> None:
    """Draw all over time, one below the other."""
    import matplotlib as mpl  # slow to import

    mpl.use("Agg")
    from matplotlib import pyplot

    minutes = [sample.at_s / 60 for sample in samples]
    lag_ms = [float(np.percentile(sample.lags_ms, 99)) if sample.lags_ms else np.nan for sample in samples]
    series = {
        "calls": [sample.calls for sample in samples],
        "RSS, MB": [sample.rss_mb for sample in samples],
        "descriptors": [sample.descriptors for sample in samples],
        "tasks": [sample.tasks for sample in samples],
        "p99 of window → event, ms": lag_ms,
    }
    figure, axes = pyplot.subplots(len(series), sharex=True, figsize=(8, 2 * len(series)), layout="constrained")
    for axis, (name, values) in zip(axes, series.items(), strict=True):
        axis.plot(minutes, values)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
