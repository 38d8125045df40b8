"""Twilio Media Streams: golden messages, faults, signatures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import ProtocolError, UnsupportedMedia, WrongFrameKind
from gateway.ingest.dialects.twilio import Twilio, signature_matches
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    IngestEvent,
    LegDescription,
    LegId,
    StreamStarted,
    StreamStopped,
)

CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "ACXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
        "streamSid": "MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
        "callSid": "CAXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
        "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"role_inbound": "customer", "tenant": "blue"},
    },
    "streamSid": "MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
}
MEDIA: dict[str, Any] = {
    "event": "media",
    "sequenceNumber": "3",
    "media": {"track": "outbound", "chunk": "1", "timestamp": "5", "payload": "no+JhoaJjpzSHxAKBgYJ"},
    "streamSid": "MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
}
STOP = (
    '{"event":"stop","sequenceNumber":"5","stop":{"accountSid":"ACXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",'
    '"callSid":"CAXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"},"streamSid":"MZXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"}'
)


def changed(message: dict[str, Any], path: str, value: Any) -> str:
    """`message` as JSON with the field at the dotted `path` replaced; None takes it away."""
    copy = json.loads(json.dumps(message))
    *parents, last = path.split(".")
    inner = copy
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(copy)


def started() -> Twilio:
    dialect = Twilio()
    dialect.receive(CONNECTED)
    dialect.receive(json.dumps(START))
    return dialect


def test_a_whole_stream() -> None:
    dialect = Twilio({"outbound": "agent", "inbound": "caller"})
    events: list[IngestEvent] = []
    for message in (CONNECTED, json.dumps(START), json.dumps(MEDIA), STOP):
        events += dialect.receive(message)
    mulaw = AudioFormat("mulaw", 8000)
    assert events == [
        StreamStarted(
            call_id="CAXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",  # type: ignore[arg-type]
            source="twilio",
            legs=(
                LegDescription(LegId("inbound"), mulaw, "customer", "received_from_party"),
                LegDescription(LegId("outbound"), mulaw, "agent", "sent_to_party"),
            ),
            parameters={"role_inbound": "customer", "tenant": "blue"},
        ),
        AudioReceived(LegId("outbound"), bytes.fromhex("9e8f898686898e9cd21f100a060609"), start_ms=5.0),
        StreamStopped(),
    ]


def test_numbers_may_be_strings_or_numbers() -> None:
    dialect = Twilio()
    dialect.receive(changed(START, "start.mediaFormat.sampleRate", "8000"))
    (audio,) = dialect.receive(changed(MEDIA, "media.timestamp", 40))
    assert isinstance(audio, AudioReceived)
    assert audio.start_ms == 40.0


def test_unknown_fields_are_ignored_and_dtmf_and_mark_are_no_audio() -> None:
    dialect = Twilio()
    dialect.receive(changed(START, "start.newField", {"a": 1}))
    assert dialect.receive('{"event":"dtmf","dtmf":{"track":"inbound_track","digit":"1"}}') == []
    assert dialect.receive('{"event":"mark","mark":{"name":"x"}}') == []


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("{", "message: expected JSON, got '{'"),
        ('"text"', "message: expected `object`, got `str`"),
        ("{}", "event: expected the type of this message, got None"),
        (changed(MEDIA, "media.payload", "a*b="), "media.payload: invalid base64"),
        (changed(MEDIA, "media.payload", 7), "media.payload: expected `bytes`, got `int`"),
        (changed(MEDIA, "media.payload", None), "media: object missing required field `payload`"),
        (
            changed(MEDIA, "media.track", "sideways"),
            "media.track: expected one of start.tracks (inbound, outbound), got",
        ),
        (changed(MEDIA, "media.timestamp", "soon"), "media.timestamp: expected a number of milliseconds, got 'soon'"),
        (changed(START, "start.callSid", "CA2"), "event: expected one stream on this connection"),
        (changed(START, "start.streamSid", "MZ2"), "event: expected one stream on this connection"),
        (changed(START, "start.tracks", ["inbound"]), "event: expected one stream on this connection"),
    ],
)
def test_a_bad_message_is_refused_by_its_field(message: str, says: str) -> None:
    with pytest.raises(ProtocolError) as fault:
        started().receive(message)
    assert says in str(fault.value)


@pytest.mark.parametrize(
    ("path", "value", "kind", "says"),
    [
        ("start.callSid", "", ProtocolError, "start.callSid: expected 1 to 128 letters"),
        ("start.callSid", "../etc", ProtocolError, "start.callSid"),
        ("start.callSid", None, ProtocolError, "start: object missing required field `callSid`"),
        ("start.tracks", ["up"], ProtocolError, "start.tracks: expected inbound or outbound, got 'up'"),
        ("start.tracks", ["inbound", "inbound"], ProtocolError, "start.tracks: expected each track once"),
        ("start.mediaFormat.encoding", "audio/x-l16", UnsupportedMedia, "start.mediaFormat: expected encoding"),
        ("start.mediaFormat.sampleRate", 16000, UnsupportedMedia, "got audio/x-mulaw, 16000, 1"),
        ("start.mediaFormat.sampleRate", "8k", ProtocolError, "start.mediaFormat.sampleRate: expected a whole number"),
        ("start.customParameters.role_inbound", "boss", ProtocolError, "role_inbound: expected one of caller, callee"),
    ],
)
def test_a_bad_start_is_refused_by_its_field(path: str, value: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as fault:
        Twilio().receive(changed(START, path, value))
    assert says in str(fault.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("start.customParameters", {"n": 7, "on": True, "none": None, "list": [1]}),
        ("start.mediaFormat", None),
        ("start.tracks", ["both_tracks"]),
        ("start.tracks", ["Inbound_Track", "outbound_track"]),
        ("start.callSid", 17),
    ],
)
def test_a_start_in_other_words_is_taken(path: str, value: Any) -> None:
    (started,) = Twilio().receive(changed(START, path, value))
    assert isinstance(started, StreamStarted)
    assert [leg.leg for leg in started.legs] == ["inbound", "outbound"]
    if path == "start.customParameters":
        assert started.parameters == {"n": "7", "on": "True"}


def test_binary_is_refused() -> None:
    with pytest.raises(WrongFrameKind, match="expected a JSON text frame, got a binary one"):
        Twilio().receive(b"\xff" * 160)


# Computed with openssl: printf '%s' URL | openssl dgst -sha1 -hmac 12345 -binary | base64
@pytest.mark.parametrize(
    "signature",
    ["xOtUNom2O6Ixz0xt8ODDv8MkQUY=", "l1kCkxwGIXa39FwZNOU5zimZCp0=", "l0WzXexllA+2Nr2uoD32CYvxCeo="],
)
@pytest.mark.parametrize(
    "configured",
    [
        "wss://gw.example.com/twilio/media",
        "https://gw.example.com/twilio/media/",
        "https://gw.example.com:443/twilio/media",
    ],
)
def test_every_spelling_of_our_url_may_have_been_signed(configured: str, signature: str) -> None:
    assert signature_matches("12345", [configured], signature)
    assert not signature_matches("12346", [configured], signature)
    assert not signature_matches("12345", ["https://other.example.com/twilio/media"], signature)
    assert not signature_matches("12345", [configured], "")
    assert not signature_matches("12345", [configured], "é")
