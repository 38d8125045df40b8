"""A headless Chromium that tests steer like a user: clicks and text fields, over its DevTools protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)
FLAGS = [
    "--headless",
    "--no-sandbox",  # as root in a container it would not start
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--remote-debugging-port=0",
]


class Tab:
    """One tab of the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def run(self, script: str) -> Any:
        """Run JavaScript as if a user had just clicked; returns its value, or raises AssertionError with its error."""
        options = {"expression": script, "userGesture": True, "awaitPromise": True, "returnByValue": True}
        answer = await self.command("Runtime.evaluate", **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def click(self, element: str) -> None:
        await self.run(f"document.getElementById({element!r}).click()")

    async def type(self, element: str, text: str) -> None:
        await self.run(f"document.getElementById({element!r}).value = {json.dumps(text)}")

    async def text(self, element: str) -> str:
        return str(await self.run(f"document.getElementById({element!r}).innerText"))

    async def until(self, element: str, words: str, within_s: float = 40) -> str:
        """Wait until an element shows those words; returns all it shows."""
        text = ""
        try:
            async with asyncio.timeout(within_s):
                while words not in (text := await self.text(element)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{element}: expected {words!r}, shows {text!r}") from None
        return text

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a DevTools command; returns its result."""
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(await self._socket.recv())).get("id") != number:
            pass
        result: dict[str, Any] = answer["result"]
        return result


class Browser:
    """A running Chromium."""

    def __init__(self, address: str) -> None:
        self._address = address

    @contextlib.asynccontextmanager
    async def tab(self, url: str) -> AsyncIterator[Tab]:
        """Open a page and wait until its scripts have run."""
        async with httpx.AsyncClient(base_url=f"http://{self._address}", timeout=20) as web:
            target = (await web.put(f"/json/new?{url}")).json()
        async with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            tab = Tab(socket)
            await tab.command("Browser.grantPermissions", permissions=["audioCapture"])
            async with asyncio.timeout(20):
                while await tab.run("location.href + document.readyState") != f"{url}complete":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            yield tab


@contextlib.asynccontextmanager
async def browser(folder: Path, *flags: str) -> AsyncIterator[Browser]:
    """Run a Chromium with a profile of its own."""
    assert CHROMIUM
    profile = folder / "profile"
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file = profile / "DevToolsActivePort"
        async with asyncio.timeout(60):
            while not (port_file.exists() and port_file.read_text().count("\n")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield Browser(f"127.0.0.1:{port_file.read_text().splitlines()[0]}")
    finally:
        process.terminate()
        await process.wait()
