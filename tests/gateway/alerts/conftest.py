"""A journal in a temporary folder, and a bus on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.alerts.bus import Bus
from gateway.alerts.journal import Journal
from tests.gateway.alerts.events import running


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Return an empty journal."""
    journal = Journal(tmp_path / "journal.sqlite3", max_events=100_000)
    yield journal
    journal.close()


@pytest_asyncio.fixture
async def bus(journal: Journal) -> AsyncIterator[Bus]:
    """Return a started bus on the journal."""
    async with running(Bus(journal)) as bus:
        yield bus
