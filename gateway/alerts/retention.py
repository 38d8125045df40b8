"""Deletes events from the journal that are older than they may become.  [IO]"""

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

EVERY_S = 600.0
"""Between two looks for old events; so much longer than it may an event stay."""
EVENTS_AT_ONCE = 1000
"""Deleted in one go: what holds up the writer for some 15 ms."""
PAGES_AT_ONCE = 256
"""Given back to the file system in one go: 1 MB."""
_log = logs.get(__name__)


@asynccontextmanager
async def retaining(bus: Bus, max_days: float | None) -> AsyncIterator[None]:
    """Delete what is older than `max_days` days, and give room back, while the body runs; None: keep by count alone."""
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
                while more := await bus.maintain(partial(bus.journal.expire, before, EVENTS_AT_ONCE)):
                    deleted += more
                if deleted:
                    _log.info("old events deleted", events=deleted)
            await bus.maintain(partial(bus.journal.shrink, PAGES_AT_ONCE))
        except (
            sqlite3.Error,
            OSError,
        ) as error:
            _log.warning("old events cannot be deleted", error=str(error))
        await asyncio.sleep(EVERY_S)
