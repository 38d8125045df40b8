"""FreeSWITCH, jambonz, Vonage: what they announce, and which channel is whose."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gateway.errors import BadMessage, ProtocolError, RequestError
from gateway.ingest.dialects.announced import Announced, FreeSwitch, Jambonz, Vonage
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.events import AudioFormat, AudioReceived, StreamStarted
from tests.gateway.goldens import FREESWITCH, JAMBONZ, VONAGE

RATE_HZ = 16_000


def handshake(subprotocols: str = "", **query: str) -> Handshake:
    headers = {"sec-websocket-protocol": subprotocols} if subprotocols else {}
    return Handshake("ws://127.0.0.1/v1/media/x", query, headers, "127.0.0.1", 0.0)


def start(dialect: Announced, message: str | bytes) -> StreamStarted:
    started = dialect.receive(message)[0]
    assert isinstance(started, StreamStarted)
    return started


@pytest.mark.parametrize(("vendor", "first"), [(FreeSwitch, FREESWITCH), (Jambonz, JAMBONZ)])
def test_a_stereo_fork(vendor: type[Announced], first: str) -> None:
    started = start(vendor(handshake(), {"outbound": "agent"}), first)
    assert (started.call_id, started.source, started.separation) == ("c-1", vendor.source, "separate")
    assert [(leg.leg, leg.format, leg.role, leg.direction) for leg in started.legs] == [
        ("inbound", AudioFormat("s16le", RATE_HZ), "customer", "received_from_party"),
        ("outbound", AudioFormat("s16le", RATE_HZ), "agent", "sent_to_party"),
    ]


def tone(hz: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.asarray(8000 * np.sin(2 * np.pi * hz * np.arange(RATE_HZ // 50 * 5) / RATE_HZ), np.int16)


@pytest.mark.parametrize(
    ("swap", "expected"), [(False, {"inbound": 500, "outbound": 1500}), (True, {"inbound": 1500, "outbound": 500})]
)
@pytest.mark.parametrize(("vendor", "first"), [(FreeSwitch, FREESWITCH), (Jambonz, JAMBONZ)])
def test_tones_tell_whose_channel_is_which(
    vendor: type[Announced], first: str, swap: bool, expected: dict[str, int]
) -> None:
    dialect = vendor(handshake(), {}, swap_channels=swap)
    assert [leg.leg for leg in start(dialect, first).legs] == ["inbound", "outbound"]
    stereo = np.stack([tone(500), tone(1500)], axis=1).astype("<i2").tobytes()
    heard = {}
    for event in dialect.receive(stereo):
        assert isinstance(event, AudioReceived)
        spectrum = np.abs(np.fft.rfft(np.frombuffer(event.payload, "<i2").astype(float)))
        heard[event.leg] = round(int(np.argmax(spectrum)) * RATE_HZ / len(tone(500)))
    assert heard == expected


def test_the_url_may_say_it_all() -> None:
    dialect = FreeSwitch(handshake(call_id="c-2", rate="16k", mix="mono", token="s3cret"), {})
    events = dialect.receive(b"\x01\x00" * 320)
    assert isinstance(events[0], StreamStarted)
    assert events[0].parameters == {"call_id": "c-2", "rate": "16k", "mix": "mono"}
    assert [leg.leg for leg in events[0].legs] == ["inbound"]
    assert events[1:] == [AudioReceived(events[0].legs[0].leg, b"\x01\x00" * 320)]
    assert dialect.receive('{"event":"dtmf"}') == []


@pytest.mark.parametrize("told", [{}, {"call_id": "c-1"}, {"call_id": "c-1", "rate": "16k"}])
def test_audio_before_the_format_is_held_back(told: dict[str, str]) -> None:
    dialect = FreeSwitch(handshake(**told), {})
    early = [bytes([index, 0]) * 640 for index in range(3)]
    assert [dialect.receive(frame) for frame in early] == [[]] * 3
    assert dialect.awaits().startswith("the opening text frame; audio came before it; missing: ")
    started, *heard = dialect.receive(FREESWITCH)
    assert isinstance(started, StreamStarted)
    assert {leg.format for leg in started.legs} == {AudioFormat("s16le", RATE_HZ)}
    assert [(event.leg, event.payload) for event in heard if isinstance(event, AudioReceived)] == [
        (leg, bytes([index, 0]) * 320) for index in range(3) for leg in ("inbound", "outbound")
    ]


def test_parameters_of_url_and_text_frames_are_combined() -> None:
    dialect = FreeSwitch(handshake(rate="16k"), {})
    with pytest.raises(BadMessage, match="call_id"):
        dialect.receive('{"event":"hello"}')
    started = start(dialect, '{"call_id":"c-1","mix":" Stereo "}')
    assert (len(started.legs), started.legs[0].format.rate_hz) == (2, RATE_HZ)


@pytest.mark.parametrize("later", ['{"rate":"8k"}', '{"mix":"mono"}'])
def test_metadata_must_not_contradict_how_audio_was_read(later: str) -> None:
    dialect = FreeSwitch(handshake(call_id="c-1", rate="16k", mix="stereo"), {})
    dialect.receive(bytes(1280))
    assert dialect.receive('{"rate":16000.0,"mix":"STEREO"}') == []
    with pytest.raises(ProtocolError, match="rate, mix: expected those of the URL"):
        dialect.receive(later)


def test_the_metadata_wins_over_the_url() -> None:
    assert start(FreeSwitch(handshake(call_id="c-2"), {}), FREESWITCH).call_id == "c-1"


@pytest.mark.parametrize("offered", ["audio.drachtio.org", "bearer.x, audio.drachtio.org"])
def test_the_offered_subprotocol_is_taken(offered: str) -> None:
    assert FreeSwitch(handshake(offered), {}).subprotocol == "audio.drachtio.org"
    assert FreeSwitch(handshake(), {}).subprotocol is None


@pytest.mark.parametrize(
    ("vendor", "first"),
    [(Vonage, VONAGE), (FreeSwitch, FREESWITCH.replace("stereo", "mixed"))],
)
def test_mixed_audio_is_marked_as_mixed(vendor: type[Announced], first: str) -> None:
    started = start(vendor(handshake(), {}), first)
    assert (started.separation, [leg.leg for leg in started.legs]) == ("mixed", ["mixed"])
    assert started.legs[0].format == AudioFormat("s16le", RATE_HZ)


@pytest.mark.parametrize(
    ("vendor", "first", "says"),
    [
        (FreeSwitch, "hello", "message: expected JSON"),
        (
            FreeSwitch,
            '{"rate":"8k","mix":"mono"}',
            "call_id: expected in this text frame or in the URL's query, got none",
        ),
        (FreeSwitch, '{"call_id":"c","rate":"8k"}', "mix: expected in this text frame or in the URL's query, got none"),
        (
            FreeSwitch,
            '{"call_id":"c","mix":"mono"}',
            "rate: expected in this text frame or in the URL's query, got none",
        ),
        (FreeSwitch, '{"call_id":"c","mix":"mono","rate":null}', "rate: expected in this text frame"),
        (FreeSwitch, '{"call_id":"../c","rate":"8k","mix":"mono"}', "call_id: expected 1 to 128 letters"),
        (
            FreeSwitch,
            '{"call_id":"c","rate":8000,"mix":"quad"}',
            "mix: expected one of mono, mixed, stereo, got 'quad'",
        ),
        (FreeSwitch, '{"call_id":"c","mix":"mono","rate":"fast"}', "rate: expected a whole number"),
        (FreeSwitch, '{"call_id":"c","mix":"mono","rate":"4000"}', "rate: expected 8000 to 192000 Hz"),
        (Jambonz, '{"mixType":"mono","sampleRate":8000}', "callSid: expected in this text frame"),
        (Vonage, VONAGE.replace("audio/l16", "audio/mp3"), "content-type: expected audio/l16"),
        (Vonage, VONAGE.replace("rate=16000", "rate=x"), "content-type: expected a whole number"),
    ],
)
def test_a_bad_announcement_is_refused(vendor: type[Announced], first: str, says: str) -> None:
    with pytest.raises(RequestError) as fault:
        vendor(handshake(), {}).receive(first)
    assert says in str(fault.value)


def test_half_a_frame_is_refused() -> None:
    dialect = FreeSwitch(handshake(), {})
    dialect.receive(FREESWITCH)
    with pytest.raises(ProtocolError, match="multiple of 4 bytes, got 6"):
        dialect.receive(b"123456")


def test_metadata_is_flattened_one_level() -> None:
    first = json.loads(JAMBONZ) | {"tags": ["a"], "metadata": {"tenant": "blue", "callSid": "not this one"}}
    started = start(Jambonz(handshake(), {}), json.dumps(first))
    assert (started.call_id, started.parameters["tenant"]) == ("c-1", "blue")
    assert "tags" not in started.parameters
