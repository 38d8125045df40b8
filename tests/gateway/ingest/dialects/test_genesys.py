"""Golden messages of AudioHook, and whole sessions over a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.client.genesys import AudioHookCall
from gateway.errors import BadMessage, Forbidden, MessageTooBig, ProtocolError, UnsupportedMedia
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.dialects.genesys import AudioHook
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    CallId,
    LegDescription,
    LegId,
    MessageIgnored,
    StreamStarted,
    StreamStopped,
)
from gateway.ingest.tolerance import MAX_BAD_MESSAGES
from tests.gateway.conftest import Serve
from tests.gateway.loudness import LoudnessDetector, speech
from tests.gateway.wire import subscribed

SESSION = "e160e428-53e2-487c-977d-96989bf5c99d"
ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"
CONVERSATION = "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
NOBODY = "00000000-0000-0000-0000-000000000000"
BOTH = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}
EXTERNAL, INTERNAL = LegId("external"), LegId("internal")
MULAW = AudioFormat("mulaw", 8000)
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="


class Peer:
    """Numbers messages as the client must, unless told otherwise."""

    def __init__(self) -> None:
        headers = {"audiohook-session-id": SESSION, "audiohook-organization-id": ORGANIZATION}
        self.dialect = AudioHook(Handshake("wss://gw/v1/media/genesys", {}, headers, "192.0.2.1", 0.0), {})
        self.seq = 0

    def say(self, kind: str, parameters: dict[str, Any] | None = None, **envelope: Any) -> list[Any]:
        self.seq += 1
        message = {
            "version": "2",
            "id": SESSION,
            "type": kind,
            "seq": self.seq,
            "serverseq": 0,
            "position": "PT0S",
            "parameters": parameters or {},
        }
        return self.dialect.receive(json.dumps(message | envelope))

    def open(self, media: list[dict[str, Any]] | None = None, **parameters: Any) -> list[Any]:
        offer = {
            "organizationId": ORGANIZATION,
            "conversationId": CONVERSATION,
            "participant": {"id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0", "ani": "", "aniName": "", "dnis": ""},
            "media": [BOTH] if media is None else media,
            "language": "en-US",
        }
        return self.say("open", offer | parameters)

    def hear_at_ms(self) -> float | None:
        """Send 20 ms; return where the dialect puts them."""
        audio = self.dialect.receive(bytes(320))[0]
        assert isinstance(audio, AudioReceived)
        return audio.start_ms

    def heard(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.dialect.replies()]


def reply(kind: str, seq: int, clientseq: int, **parameters: Any) -> dict[str, Any]:
    return {
        "version": "2",
        "id": SESSION,
        "type": kind,
        "seq": seq,
        "clientseq": clientseq,
        "parameters": parameters,
    }


def test_a_session() -> None:
    peer = Peer()
    assert peer.open(customConfig={"queue": "loans", "n": 1}) == [
        StreamStarted(
            CallId(CONVERSATION),
            "genesys",
            (LegDescription(EXTERNAL, MULAW, "customer"), LegDescription(INTERNAL, MULAW, "agent")),
            {
                "queue": "loans",
                "n": "1",
                "organizationId": ORGANIZATION,
                "participantId": "883efee8-3d6c-4537-b500-6d7ca4b92fa0",
            },
        )
    ]
    assert peer.heard() == [reply("opened", 1, 1, media=[BOTH], startPaused=False)]
    assert peer.dialect.receive(b"\x01\x02" * 160) == [
        AudioReceived(EXTERNAL, b"\x01" * 160, start_ms=0.0),
        AudioReceived(INTERNAL, b"\x02" * 160, start_ms=0.0),
    ]
    assert peer.say("ping", {"rtt": "PT0.1S"}, serverseq=1) == []
    assert peer.say("update", {"language": "de-DE"}) == []
    assert peer.say("playback_started") == []
    assert peer.say("song_of_a_later_version") == [MessageIgnored("unknown_event")]
    assert peer.heard() == [reply("pong", 2, 2), reply("updated", 3, 3)]
    assert peer.say("error", {"code": 408, "message": "?"}) == []
    assert peer.say("close", {"reason": "end"}) == [StreamStopped("stopped")]
    assert peer.heard() == [reply("closed", 4, 7)]
    assert peer.dialect.goodbye("shutdown") == []


def test_discarded_audio_is_a_gap_in_media_time() -> None:
    peer = Peer()
    peer.open()
    peer.dialect.receive(bytes(320))
    peer.say("discarded", {"start": "PT0.02S", "discarded": "PT1.5S"})
    assert peer.hear_at_ms() == pytest.approx(1520)
    peer.heard()
    assert peer.say("paused") == []
    assert peer.say("ping") == [AudioReceived(EXTERNAL, b""), AudioReceived(INTERNAL, b"")]
    peer.say("resumed", {"start": "PT1.54S", "discarded": "PT60S"})
    assert peer.say("ping") == []
    assert peer.hear_at_ms() == pytest.approx(61540)


@pytest.mark.parametrize(
    ("offered", "chosen", "audio"),
    [
        ([BOTH | {"channels": ["external"]}, BOTH], 1, MULAW),
        ([BOTH | {"format": "L16"}, BOTH], 1, MULAW),
        ([BOTH | {"format": "L16"}], 0, AudioFormat("s16le", 8000)),
        ([BOTH | {"channels": ["internal"]}], 0, MULAW),
        ([BOTH | {"channels": ["external", "supervisor"]}, BOTH], 1, MULAW),
        ([{"type": "video", "format": "PCMU", "channels": ["external"], "rate": 8000}, BOTH], 1, MULAW),
    ],
)
def test_the_best_offer_is_taken(offered: list[dict[str, Any]], chosen: int, audio: AudioFormat) -> None:
    peer = Peer()
    started = peer.open(offered)[0]
    assert peer.heard()[0]["parameters"]["media"] == [offered[chosen]]
    assert [leg.leg for leg in started.legs] == offered[chosen]["channels"]
    assert {leg.format for leg in started.legs} == {audio}


def test_a_probe_is_answered_and_is_no_call() -> None:
    peer = Peer()
    assert peer.open(conversationId=NOBODY, participant={"id": NOBODY}) == []
    assert peer.heard()[0]["type"] == "opened"
    assert peer.say("close", {"reason": "end"}) == [StreamStopped("stopped")]
    assert peer.heard()[0]["type"] == "closed"


@pytest.mark.parametrize("reason", ["error", "disconnect", "reconnect"])
def test_the_reason_of_a_close_is_kept(reason: str) -> None:
    peer = Peer()
    peer.open()
    assert peer.say("close", {"reason": reason}) == [StreamStopped(reason)]


@pytest.mark.parametrize(
    ("reason", "kind", "parameters"),
    [
        ("shutdown", "reconnect", {"info": "shutdown"}),
        ("call_too_long", "disconnect", {"reason": "completed", "info": "call_too_long"}),
        ("seq: wrong", "disconnect", {"reason": "error", "info": "seq: wrong"}),
    ],
)
def test_our_goodbye(reason: str, kind: str, parameters: dict[str, str]) -> None:
    peer = Peer()
    peer.open()
    peer.heard()
    assert [json.loads(message) for message in peer.dialect.goodbye(reason)] == [reply(kind, 2, 1, **parameters)]


@pytest.mark.parametrize(
    ("envelope", "text"),
    [
        ({"id": ORGANIZATION}, "id: expected that of Audiohook-Session-Id"),
        ({"version": "1"}, "version"),
        ({"parameters": 1, "type": "close"}, "expected `object`"),
    ],
)
def test_what_is_of_no_use_is_said(envelope: dict[str, Any], text: str) -> None:
    peer = Peer()
    peer.open()
    with pytest.raises(BadMessage, match=text):
        peer.say(envelope.get("type", "ping"), **{"seq": 2} | envelope)


def test_messages_that_are_missing_or_repeated_do_no_harm() -> None:
    peer = Peer()
    peer.open()
    peer.heard()
    assert peer.say("ping", seq=1) == [MessageIgnored("repeated_message")]
    assert peer.say("open", seq=2) == [MessageIgnored("repeated_start")]
    assert peer.say("ping", seq=9) == []
    assert peer.heard() == [reply("pong", 2, 9)]
    assert peer.say("close", None, seq=10) == [StreamStopped("stopped")]


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"media": []}, UnsupportedMedia, "media: expected audio in PCMU or L16"),
        ({"media": [BOTH | {"rate": 7}]}, UnsupportedMedia, "media"),
        ({"media": [BOTH | {"channels": ["external"] * 2}]}, UnsupportedMedia, "media"),
        ({"media": [BOTH | {"channels": ["left"]}]}, UnsupportedMedia, "media"),
        ({"media": 7}, ProtocolError, "media"),
        ({"organizationId": SESSION}, Forbidden, "organizationId"),
        ({"conversationId": "a b"}, ProtocolError, "conversationId"),
    ],
)
def test_an_open_that_cannot_be_served(parameters: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Peer().open(**parameters)


def test_audio_and_pings_wait_for_open() -> None:
    with pytest.raises(ProtocolError, match="expected `open` before audio"):
        Peer().dialect.receive(bytes(2))
    with pytest.raises(ProtocolError, match="expected `open` first"):
        Peer().say("ping")


def test_odd_frames_durations_and_sizes() -> None:
    peer = Peer()
    peer.open()
    with pytest.raises(ProtocolError, match="expected a multiple of 2 bytes, got 3"):
        peer.dialect.receive(bytes(3))
    with pytest.raises(ProtocolError, match="discarded: expected a duration"):
        peer.say("discarded", {"start": "PT1S", "discarded": "1 s"})
    with pytest.raises(MessageTooBig):
        peer.dialect.receive(" " * 65_536)
    with pytest.raises(ProtocolError, match="Audiohook-Session-Id"):
        AudioHook(Handshake("wss://gw", {}, {}, "", 0.0), {})


async def test_a_session_over_the_wire(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(doors={"genesys": {"token": "key", "signing_key": SECRET}})
    both = np.stack([speech(12, synthetic=False), speech(12, synthetic=True)], axis=1)
    async with subscribed(server) as events, AudioHookCall(server.url, CONVERSATION, secret=SECRET) as call:
        await call.send(both[:64_000])
        await call.discard(1.5)
        await call.send_message("ping")
        await call.receive_message("pong")
        await call.send(both[64_000:])
        raised = await events.until("alert.raised", stage="confirmed")
        await call.stop()
        internal = await events.until("leg.ended", leg="internal")
        ended = await events.until("call.ended")
    facts = raised["data"]
    assert (facts["call_id"], facts["leg"], facts["role"]) == (CONVERSATION, "internal", "agent")
    assert ended["data"]["verdicts"] == {"external": "human", "internal": "synthetic"}
    assert internal["data"]["missing_s"] == pytest.approx(1.5, abs=0.05)
    assert internal["data"]["ended_by"] == "stopped"


@pytest.mark.parametrize(
    "credentials",
    [{"secret": None}, {"secret": "AAAA"}, {"secret": SECRET, "api_key": "other"}],
    ids=["no signature", "bad signature", "another key"],
)
async def test_an_unsigned_upgrade_is_refused(
    serve: Serve, detector: LoudnessDetector, credentials: dict[str, Any]
) -> None:
    server = await serve(doors={"genesys": {"token": "key", "signing_key": SECRET}})
    with pytest.raises(InvalidStatus, match="401"):
        async with AudioHookCall(server.url, CONVERSATION, **credentials):
            pass


async def test_many_bad_messages_end_the_session_with_a_word(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(doors={"genesys": {}})
    async with subscribed(server) as events, AudioHookCall(server.url, CONVERSATION) as call:
        call.seq += 1
        await call.send_message("ping")
        await call.receive_message("pong")  # a message that is missing does no harm
        for _ in range(MAX_BAD_MESSAGES):
            await call.transmit('{"version":"2"}')
        said = await call.receive_message("disconnect")
        assert said["parameters"] == {"reason": "error", "info": "message: object missing required field `id`"}
        with pytest.raises(ConnectionClosed, match="4400"):
            await call.receive_message("pong")
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "protocol_error"


async def test_a_probe_over_the_wire(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(doors={"genesys": {}})
    async with AudioHookCall(server.url, NOBODY) as call:
        assert server.registry.calls() == []
        await call.stop()


async def test_a_pause_does_not_time_out(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(doors={"genesys": {"idle_deadline_s": 0.4}})
    async with AudioHookCall(server.url, CONVERSATION) as call:
        await call.send_message("paused")
        for _ in range(7):
            await asyncio.sleep(0.1)
            await call.send_message("ping")
            await call.receive_message("pong")
        await call.send_message("resumed", start="PT0S", discarded="PT0.7S")
        await call.stop()


async def test_a_drain_asks_for_another_connection(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(doors={"genesys": {}})
    async with AudioHookCall(server.url, CONVERSATION) as call:
        await server.registry.drain()
        assert (await call.receive_message("reconnect"))["parameters"] == {"info": "shutdown"}
