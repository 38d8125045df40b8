"""How many two-party Twilio calls one machine holds, and what a call costs over the bare socket.

    python -m tests.benchmarks.bench_calls [--calls 10 50 100] [--seconds 20] [--verifier NAME] [--workers N]

Without a verifier unless one is named: it takes what CPU it is given, whatever the calls (`bench_verifier`).

The floor, in the same run: a bare websocket server on uvloop that receives the same messages and does nothing more.
Both servers get 100 messages a second and call (two tracks, 20 ms each), in real time, from one other process. Calls
start spread evenly over `STAGGER_S`, the hop of the windows, so that neither their frames nor their windows fall due in
one instant: no real load is so. A frame is sent when the audio in it has been spoken, not when it began.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from sim.load.sender import Pacer
from tests.benchmarks.processes import Server, gateway, served
from tests.gateway.wire import TWILIO_STOP, twilio_start

WARM_UP_S = 2
STAGGER_S = 1.0
CALLS_A_CORE, RATIO, MEDIAN_MS, P99_MS = 250, 2, 40, 100
"""Aims: with everything on but the verifier, at least and at most; the median at 10 calls, the last at 100."""


@dataclass(frozen=True)
class Load:
    """What happened while the calls played."""

    cpu_s: float
    seconds: float
    lags_ms: list[float]
    """From the moment the last sample of a window was spoken, and so sent, to its score on a subscriber's socket."""
    sender_late_ms: float
    """How late the sender itself was, at worst: beyond 200 ms the machine is full and the figures are about that."""
    skipped: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--seconds", type=int, default=20, help="of each load")
    parser.add_argument("--verifier", default="off", metavar="NAME")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes of the gateway (1)")
    parser.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.floor:
        uvloop.run(_bare_server())
        return 0
    table = Table(
        "calls", "gateway CPU", "bare CPU", "ratio", "ms CPU/call·s", "window → event p50 / p99", "skipped", "held"
    )
    aims = Table("what", "measured", "aim", "met")
    for calls in args.calls:
        bare, ours = _measure(calls, args.seconds, args.verifier, args.workers)
        held = ours.skipped == 0 and ours.sender_late_ms < 200 and np.percentile(ours.lags_ms, 99) < 1000
        table.add_row(
            str(calls),
            f"{ours.cpu_s / ours.seconds:.0%}",
            f"{bare.cpu_s / bare.seconds:.0%}",
            f"{ours.cpu_s / bare.cpu_s:.2f}",
            f"{1000 * ours.cpu_s / ours.seconds / calls:.1f}",
            f"{np.percentile(ours.lags_ms, 50):.0f} / {np.percentile(ours.lags_ms, 99):.0f} ms",
            f"{ours.skipped:.0f}",
            "yes" if held else f"no (sender late {ours.sender_late_ms:.0f} ms)",
        )
        for what, measured, aim in _aims(calls, bare, ours):
            is_met = measured >= aim if aim == CALLS_A_CORE else measured <= aim
            aims.add_row(what, f"{measured:.3g}", f"{aim:g}", "yes" if is_met else "no")
    Console(width=120).print(table, aims)
    return 0


def _aims(calls: int, bare: Load, ours: Load) -> Iterator[tuple[str, float, float]]:
    """Yield what was aimed at, and how near so many calls come to it."""
    yield f"calls a core, as of {calls}", calls * ours.seconds / ours.cpu_s, CALLS_A_CORE
    yield f"CPU over the bare server's, {calls} calls", ours.cpu_s / bare.cpu_s, RATIO
    if calls <= 10:
        yield f"window → event, median ms, {calls} calls", float(np.percentile(ours.lags_ms, 50)), MEDIAN_MS
    if calls <= 100:
        yield f"window → event, p99 ms, {calls} calls", float(np.percentile(ours.lags_ms, 99)), P99_MS


def _measure(calls: int, seconds: int, verifier: str, workers: int) -> tuple[Load, Load]:
    with tempfile.TemporaryDirectory() as folder:
        with served("-m", "tests.benchmarks.bench_calls", "--floor") as bare:
            floor = loaded(bare, calls, seconds, subscribe=False)
        command, environ = gateway(
            Path(folder),
            max_calls=str(calls + 1),
            subscriber_queue_events="100000",
            verifier=verifier,
            workers=str(workers),
        )
        with served(*command, **environ) as ours:
            return floor, loaded(ours, calls, seconds, subscribe=True)


def loaded(server: Server, calls: int, seconds: int, *, subscribe: bool) -> Load:
    """Play `calls` calls from another process; measure the server meanwhile."""
    ours, theirs = Pipe()
    player = Process(target=_play, args=(server.url, calls, seconds, subscribe, theirs))
    player.start()
    ours.recv()  # all connected, two seconds played
    cpu_s, began_s = server.cpu_s(), time.monotonic()
    ours.recv()  # played
    cpu_s, took_s = server.cpu_s() - cpu_s, time.monotonic() - began_s
    lags_ms, late_ms = ours.recv()
    player.join()
    skipped = metric(server.url, 'callscreen_windows_total{outcome="skipped"}') if subscribe else 0.0
    return Load(cpu_s, took_s, lags_ms, late_ms, skipped)


def metric(url: str, name: str) -> float:
    """Return the sum of a gateway's metrics whose names begin so."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def _play(url: str, calls: int, seconds: int, subscribe: bool, report: Connection) -> None:
    uvloop.run(_play_calls(url.replace("http", "ws", 1), calls, seconds, subscribe, report))


async def _play_calls(url: str, calls: int, seconds: int, subscribe: bool, report: Connection) -> None:
    pacer = Pacer()
    sockets = [
        await connect(f"{url}/v1/media/twilio", compression=None, ping_interval=None, max_queue=None)
        for _ in range(calls)
    ]
    lags_ms: list[float] = []
    for index, socket in enumerate(sockets):
        await socket.send(twilio_start(f"CA{index}"))
    first_s = time.monotonic()
    begun_s = {f"CA{index}": first_s + STAGGER_S * index / calls for index in range(calls)}
    follower = asyncio.create_task(_follow(url, begun_s, lags_ms)) if subscribe else None
    for socket, began_s in zip(sockets, begun_s.values(), strict=True):
        pacer.add(socket, began_s)
    late_s = await _pace(pacer, first_s, seconds, report)
    report.send("played")
    if follower:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
    for socket in sockets:
        await socket.send(TWILIO_STOP)
        await socket.close()
    report.send((lags_ms, 1000 * late_s))


async def _pace(pacer: Pacer, first_s: float, seconds: int, report: Connection) -> float:
    """Send every call's frames until the first has sent all of its own; return how late a frame was, once warmed up."""
    await pacer.run(first_s + WARM_UP_S)
    pacer.late_s = 0.0
    report.send("playing")
    await pacer.run(first_s + WARM_UP_S + seconds)
    return pacer.late_s


async def _follow(url: str, begun_s: dict[str, float], lags_ms: list[float]) -> None:
    async with connect(f"{url}/v1/events?type=score", max_queue=None) as events:
        async for message in events:
            data = json.loads(message)["data"]
            lags_ms.append(1000 * (time.monotonic() - begun_s[data["call_id"]] - data["media_time_s"]))


async def _bare_server() -> None:
    async def receive(socket: ServerConnection) -> None:
        async for _message in socket:
            pass

    async with serve(receive, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"http://{host}:{port}", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    sys.exit(main())
