"""A gateway that delivers, and the commands of its operator."""

from __future__ import annotations

import asyncio

import pytest
import standardwebhooks
from websockets.asyncio.client import connect

from gateway.__main__ import main
from tests.gateway.auth.test_tokens import row
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.webhooks.receiver import SECRET, receiving, webhook
from tests.gateway.wire import pcm, ws_url


async def command(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["webhooks", *arguments])


@pytest.mark.usefixtures("detector")
async def test_alerts_of_a_call_are_delivered_and_dead_ones_replayed(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    async with receiving() as receiver:
        receiver.refuses = {"alert.raised"}
        settings = webhook(receiver, retry_for_s=0.05, retry_first_s=0.02, min_stage="confirmed")
        server = await serve(token="t", tokens=[row("desk", "subscribe")], webhooks=[settings])
        gateway = ("--url", server.url, "--token", "t")
        path = "/v1/media/plain?call_id=c-1&leg=caller&encoding=s16le&rate=16000&token=t"
        async with connect(ws_url(server, path)) as media:
            for frame in pcm(speech(25, synthetic=True)):
                await media.send(frame)
            await receiver.until(1)
        async with asyncio.timeout(20):
            while await command("list-dead", *gateway) or not (listed := capsys.readouterr().out):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "  alert.raised  " in listed
        assert listed.strip().endswith(": status 400")
        receiver.refuses = set()
        before = len(receiver.requests)
        assert await command("replay", "desk", *gateway) == 0
        await receiver.until(before + 1)
        assert capsys.readouterr().out == "1 events are delivered again\n"
        headers, body = receiver.requests[-1]
        assert standardwebhooks.Webhook(SECRET).verify(body, headers)["data"]["stage"] == "confirmed"
        assert await command("test", "desk", *gateway) == 0
        receiver.answers = [b"HTTP/1.1 500 Oh\r\nContent-Length: 0"]
        assert await command("test", "desk", *gateway) == 1
        assert capsys.readouterr().out == "delivered\nnot delivered: status 500\n"
        assert await command("test", "none", *gateway) == 1
        assert "webhook: there is no 'none'" in capsys.readouterr().err
        assert await command("list-dead", "--url", server.url, "--token", "desk") == 1
        assert await command("list-dead", "--url", "http://127.0.0.1:1") == 1
