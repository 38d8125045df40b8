"""A real Janus forwards a published microphone to an RTP port, with SRTP."""

from __future__ import annotations

import asyncio
import base64
import fractions
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from detection import Samples
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import subscribed

pytestmark = [
    pytest.mark.usefixtures("detector"),
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("janus") is None, reason="janus is not installed (Debian: janus)"),
]
KEY = base64.b64encode(bytes(range(30))).decode()
PLUGIN, TRANSPORT = "libjanus_videoroom.so", "libjanus_http.so"


class Microphone(MediaStreamTrack):
    """Speaks in real time."""

    kind = "audio"

    def __init__(self, samples: Samples) -> None:
        super().__init__()
        self._pcm = np.round(np.repeat(samples, 3) * 32767).astype(np.int16)
        self._at = 0
        self._start_s: float | None = None

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        self._start_s = self._start_s or loop.time()
        await asyncio.sleep(max(0.0, self._start_s + self._at / 48_000 - loop.time()))
        frame = av.AudioFrame.from_ndarray(self._pcm[None, self._at : self._at + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._at, fractions.Fraction(1, 48_000)
        self._at += 960
        return frame


def furnish(folder: Path) -> int:
    """Write a Janus with one room; return the port of its HTTP API."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    for kind, name in (("plugins", PLUGIN), ("transports", TRANSPORT)):
        (found,) = Path("/usr/lib").glob(f"**/janus/{kind}/{name}")
        (folder / kind).mkdir()
        (folder / kind / name).symlink_to(found)
    (folder / "janus.jcfg").write_text(
        f'general: {{ configs_folder = "{folder}" plugins_folder = "{folder}/plugins" '
        f'transports_folder = "{folder}/transports" events_folder = "{folder}/none" loggers_folder = "{folder}/none" }}'
    )
    http = f'general: {{ base_path = "/janus" http = true port = {port} ip = "127.0.0.1" https = false }}'
    (folder / "janus.transport.http.jcfg").write_text(http)
    (folder / "janus.plugin.videoroom.jcfg").write_text('room-1: { description = "test" secret = "s" publishers = 2 }')
    return port


class Handle:
    """A videoroom handle, by Janus's HTTP API."""

    def __init__(self, web: httpx.AsyncClient, path: str) -> None:
        self._web = web
        self._path = path

    @classmethod
    async def attach(cls, web: httpx.AsyncClient) -> Handle:
        session = (await post(web, "/janus", janus="create"))["data"]["id"]
        attached = await post(web, f"/janus/{session}", janus="attach", plugin="janus.plugin.videoroom")
        return cls(web, f"/janus/{session}/{attached['data']['id']}")

    async def ask(self, jsep: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        """Send a message; return the answer, or the event that is the answer."""
        more = {"jsep": jsep} if jsep else {}
        reply = await post(self._web, self._path, janus="message", body=body, **more)
        while reply["janus"] in ("ack", "webrtcup", "media", "keepalive"):
            reply = (await self._web.get(self._path.rpartition("/")[0])).json()
        return reply


async def post(web: httpx.AsyncClient, path: str, **message: Any) -> dict[str, Any]:
    reply: dict[str, Any] = (await web.post(path, json=message | {"transaction": "t"})).json()
    assert reply["janus"] in ("success", "ack"), reply
    return reply


@asynccontextmanager
async def janus(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    port = furnish(folder)
    process = await asyncio.create_subprocess_exec(
        *("janus", "-F", str(folder), "-o"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=40) as web:
            async with asyncio.timeout(15):
                while True:
                    try:
                        await web.get("/janus/info")
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.1)
            yield web
    finally:
        process.terminate()
        await process.wait()


async def test_janus_forwards_a_microphone(serve: Serve, tmp_path: Path) -> None:
    port = {
        "listen": "127.0.0.1:0",
        "call_id": "room-1",
        "legs": {"alice": {"ssrc": 1234, "role": "caller"}},
        "payload_types": {111: "opus/48000"},
        "srtp_key": KEY,
    }
    server = await serve(rtp={"janus": port})
    folder = tmp_path / "janus"
    folder.mkdir()
    async with subscribed(server) as events, janus(folder) as web, AsyncExitStack() as closing:
        peer = RTCPeerConnection()
        closing.push_async_callback(peer.close)
        room = await Handle.attach(web)
        joined = await room.ask(request="join", room=1, ptype="publisher", display="alice")
        peer.addTrack(Microphone(speech(30, synthetic=True)))
        await peer.setLocalDescription(await peer.createOffer())
        offer = {"type": "offer", "sdp": peer.localDescription.sdp}
        answer = await room.ask(jsep=offer, request="publish")
        await peer.setRemoteDescription(RTCSessionDescription(**answer["jsep"]))
        forwarded = await room.ask(
            request="rtp_forward",
            room=1,
            secret="s",
            publisher_id=joined["plugindata"]["data"]["id"],
            host="127.0.0.1",
            streams=[
                {"mid": peer.getTransceivers()[0].mid, "port": server.rtp["janus"][1], "ssrc": 1234, "pt": 111},
            ],
            srtp_suite=80,
            srtp_crypto=KEY,
        )
        assert "forwarders" in forwarded["plugindata"]["data"], forwarded
        raised = await events.until("alert.raised", within_s=20)
    assert (raised["data"]["call_id"], raised["data"]["leg"], raised["data"]["role"]) == ("room-1", "alice", "caller")
