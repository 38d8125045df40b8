"""Deletes events that have reached their maximum age from the journal.  [IO]"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from gateway import logs
from gateway.alerts.bus import Bus
from gateway.clock import utc_now

INTERVAL_S = 600.0
"""Between two runs; an event may stay longer than its maximum age by this time."""
BATCH_EVENTS = 1000
"""Deleted in one transaction, which holds up the writer for some 15 ms."""
BATCH_PAGES = 256
"""Returned to the file system in one transaction: 1 MB."""
_log = logs.get(__name__)


@asynccontextmanager
async def retaining(bus: Bus, max_days: float | None) -> AsyncIterator[None]:
    """While the body runs, delete events older than `max_days` days and shrink the file; None: only shrink it."""
    task = asyncio.create_task(_retain(bus, max_days), name="journal-retention")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _retain(bus: Bus, max_days: float | None) -> None:
    while not bus.stopped:
        try:
            if max_days is not None:
                before = utc_now() - timedelta(days=max_days)
                deleted = 0
                while more := await bus.maintain(partial(bus.journal.expire, before, BATCH_EVENTS)):
                    deleted += more
                if deleted:
                    _log.info("old events deleted", events=deleted)
            await bus.maintain(partial(bus.journal.shrink, BATCH_PAGES))
        except (sqlite3.Error, OSError) as error:
            _log.warning("old events cannot be deleted", error=str(error))
        await asyncio.sleep(INTERVAL_S)
