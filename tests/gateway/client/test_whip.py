"""The WHIP client, against a server that is plain aiortc and shares nothing with the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import pytest_asyncio
import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.client.whip import OpusEncoder, WhipError, WhipPublisher
from gateway.http.host import UnsignalledServer
from tests.gateway.ingest.whip_door import until

TONE = (0.3 * np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)).astype(np.float32)


@dataclass
class Server:
    """Answers an offer with a peer connection of aiortc's, and keeps what comes."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    frames: list[AudioFrame] = field(default_factory=list)
    peers: list[RTCPeerConnection] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None
    refusal: tuple[int, str] | None = None
    deaf: bool = False
    """Answers with addresses at which nobody is."""

    async def endpoint(self, request: Request) -> Response:
        self.requests.append(request)
        offer = (await request.body()).decode()
        if self.refusal:
            return Response(self.refusal[1], self.refusal[0])
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peers.append(peer)
        peer.on("track", self._track)
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        gatherer = peer.getReceivers()[0].transport.transport.iceGatherer
        await gatherer.gather()
        connection = gatherer._connection
        connection._local_candidates += await connection.get_component_candidates(1, ["127.0.0.1"])
        await peer.setLocalDescription()
        answer = peer.localDescription.sdp
        if self.deaf:
            answer = answer.replace("a=ice-pwd:", "a=ice-pwd:not")
        return Response(answer, 201, {"Location": "session/7?x=1"}, "application/sdp")

    async def session(self, request: Request) -> Response:
        self.requests.append(request)
        return Response()

    def _track(self, track: MediaStreamTrack) -> None:
        self.reader = asyncio.ensure_future(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)
            self.frames.append(frame)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """A WHIP server on loopback that is not ours."""
    server = Server()
    routes = [
        Route("/v1/whip/{call}/{leg}", server.endpoint, methods=["POST"]),
        Route("/v1/whip/{call}/session/7", server.session, methods=["DELETE"]),
    ]
    http = UnsignalledServer(
        uvicorn.Config(Starlette(routes=routes), port=0, lifespan="off", log_config=None, ws="none")
    )
    serving = asyncio.create_task(http.serve())
    await until(lambda: http.started)
    server.url = f"http://127.0.0.1:{http.servers[0].sockets[0].getsockname()[1]}"
    yield server
    for peer in server.peers:
        await peer.close()
    if server.reader:
        server.reader.cancel()
    http.should_exit = True
    await serving


async def test_published_audio_arrives_at_an_ordinary_peer(server: Server) -> None:
    async with WhipPublisher(server.url, "call-1", "caller") as publisher:
        await publisher.send(TONE)
        await publisher.stop()
        await until(lambda: len(server.frames) >= 45)  # aiortc keeps the last few back
    heard: NDArray[np.int16] = np.concatenate([frame.to_ndarray()[0, ::2] for frame in server.frames])
    spectrum = np.abs(np.fft.rfft(heard[4_800:28_800].astype(np.float64)))
    assert np.argmax(spectrum) * 48_000 / 24_000 == pytest.approx(500, abs=4)
    assert np.sqrt(np.mean((heard[4_800:28_800] / 32768.0) ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    assert {frame.samples for frame in server.frames} == {960}
    pts = [frame.pts for frame in server.frames if frame.pts is not None]
    assert set(np.diff(pts)) == {960}


async def test_the_session_is_deleted_at_the_end(server: Server) -> None:
    async with WhipPublisher(server.url, "call 1", "caller", token="t0ken"):
        assert [request.method for request in server.requests] == ["POST"]
    post, delete = server.requests
    assert post.headers["content-type"] == "application/sdp"
    assert post.path_params == {"call": "call 1", "leg": "caller"}
    assert delete.method == "DELETE"
    assert delete.url.query == "x=1"  # Location is relative to where it was asked for (RFC 9110 section 10.2.2)
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer t0ken"}


async def test_play_takes_as_long_as_the_audio(server: Server) -> None:
    loop = asyncio.get_running_loop()
    async with WhipPublisher(server.url, "call-1", "caller") as publisher:
        began_s = loop.time()
        await publisher.play(TONE[:8_000])
        assert loop.time() - began_s >= 0.48  # the last packet goes out when it begins


async def test_counters_wrap_as_rtp_has_it(server: Server) -> None:
    async with WhipPublisher(server.url, "call-1", "caller") as publisher:
        publisher._sequence_number, publisher._timestamp = 0xFFFF, 0xFFFFFFFF - 959
        first, second = publisher.packets(TONE[:640])
    assert (first.sequence_number, first.timestamp) == (0xFFFF, 0xFFFFFFFF - 959)
    assert (second.sequence_number, second.timestamp) == (0, 0)


async def test_a_refusal_says_why(server: Server) -> None:
    server.refusal = (409, "already being listened to")
    with pytest.raises(WhipError, match="409: already being listened to") as refused:
        await WhipPublisher(server.url, "call-1", "caller").__aenter__()
    assert refused.value.status == 409
    assert [request.method for request in server.requests] == ["POST"]


async def test_a_server_that_cannot_be_reached_is_given_up(server: Server) -> None:
    server.deaf = True
    with pytest.raises(WhipError, match="WebRTC connection") as failed:
        await WhipPublisher(server.url, "call-1", "caller", connect_timeout_s=1.0).__aenter__()
    assert failed.value.status is None
    assert [request.method for request in server.requests] == ["POST", "DELETE"]


async def test_leaving_does_not_need_the_server(server: Server) -> None:
    async with WhipPublisher(server.url, "call-1", "caller") as publisher:
        publisher._session = "http://127.0.0.1:1/gone"


@given(st.lists(st.integers(0, 1_000), max_size=8))
def test_packets_do_not_depend_on_the_pieces(sizes: list[int]) -> None:
    samples = TONE[: sum(sizes)]
    whole, pieces = OpusEncoder(), OpusEncoder()
    expected = whole.push(samples) + whole.flush()
    cuts = np.cumsum(sizes)[:-1]
    assert [packet for piece in np.split(samples, cuts) for packet in pieces.push(piece)] + pieces.flush() == expected
    assert len(expected) >= len(samples) // 320
