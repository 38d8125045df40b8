"""A gateway as an operator runs it: a process of its own, with its log and metrics, that can be limited and killed."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import REPOSITORY

START_S = 120.0


@dataclass
class Running:
    """One gateway."""

    process: Process
    url: str
    trust: ssl.SSLContext | None = None
    """What trusts its certificate, where it speaks TLS."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """What it logged so far."""

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        return host, int(port)

    def web(self) -> httpx.AsyncClient:
        """Return a client of it, to be opened."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, verify=self.trust or False)

    def logged(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """Return the lines of that event, with those facts."""
        return [line for line in self.log if line["event"] == event and facts.items() <= line.items()]

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all that has these labels."""
        async with self.web() as web:
            text = (await web.get("/metrics")).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())

    async def ready(self) -> list[str]:
        """Return the reasons for which no call should be sent here."""
        async with self.web() as web:
            reasons: list[str] = (await web.get("/readyz")).json()["reasons"]
        return reasons


async def start(
    folder: Path, toml: str = "", port: int = 0, before: Callable[[], None] | None = None
) -> tuple[Process, str]:
    """Start a gateway; return it with what it said first: where it listens, or nothing where it did not start.

    Args:
        folder: its journal, and the settings in `toml`, are there.
        before: called in the new process: limits, another user.
    """
    settings = folder / "callscreen.toml"
    settings.write_text(f'port = {port}\nverifier = "off"\nmax_burst_s = 600\nlog_format = "json"\n{toml}')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", "--config", str(settings), "--journal", str(folder / "j.sqlite3"),
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=REPOSITORY, preexec_fn=before, limit=1 << 20,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            said = (await process.stdout.readline()).decode()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process, said


@asynccontextmanager
async def gateway(
    folder: Path,
    toml: str = "",
    port: int = 0,
    before: Callable[[], None] | None = None,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Running]:
    """Run a gateway for as long as the context is open, if it is not killed before.

    Args:
        trust: where it speaks TLS, what trusts its certificate.
    """
    process, said = await start(folder, toml, port, before)
    running = Running(process, said.rpartition(" ")[2].strip(), trust)
    reading = asyncio.create_task(_read(process, running.log))
    try:
        assert running.url.startswith("https://" if trust else "http://"), "it starts"
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(60):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            await reading


async def refusal(folder: Path, toml: str = "", before: Callable[[], None] | None = None) -> tuple[int, str]:
    """Start a gateway that must not start; return its exit status and what it said on standard error."""
    process, said = await start(folder, toml, before=before)
    assert said == "", f"it started: {said}"
    assert process.stderr is not None
    error = (await process.stderr.read()).decode()
    return await process.wait(), error


async def _read(process: Process, log: list[dict[str, Any]]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        try:
            log.append(json.loads(line))
        except ValueError:
            log.append({"event": line.decode().rstrip()})
