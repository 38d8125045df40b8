"""Faults of the journal, made where they come from: the file system's limits and permissions, the bytes on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

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


async def test_a_journal_that_is_damaged_in_mid_call_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite3"
    async with gateway(tmp_path, before=bound_by_permissions) as running, asyncio.timeout(180):
        async with healthy_call(running):
            pass
        first = (await all_events(running, ""))[0]["id"]
        async with healthy_call(running):
            await asyncio.to_thread(overwrite, path)
            events = await all_events(running, first)  # reads what is damaged
            assert (events[0]["type"], events[0]["data"]["reason"]) == ("gap", "cursor_too_old")
        await until_logged(running, "journal is damaged: continuing in a new one; older events cannot be read")
        assert await running.ready() == []
        assert await running.metric("callscreen_journal_renewals_total") == 1
        assert await running.metric("callscreen_events_dropped_total") == 0
        assert (tmp_path / "j.sqlite3.damaged-1").is_file()
        last = (await all_events(running, events[0]["id"]))[-1]
    async with gateway(tmp_path) as running, asyncio.timeout(180):
        async with healthy_call(running):
            pass
        again = await all_events(running, last["id"])
    assert int(again[0]["sequence"]) == int(last["sequence"]) + 1
    assert again[0]["source"] == last["source"]


async def test_a_journal_that_nobody_may_write_any_more_is_still_written(tmp_path: Path) -> None:
    """The file is open: permissions are looked at when it is opened, the next time."""
    path = tmp_path / "j.sqlite3"
    async with gateway(tmp_path, before=bound_by_permissions) as running, asyncio.timeout(180):
        async with healthy_call(running):
            await asyncio.to_thread(path.chmod, 0o444)
            await asyncio.to_thread(tmp_path.chmod, 0o555)
        assert await running.ready() == []
        assert await running.metric("callscreen_journal_errors_total") == 0
    await asyncio.to_thread(tmp_path.chmod, 0o755)


async def all_events(running: Running, cursor: str) -> list[dict[str, Any]]:
    """Return what a subscriber gets at once: all after `cursor`, or from now on."""
    events: list[dict[str, Any]] = []
    after = f"last_event_id={cursor}" if cursor else "last_event_id=none-1"
    async with connect(f"{running.ws_url}/v1/events?{after}") as socket:
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(1):
                    events.append(json.loads(await socket.recv()))
    return events


def overwrite(path: Path) -> None:
    """Fill the file with what is no database, as a failing disk or another program may."""
    with path.open("r+b") as file:
        file.write(b"garbage!" * (path.stat().st_size // 8))
    wal = path.with_name(path.name + "-wal")
    with wal.open("r+b") as file:
        file.write(b"garbage!" * (wal.stat().st_size // 8))


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
        (damaged_row, "an open call is not stored as the start of a call. Move the file away"),
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
