"""The programs that the documentation shows, run as they are but for the ports: a subscriber and a webhook receiver."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.client import connect

from gateway.__main__ import main
from tests.conftest import REPOSITORY
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.webhooks.receiver import SECRET
from tests.gateway.wire import pcm, ws_url


def program(page: str, title: str) -> str:
    found = re.search(rf'```python title="{title}"\n(.*?)```', (REPOSITORY / page).read_text(), re.DOTALL)
    assert found, f"{page} shows {title}"
    return found[1]


@asynccontextmanager
async def running(folder: Path, text: str) -> AsyncIterator[Process]:
    (folder / "program.py").write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", str(folder / "program.py")),
        cwd=folder,
        stdout=PIPE,
        env={"PYTHONPATH": f"{REPOSITORY}"},
    )
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode()


@pytest.mark.usefixtures("detector")
async def test_the_subscribers_and_the_receiver_of_the_pages_are_told_of_an_alert(serve: Serve, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = {"name": "desk", "url": f"http://127.0.0.1:{port}/", "secret": SECRET, "allow_private": True}
    server = await serve(webhooks=[endpoint])
    folders = [tmp_path / name for name in ("receiver", "page", "readme")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "secret.txt").write_text(SECRET + "\n")
    receiver = program("docs/how-to/webhooks.md", "receiver.py").replace("9000", str(port))
    pages = ("docs/how-to/subscribe.md", "README.md")
    page, readme = (program(name, "alerts.py").replace("http://127.0.0.1:8080", server.url) for name in pages)
    before = REGISTRY.get_sample_value("callscreen_subscribers") or 0.0
    async with (
        running(folders[0], receiver) as told,
        running(folders[1], page) as first,
        running(folders[2], readme) as second,
        asyncio.timeout(60),
    ):
        while await asyncio.to_thread(main, ["webhooks", "test", "desk", "--url", server.url]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert "webhook.test" in await line_of(told)
        while (REGISTRY.get_sample_value("callscreen_subscribers") or 0.0) < before + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        async with connect(ws_url(server, "/v1/media/plain?call_id=c-1&leg=caller&encoding=s16le&rate=16000")) as media:
            for frame in pcm(speech(25, synthetic=True)):
                await media.send(frame)
            assert (await line_of(first)).startswith("c-1 caller provisional 0.")
            assert await line_of(second) == "c-1 caller provisional\n"
            assert "'stage': 'provisional'" in await line_of(told)
