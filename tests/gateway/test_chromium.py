"""A call made by a browser: a client that shares no code with the gateway raises the right alert.

Chromium publishes a synthetic voice as its microphone on one leg, and a tone on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from detection.signal.audio import read_audio
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import AlertRaised, CallEnded, EventData, LegEnded
from gateway.client.events import follow
from gateway.http.host import UnsignalledServer
from tests.conftest import REPOSITORY
from tests.gateway.browser import CHROMIUM, FLAGS, needs_chromium
from tests.gateway.ingest.whip_door import until

VOICE = REPOSITORY / "sim" / "voices" / "flite_slt"
PAGE = Path(__file__).parent / "chromium" / "call.html"


class Page:
    """Serves the page, and hears what it has to say."""

    def __init__(self) -> None:
        self.raised = asyncio.Event()
        self.failure: str | None = None
        routes = [
            Route("/", lambda _request: FileResponse(PAGE)),
            Route("/raised", self._wait),
            Route("/failed", self._fail, methods=["POST"]),
        ]
        self.server = UnsignalledServer(
            uvicorn.Config(Starlette(routes=routes), port=0, lifespan="off", log_config=None, ws="none")
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    async def _wait(self, _request: Request) -> Response:
        await self.raised.wait()
        return Response()

    async def _fail(self, request: Request) -> Response:
        self.failure = (await request.body()).decode()
        return Response()


@contextlib.asynccontextmanager
async def page() -> AsyncIterator[Page]:
    page = Page()
    serving = asyncio.create_task(page.server.serve())
    await until(lambda: page.server.started)
    try:
        yield page
    finally:
        page.raised.set()
        page.server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def gateway(origin: str, folder: Path) -> AsyncIterator[str]:
    """Run a gateway of its own that lets that page in; yields its URL."""
    arguments = ["-m", "gateway", "serve", "--port", "0", "--journal", str(folder / "journal.sqlite3")]
    environment = os.environ | {"CALLSCREEN_ALLOWED_ORIGINS": json.dumps([origin])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            listening = await process.stdout.readline()
        yield listening.decode().split()[-1]
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


@contextlib.asynccontextmanager
async def chromium(url: str, microphone: Path, folder: Path) -> AsyncIterator[None]:
    assert CHROMIUM
    own = [f"--user-data-dir={folder / 'profile'}", f"--use-file-for-fake-audio-capture={microphone}"]
    own.append("--use-fake-ui-for-media-stream")  # nobody is there to be asked for the microphone
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, *own, url, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def record_microphone(folder: Path) -> Path:
    """Write the shipped synthetic voice as the WAV that Chromium plays, over and over."""
    samples = np.concatenate([read_audio(path) for path in sorted(VOICE.glob("*.ogg"))])
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(16_000)
        wav.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.slow
@needs_chromium
async def test_a_browser_with_a_synthetic_voice_raises_the_alert_of_its_leg(tmp_path: Path) -> None:
    microphone = record_microphone(tmp_path)
    events: list[CloudEvent] = []
    async with page() as site, gateway(site.url, tmp_path) as url:
        address = f"{site.url}/?{urlencode({'gateway': url, 'call': 'browser-1'})}"

        async def listen() -> None:
            async for event in follow(url, reconnect=False):
                events.append(event)  # noqa: PERF401  one by one, as they come

        def seen(kind: type[EventData], leg: str | None) -> bool:
            assert site.failure is None
            return any(isinstance(event.data, kind) and event.data.leg == leg for event in events)

        listening = asyncio.create_task(listen())
        async with chromium(address, microphone, tmp_path):
            await until(lambda: seen(AlertRaised, "caller"), timeout_s=50)
            site.raised.set()
            await until(lambda: seen(CallEnded, None))
        listening.cancel()
    told = [event.data for event in events if isinstance(event.data, EventData)]
    assert {data.call_id for data in told} == {"browser-1"}
    assert {data.leg for data in told if isinstance(data, AlertRaised)} == {"caller"}
    verdicts = {data.leg: data.verdict for data in told if isinstance(data, LegEnded)}
    assert verdicts == {"caller": "synthetic", "callee": "indeterminate"}
