"""A gateway that only publishes, to be killed: ``python -m tests.gateway.alerts.publisher JOURNAL PORT``.

Serves the events of the journal, and publishes calls without end, as fast as they are committed.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

import uvloop

from gateway.alerts.bus import Bus
from gateway.alerts.journal import Journal
from tests.gateway.alerts.events import alert, call_started, leg_started, served


async def main(path: Path, port: int) -> None:
    """Publish until killed."""
    bus = Bus(Journal(path, max_events=1_000_000))
    bus.start()
    async with served(bus, port) as gateway:
        print(gateway.url, flush=True)
        for number in itertools.count(bus.committed):
            call_id = f"CA{number}"
            for data in (call_started(call_id), leg_started(call_id), *[alert(call_id=call_id)] * 5):
                bus.publish(data)
            await bus.flush()
            await asyncio.sleep(0.002)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), int(sys.argv[2])))
