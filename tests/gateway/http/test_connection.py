"""Peers that keep a connection and do not use it, at the gateway's two engines."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from gateway.http.connection import HttpConnection
from tests.gateway.alerts.events import deaf_peer, serving, until
from tests.gateway.conftest import Serve
from tests.gateway.wire import SILENCE, subscribed, ws_url


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("x" * 500_000)


app = Starlette(routes=[WebSocketRoute("/v1/events", talk)])


async def test_peer_that_does_not_read_loses_its_connection() -> None:
    async with serving(app) as gateway, deaf_peer(gateway):
        await until(gateway.abandoned)


async def test_peer_that_reads_gets_all_of_it() -> None:
    async with serving(app) as gateway, connect(gateway.url) as client:
        assert len(await client.recv()) == 500_000
        await until(gateway.abandoned)


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost:",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nG",
    ],
    ids=["nothing", "half a request", "one request", "one and a half"],
)
async def test_peer_that_asks_for_nothing_loses_its_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(HttpConnection, "head_s", 0.3)
    server = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(said)
    async with asyncio.timeout(3):
        heard = await reader.read()
    assert heard.startswith(b"HTTP/1.1 200 OK") == (b"\r\n\r\n" in said)
    writer.close()


@pytest.mark.usefixtures("detector")
async def test_peers_that_do_talk_keep_theirs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpConnection, "head_s", 0.3)
    server = await serve()
    async with subscribed(server) as events, httpx.AsyncClient(base_url=server.url) as web:
        for _ in range(4):
            assert (await web.get("/healthz")).status_code == 200
            await asyncio.sleep(0.15)
        async with connect(ws_url(server, "/v1/media/plain?call_id=c-1&leg=a")) as call:
            await call.send(SILENCE)
            await events.until("call.started")
