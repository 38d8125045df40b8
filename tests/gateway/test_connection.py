from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from tests.gateway.alerts.events import deaf_peer, serving, until


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
