"""A NATS server with JetStream, as a process of its own that can be killed and started again on the same data."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.gateway.test_attacks import free_port

PROGRAM = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
installed = pytest.mark.skipif(PROGRAM is None, reason="nats-server is not installed")


class NatsServer:
    """One server; `start` after `kill` goes on with what was stored."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._port = free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        assert PROGRAM is not None
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM, "-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(self._folder), *self._options,
            stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def nats_server(folder: Path, *options: str) -> AsyncIterator[NatsServer]:
    """Run a server, with further options of its command line, for as long as the context is open."""
    server = NatsServer(folder, *options)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
