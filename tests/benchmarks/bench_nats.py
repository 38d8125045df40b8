"""What forwarding an event to NATS JetStream costs, against bare publishing of the same messages.

    python -m tests.benchmarks.bench_nats [--calls 200] [--events 50]

The floor, in the same run: nats-py alone publishes the same texts, as many calls beside each other, and waits for each
acknowledgement. Of CPU, for the machine may be busy; the server's is that of nats-server.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
import psutil
from rich.console import Console
from rich.table import Table

from gateway.alerts.bus import Bus
from gateway.alerts.journal import Journal
from gateway.shared.node import SharedStream
from gateway.shared.settings import NatsSettings
from tests.gateway.alerts.events import score
from tests.gateway.shared.nats_server import PROGRAM, NatsServer, nats_server


@dataclass
class Cost:
    """Of all events together."""

    wall_s: float = 0.0
    own_s: float = 0.0
    server_s: float = 0.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--events", type=int, default=50, help="of each call")
    args = parser.parse_args(argv)
    if PROGRAM is None:
        Console().print("nats-server is not installed")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), args.calls, args.events))
    return 0


async def _measure(folder: Path, calls: int, events: int) -> None:
    journal = await asyncio.to_thread(Journal, folder / "j.sqlite3", 100 * calls * events)
    async with nats_server(folder / "nats") as server:
        bus = Bus(journal, queue_events=2 * calls * events)
        bus.start()
        for number in range(calls * events):
            bus.publish(score(call_id=f"CA{number % calls:032x}"))
        await bus.flush()
        texts = [entry.text for entry in await bus.read(0, calls * events)]
        bare, ours = Cost(), Cost()
        await _bare(server, texts, calls, bare)
        shared = SharedStream(NatsSettings.model_validate({"url": server.url}), bus)
        with _measured(server, ours):
            shared.start()
            while shared.warnings or shared._forwarder.backlog:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await shared.close()
        await bus.close()
        state = await _state(server)
    journal.close()
    table = Table("", "events/s", "own CPU an event", "nats-server's", "ratio of own CPU")
    for name, cost in (("nats-py alone", bare), ("forwarder", ours)):
        per_event = 1e6 / (calls * events)
        table.add_row(
            name,
            f"{calls * events / cost.wall_s:.0f}",
            f"{cost.own_s * per_event:.0f} µs",
            f"{cost.server_s * per_event:.0f} µs",
            f"{cost.own_s / bare.own_s:.2f}",
        )
    Console(width=110).print(table)
    Console().print(f"an event: {len(texts[0])} bytes of JSON, {state:.0f} bytes in the stream")


async def _bare(server: NatsServer, texts: list[str], calls: int, cost: Cost) -> None:
    client = await nats.connect(server.url)
    js = client.jetstream()
    await js.add_stream(name="bare", subjects=["bare.>"])

    async def one(call: int) -> None:
        for text in texts[call::calls]:
            await js.publish(f"bare.{call}", text.encode(), headers={"Nats-Msg-Id": f"{call}-{hash(text)}"})

    with _measured(server, cost):
        await asyncio.gather(*(one(call) for call in range(calls)))
    await client.close()


async def _state(server: NatsServer) -> float:
    client = await nats.connect(server.url)
    state = (await client.jetstream().stream_info("callscreen")).state
    await client.close()
    return state.bytes / state.messages


@contextmanager
def _measured(server: NatsServer, cost: Cost) -> Iterator[None]:
    process = psutil.Process(server.pid)
    wall_s, own_s, server_s = time.perf_counter(), time.process_time(), sum(process.cpu_times()[:2])
    yield
    cost.wall_s = time.perf_counter() - wall_s
    cost.own_s = time.process_time() - own_s
    cost.server_s = sum(process.cpu_times()[:2]) - server_s


if __name__ == "__main__":
    sys.exit(main())
