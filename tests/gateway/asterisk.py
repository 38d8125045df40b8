"""A small Asterisk: its REST interface and event websocket, as its documentation describes them.

Not a recording of a real one: Debian 12 has no asterisk package to start here. The fields of the events that the tap
reads were compared with exchanges that others have published.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.http.host import UnsignalledServer

ALICE, BOB, CAROL = "1763800000.10", "1763800000.11", "1763800000.12"
BASIC = "Basic " + base64.b64encode(b"callscreen:s3cret").decode()


class FakeAsterisk:
    """Knows channels and bridges by id, writes down what is asked, and says what Asterisk would say to it."""

    def __init__(self) -> None:
        self.url = ""
        self.channels = {ALICE: "PJSIP/alice-00000001", BOB: "PJSIP/bob-00000002", CAROL: "PJSIP/carol-00000003"}
        self.bridges: dict[str, list[str]] = {}
        self.refuse: set[str] = set()
        self.asked: list[str] = []
        self.sockets: list[WebSocket] = []
        self.came = asyncio.Condition()
        self.app = Starlette(
            routes=[
                WebSocketRoute("/ari/events", self._events),
                Route("/ari/{path:path}", self._request, methods=["GET", "POST", "DELETE"]),
            ]
        )

    async def _events(self, websocket: WebSocket) -> None:
        if websocket.headers["authorization"] != BASIC:
            await websocket.close()
            return
        assert dict(websocket.query_params) == {"app": "callscreen", "subscribeAll": "true"}
        await websocket.accept()
        self.sockets.append(websocket)
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive()
        self.sockets.remove(websocket)

    async def _request(self, request: Request) -> Response:
        assert request.headers["authorization"] == BASIC
        path = request.path_params["path"]
        query = "&".join(f"{name}={value}" for name, value in request.query_params.items())
        async with self.came:
            self.asked.append(f"{request.method} {path}" + (f"?{query}" if query else ""))
            self.came.notify_all()
        if any(path.startswith(refused) for refused in self.refuse):
            return JSONResponse({"message": "Channel not found"}, 404)
        match request.method, path.split("/"):
            case "GET", ["channels"]:
                return JSONResponse([{"id": one, "name": name} for one, name in self.channels.items()])
            case "GET", ["bridges"]:
                return JSONResponse([self.bridge(one) for one in self.bridges])
            case "GET", ["channels", channel]:
                return JSONResponse({"id": channel, "name": self.channels[channel], "state": "Up"})
            case "GET", ["channels", _, "variable"]:
                return JSONResponse({"value": ALICE})
            case "POST", ["bridges", bridge]:
                self.bridges[bridge] = []
            case "POST", ["bridges", bridge, "addChannel"]:
                self.bridges[bridge].append(request.query_params["channel"])
                return Response(status_code=204)
            case "POST", ["channels", _, "snoop", snoop]:
                await self._stasis(snoop, "Snoop/1")
            case "POST", ["channels", "externalMedia"]:
                await self._stasis(request.query_params["channelId"], "AudioSocket/2")
            case "DELETE", ["channels", channel]:
                del self.channels[channel]
                return Response(status_code=204)
            case "DELETE", ["bridges", bridge]:
                del self.bridges[bridge]
                return Response(status_code=204)
        return JSONResponse({})

    async def _stasis(self, channel: str, name: str) -> None:
        self.channels[channel] = name
        await self.tell({"type": "StasisStart", "args": [], "channel": {"id": channel, "name": name}})

    def bridge(self, bridge: str) -> dict[str, Any]:
        return {"id": bridge, "technology": "simple_bridge", "bridge_type": "mixing", "channels": self.bridges[bridge]}

    async def tell(self, event: dict[str, Any]) -> None:
        for one in self.sockets:
            await one.send_json(event | {"asterisk_id": "00:00", "application": "callscreen"})

    async def enter(self, bridge: str, channel: str) -> None:
        self.bridges.setdefault(bridge, []).append(channel)
        facts = {"bridge": self.bridge(bridge), "channel": {"id": channel, "name": self.channels[channel]}}
        await self.tell({"type": "ChannelEnteredBridge"} | facts)

    async def until(self, request: str, times: int = 1) -> None:
        """Wait until that was asked so often."""
        async with asyncio.timeout(5), self.came:
            await self.came.wait_for(lambda: self.asked.count(request) >= times)


@contextlib.asynccontextmanager
async def asterisk_running() -> AsyncIterator[FakeAsterisk]:
    fake = FakeAsterisk()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            fake.app, ws="websockets-sansio", lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = UnsignalledServer(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield fake
        finally:
            server.should_exit = True
            await serving
