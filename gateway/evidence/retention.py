"""Deletes evidence that has reached its maximum age.  [IO]"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from prometheus_client import Counter

from gateway import logs
from gateway.clock import utc_now
from gateway.evidence.folder import Folder
from gateway.evidence.settings import EvidenceSettings

INTERVAL_S = 3600.0
PURGED = Counter("callscreen_evidence_purged_total", "Files of evidence that were deleted for their age.")
_log = logs.get(__name__)


@asynccontextmanager
async def purging(settings: EvidenceSettings | None) -> AsyncIterator[None]:
    """While the body runs, delete evidence older than `max_days` days, now and every hour; None: do nothing."""
    if settings is None:
        yield
        return
    task = asyncio.create_task(_purge(settings), name="evidence-retention")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _purge(settings: EvidenceSettings) -> None:
    folder = Folder(settings.folder)
    while True:
        try:
            purged = await asyncio.to_thread(folder.purge, utc_now() - timedelta(days=settings.max_days))
        except OSError as error:
            _log.warning("old evidence cannot be deleted", error=str(error))
        else:
            PURGED.inc(purged)
            if purged:
                _log.info("old evidence deleted", files=purged)
        await asyncio.sleep(INTERVAL_S)
