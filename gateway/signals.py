"""When a process is told to end.  [IO]"""

from __future__ import annotations

import asyncio
import signal


def signalled() -> asyncio.Future[None]:
    """Return a future that is done when SIGTERM or SIGINT came. SIGHUP does nothing yet."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()

    def come() -> None:
        if not came.done():
            came.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, come)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    return came
