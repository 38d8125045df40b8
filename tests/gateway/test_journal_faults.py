"""Faults of the journal, made where they come from: the file system's limits and permissions, the bytes on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.alerts.journal import Journal
from tests.gateway.alerts.events import call_started
from tests.gateway.healthy import healthy_call
from tests.gateway.process import Running, gateway, refusal

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
FULL_BYTES = 64_000


async def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """No write beyond a file size gets through, in the middle of a call; then there is room again."""

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, resource.RLIM_INFINITY))

    async with gateway(tmp_path, before=full) as running, asyncio.timeout(180):
        async with healthy_call(running):
            while await running.ready() != ["the journal cannot be written"]:  # noqa: ASYNC110  it is another process
                await asyncio.sleep(0.1)
            await until_logged(running, "journal cannot be written: no event is sent until it can")
            assert await running.metric("callscreen_journal_errors_total") >= 1
            assert await running.metric("callscreen_events_queued") >= 1
            room = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, room)
        assert await running.ready() == []
        (line,) = running.logged("journal cannot be written: no event is sent until it can")
        assert line["level"] == "error"
        assert line["error"] in ("database or disk is full", "disk I/O error")
        assert len(running.logged("journal can be written again")) == 1
        assert await running.metric("callscreen_events_dropped_total") == 0


async def until_logged(running: Running, event: str) -> None:
    while not running.logged(event):  # noqa: ASYNC110  it is another process
        await asyncio.sleep(0.05)


def bound_by_permissions() -> None:
    """Even root: from now on the file system's permissions hold for this process."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def read_only(path: Path) -> None:
    Journal(path, 1000).close()
    path.chmod(0o444)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but it is long enough to look like one\n" * 100)


def damaged_row(path: Path) -> None:
    Journal(path, 1000).close()
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO open VALUES ('CA1', '', ?)", (call_started().model_dump_json(),))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (read_only, "attempt to write a readonly database. Expected a file, and a folder, that this user can write"),
        (garbage, "file is not a database. Move the file away to start a new journal"),
        (damaged_row, "a call that had not ended is stored as something else. Move the file away"),
    ],
)
async def test_a_journal_that_cannot_be_used_stops_the_start_with_what_to_do(
    tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    path = tmp_path / "j.sqlite3"
    await asyncio.to_thread(spoil, path)
    status, error = await refusal(tmp_path, before=bound_by_permissions)
    (line,) = error.splitlines()
    assert status == 2, error
    assert f"journal: {path}" in line
    assert told in line
