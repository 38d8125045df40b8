"""Audio that arrives before its format is known, over real sockets: taken in order, or refused; never guessed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect

from gateway.client.codecs import encode
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import TWILIO_STOP, closed, subscribed, twilio_media, twilio_start, ws_url

pytestmark = pytest.mark.usefixtures("detector")


@pytest.mark.parametrize(
    "start", ["MEDIA_START format:slin16", json.dumps({"event": "MEDIA_START", "format": "slin16"})]
)
async def test_asterisk_sends_five_frames_before_media_start(serve: Serve, start: str) -> None:
    server = await serve(doors={"asterisk": {}})
    data = encode(speech(8, synthetic=True), "s16le")
    path, options = "/v1/media/asterisk?call_id=c-1&leg=a", {"subprotocols": ["media"]}
    async with subscribed(server) as events, connect(ws_url(server, path), **options) as socket:  # type: ignore[arg-type]
        for index in range(400):
            if index == 5:
                await socket.send(start)
            await socket.send(data[640 * index : 640 * index + 640])
        raised = await events.until("alert.raised", stage="confirmed")
        await socket.close()
        ended = (await events.until("leg.ended"))["data"]
    assert raised["data"]["leg"] == "a"
    assert (ended["audio_s"], ended["verdict"]) == (8.0, "synthetic")


def stereo() -> bytes:
    left, right = speech(8, synthetic=False), speech(8, synthetic=True)
    return encode(np.stack([left, right], axis=1).ravel(), "s16le")


@pytest.mark.parametrize("path", ["/v1/media/freeswitch", "/v1/media/freeswitch?call_id=c-1"])
async def test_freeswitch_sends_stereo_before_it_says_so(serve: Serve, path: str) -> None:
    server = await serve(doors={"freeswitch": {}})
    data = stereo()
    async with subscribed(server) as events, connect(ws_url(server, path)) as socket:
        for index in range(400):
            if index == 25:
                await socket.send(json.dumps({"call_id": "c-1", "rate": "16k", "mix": "stereo"}))
            await socket.send(data[1280 * index : 1280 * index + 1280])
        await socket.close()
        ended = (await events.until("call.ended"))["data"]
    assert ended["verdicts"] == {"inbound": "human", "outbound": "synthetic"}
    assert {e["data"]["audio_s"] for e in events.seen if e["type"] == "leg.ended"} == {8.0}
    assert {e["data"]["leg"] for e in events.seen if e["type"] == "alert.raised"} == {"outbound"}


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("/v1/media/freeswitch?call_id=c-1", {}, "audio came before it; missing: rate"),
        ("/v1/media/jambonz?callSid=c-1&sampleRate=8000", {}, "audio came before it; missing: mixType"),
        ("/v1/media/asterisk?call_id=c&leg=a", {"subprotocols": ["media"]}, "MEDIA_START before the audio that came"),
    ],
)
async def test_a_stream_without_a_format_is_refused_by_field(
    serve: Serve, path: str, options: dict[str, Any], says: str
) -> None:
    server = await serve(doors={"freeswitch": {}, "jambonz": {}, "asterisk": {}}, start_deadline_s=0.3)
    async with connect(ws_url(server, path), **options) as socket:
        for _ in range(20):
            await socket.send(bytes(640))
        code, reason = await closed(socket)
    assert (code, says in reason) == (4408, True), reason
    assert server.registry.calls() == []


async def test_media_that_overtakes_its_start_is_taken_in_order(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, connect(ws_url(server, "/v1/media/twilio")) as socket:
        for index in range(50):
            if index == 7:
                await socket.send(twilio_start("CA1", ("inbound",)))
            await socket.send(twilio_media(index))
        await socket.send(TWILIO_STOP)
        ended = (await events.until("leg.ended"))["data"]
    assert (ended["audio_s"], ended["missing_s"]) == (1.0, 0.0)
