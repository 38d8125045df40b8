"""Signals that end a process.  [IO]"""

from __future__ import annotations

import asyncio
import signal


def signalled() -> asyncio.Future[None]:
    """Return a future that is done after SIGTERM or SIGINT. SIGHUP is ignored until another handler is set."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def on_signal() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    return stop
