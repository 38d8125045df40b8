"""Evidence of a gateway of two processes, as an operator runs it: one folder, one limit, one purge; a full disk."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect

from gateway.evidence.age import decryption, new_pair
from gateway.evidence.clip import tags_of
from gateway.evidence.folder import Folder
from gateway.workers.routing import owner
from tests.gateway.loudness import speech
from tests.gateway.process import Running, gateway
from tests.gateway.wire import pcm

PRIVATE, PUBLIC = new_pair()
MOST_BYTES = 100_000
"""Room for one file of 4 s, and not for two."""


def call_of(process: int, number: int) -> str:
    """Return a call that falls to one of two processes."""
    names = (name for name in map("call-{}".format, itertools.count()) if owner(name, 2) == process)
    return next(itertools.islice(names, number, None))


async def evidence_of(running: Running, call_id: str) -> dict[str, Any]:
    """Play a synthetic voice until its evidence is told of; return that."""
    media = f"{running.ws_url}/v1/media/plain?call_id={call_id}&leg=caller&encoding=s16le&rate=16000"
    events = f"{running.ws_url}/v1/events?type=alert.evidence&call_id={call_id}"
    async with connect(events) as told, connect(media) as caller, asyncio.timeout(90):
        playing = asyncio.create_task(_play(caller))
        try:
            data: dict[str, Any] = json.loads(await told.recv())["data"]
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
    return data


async def _play(caller: Any) -> None:
    """Some eight times as fast as people speak, so that a slow machine can follow."""
    for index, frame in enumerate(pcm(speech(120, synthetic=True))):
        await caller.send(frame)
        if index % 50 == 49:
            await asyncio.sleep(0.12)


def an_old_file(folder: Path) -> Path:
    """Leave a file that was stored too long ago, as before a restart."""
    before = Folder(folder)
    before.make()
    before.write((None, "before", "caller", "0" * 32), b"x" * (MOST_BYTES - 1), 10**9)
    (file,) = folder.glob("_/before/*.age")
    ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(file, (ago, ago))
    return file


@pytest.mark.slow
async def test_two_processes_have_one_folder_one_limit_and_one_purge(tmp_path: Path) -> None:
    folder, key = tmp_path / "evidence", tmp_path / "evidence.key"
    key.write_text(PRIVATE)
    old = an_old_file(folder)
    toml = (
        f'workers = 2\n[evidence]\nfolder = "{folder}"\npublic_keys = ["{PUBLIC}"]\n'
        f"before_s = 3\nafter_s = 1\nmax_days = 1\nmax_bytes = {MOST_BYTES}\n"
    )
    async with gateway(tmp_path, toml) as running:
        async with asyncio.timeout(30):
            while not running.logged("old evidence deleted", files=1):  # noqa: ASYNC110  the log is written elsewhere
                await asyncio.sleep(0.05)
        assert not old.exists()
        first, second = call_of(0, 0), call_of(1, 0)
        stored = await evidence_of(running, first)
        assert (stored["outcome"], stored["reason"]) == ("stored", "stored"), "the purge has made room"
        refused = await evidence_of(running, second)
        assert (refused["outcome"], refused["reason"]) == ("lost", "limit_reached"), "the limit is that of both"

        async with httpx.AsyncClient(base_url=running.url) as web:
            (entry,) = (await web.get(f"/v1/evidence/{first}")).json()["evidence"]
            file = await web.get(f"/v1/evidence/{first}/{entry['alert_id']}")
            assert tags_of(decryption(key)(file.content))["CALL_ID"] == first
            assert (await web.delete(f"/v1/evidence/{first}")).json() == {"deleted": 1}
        (worker,) = psutil.Process(running.process.pid).children()
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # no room for a file
        full = await evidence_of(running, call_of(1, 1))
        assert (full["outcome"], full["reason"]) == ("lost", "disk_full"), "the limit has room again, the disk has none"
        assert [path.name for path in folder.rglob("*") if path.is_file()] == [".lock"], "no part of a file is left"
        assert not running.logged("worker died")
