"""A whole gateway in the test's own event loop, with real sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import gateway.engine
from gateway import refusals
from gateway.app import Server, running
from gateway.call import load, overload, scorer
from gateway.config_loading import load as load_settings
from tests.detection.fakes import mean_fusion
from tests.gateway.loudness import LoudnessDetector

Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given up, however slow this machine is, and however much audio a test sends at once."""
    monkeypatch.setattr(overload, "RAISE_AFTER_S", math.inf)
    monkeypatch.setattr(load, "LATE_S", math.inf)
    monkeypatch.setattr(scorer, "LATEST_S", math.inf)


@pytest_asyncio.fixture
async def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: None) -> AsyncIterator[Serve]:
    """Start a gateway on a free loopback port, with the given settings; it drains when the test ends.

    It has no verifier, unless the test names one; and what earlier tests were refused counts no log lines here.
    """
    monkeypatch.setattr(refusals, "_lines", {})
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Server:
            # Tests need not wait for real time: ten minutes of audio may come at once.
            given: dict[str, Any] = {
                "port": 0,
                "journal": tmp_path / "j.sqlite3",
                "verifier": "off",
                "max_burst_s": 600,
            } | settings
            return await stack.enter_async_context(running(load_settings(environ={}, **given)))

        yield start
        async with asyncio.timeout(20):
            await stack.aclose()


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoudnessDetector]:
    """Serve with a detector whose truth the test sets by loudness."""
    loudness = LoudnessDetector()
    monkeypatch.setattr(gateway.engine, "open_detector", lambda _name: loudness)
    monkeypatch.setattr(gateway.engine, "open_fusion", lambda _light, _verifier: (mean_fusion(), None))
    yield loudness
    loudness.free.set()
