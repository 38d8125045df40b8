"""What tests of the pool are made of: a leg that collects, and verifiers in this process and in others."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from detection import Frontend, Score, Window, open_detector
from gateway.call.scorer import Fifo
from gateway.call.verification import METERS
from gateway.pool.scorer import PoolScorer
from gateway.pool.worker import PoolVerifier
from gateway.shared.settings import NatsSettings
from tests.conftest import REPOSITORY

MODEL, OTHER = "tinystatnet", "tinyaudionet"
"""Light models, for it is not the point how long they take."""


async def until(holds: Callable[[], Any], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.01)


async def until_told(holds: Callable[[], Awaitable[bool]], within_s: float = 60) -> None:
    """The same of what must be asked."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110  it is another process
            await asyncio.sleep(0.02)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def window(seed: int = 0) -> Window:
    """Noise of 16 bits, as all that a verifier is asked."""
    samples = np.random.default_rng(seed).integers(-3000, 3000, 48_000).astype(np.float32) / np.float32(32_767)
    return Window(0.0, samples, len(samples), 3.0, 3.0)


class Leg:
    """A `ScoredLeg` that collects what it is told."""

    frontend: Frontend

    def __init__(self) -> None:
        self.scores: list[Score] = []
        self.skips = 0

    @property
    def told(self) -> int:
        return len(self.scores) + self.skips

    def scored(self, window: Window, score: Score, received_s: float) -> None:
        self.scores.append(score)

    def skipped(self, window: Window) -> None:
        self.skips += 1


def settings(url: str, **more: Any) -> NatsSettings:
    return NatsSettings.model_validate({"url": url, "verifier_pool": True} | more)


@asynccontextmanager
async def asking(url: str, model: str = MODEL, **more: Any) -> AsyncIterator[PoolScorer]:
    """A gateway's side of the pool."""
    scorer = PoolScorer(open_detector(model, backend="elsewhere"), Fifo(64), METERS, settings(url, **more))
    scorer.start()
    try:
        yield scorer
    finally:
        await scorer.close()


@asynccontextmanager
async def verifying(url: str, model: str = MODEL, threads: int = 1, **more: Any) -> AsyncIterator[PoolVerifier]:
    """A verifier in this process; it drains at the end."""
    verifier = PoolVerifier([open_detector(model) for _ in range(threads)], METERS, settings(url, **more))
    stopping = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(verifier.run(stopping))
    try:
        yield verifier
    finally:
        stopping.set_result(None)
        async with asyncio.timeout(30):
            await running


class VerifierProcess:
    """`callscreen verifier`, as an operator runs it."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    async def ready(self) -> bool:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as web:
            return (await web.get("/readyz")).status_code == 200

    async def metric(self, name: str, **labels: str) -> float:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as web:
            text = (await web.get("/metrics")).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


@asynccontextmanager
async def verifier_process(url: str, model: str = MODEL) -> AsyncIterator[VerifierProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "verifier", "--nats", url, "--model", model, "--port", "0",
        stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, cwd=REPOSITORY,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            said = (await process.stdout.readline()).decode()
        assert "health at http://" in said, "it starts"
        yield VerifierProcess(process, said.rpartition(" ")[2].strip())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
