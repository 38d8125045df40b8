"""Plain audio: the URL's query and the frames."""

from __future__ import annotations

import pytest

from gateway.errors import ProtocolError, RequestError, UnsupportedMedia, WrongFrameKind
from gateway.ingest.dialects.plain import Plain
from gateway.ingest.events import AudioFormat, AudioReceived, LegDescription, LegId

QUERY = {"call_id": "c-1", "leg": "caller", "encoding": "s16le", "rate": "16000", "channels": "1"}


def test_one_channel_is_one_leg() -> None:
    dialect = Plain(QUERY)
    assert dialect.started.call_id == "c-1"
    assert dialect.started.legs == (LegDescription(LegId("caller"), AudioFormat("s16le", 16_000), "caller"),)
    assert dialect.receive(b"\x01\x02\x03\x04") == [AudioReceived(LegId("caller"), b"\x01\x02\x03\x04")]


@pytest.mark.parametrize(("leg", "names"), [("agent,customer", ["agent", "customer"]), ("x", ["x.0", "x.1"])])
def test_two_channels_are_two_legs_interleaved(leg: str, names: list[str]) -> None:
    dialect = Plain(QUERY | {"leg": leg, "channels": "2"})
    assert [description.leg for description in dialect.started.legs] == names
    assert dialect.receive(b"\x01\x02\x03\x04\x05\x06\x07\x08") == [
        AudioReceived(LegId(names[0]), b"\x01\x02\x05\x06"),
        AudioReceived(LegId(names[1]), b"\x03\x04\x07\x08"),
    ]


def test_g711_channels_are_bytes() -> None:
    dialect = Plain({"call_id": "c", "leg": "a,b", "encoding": "mulaw", "channels": "2"})
    first, second = dialect.receive(b"abcd")
    assert isinstance(first, AudioReceived)
    assert isinstance(second, AudioReceived)
    assert (first.payload, second.payload) == (b"ac", b"bd")


def test_encoding_and_rate_default_to_telephone_audio() -> None:
    (description,) = Plain({"call_id": "c", "leg": "a"}).started.legs
    assert description.format == AudioFormat("mulaw", 8000)


def test_the_role_comes_from_the_query_then_the_settings_then_the_name() -> None:
    def roles(query: dict[str, str], configured: dict[str, str]) -> list[str]:
        return [description.role for description in Plain(query, configured).started.legs]

    assert roles(QUERY | {"leg": "x", "role": "agent"}, {"x": "caller"}) == ["agent"]
    assert roles(QUERY | {"leg": "x"}, {"x": "callee"}) == ["callee"]
    assert roles(QUERY | {"leg": "x"}, {}) == ["unknown"]
    assert roles(QUERY | {"leg": "a,b", "channels": "2", "role_b": "customer"}, {}) == ["unknown", "customer"]


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"call_id": ""}, ProtocolError, "call_id: expected in the URL's query, got none"),
        ({"leg": ""}, ProtocolError, "leg: expected in the URL's query, got none"),
        ({"leg": "a b"}, ProtocolError, "leg: expected 1 to 128 letters"),
        ({"leg": "a,b"}, ProtocolError, "leg: expected 1 different name(s)"),
        ({"leg": "a,a", "channels": "2"}, ProtocolError, "leg: expected 2 different name(s)"),
        ({"encoding": "mp3"}, UnsupportedMedia, "encoding: expected one of mulaw, alaw, s16le, got 'mp3'"),
        ({"channels": "3"}, UnsupportedMedia, "channels: expected one of 1, 2, got '3'"),
        ({"rate": "fast"}, ProtocolError, "rate: expected a whole number of hertz, got 'fast'"),
        ({"rate": "4000"}, UnsupportedMedia, "rate: expected 8000 to 192000 Hz, got 4000"),
        ({"role": "boss"}, ProtocolError, "role: expected one of"),
        ({"codec": "mulaw"}, ProtocolError, "codec: unknown parameter; expected call_id, leg"),
    ],
)
def test_a_bad_url_is_refused_by_its_parameter(change: dict[str, str], kind: type[RequestError], says: str) -> None:
    with pytest.raises(kind) as fault:
        Plain(QUERY | change)
    assert says in str(fault.value)


def test_text_is_refused() -> None:
    with pytest.raises(WrongFrameKind, match="expected a binary frame"):
        Plain(QUERY).receive("hello")


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ProtocolError, match="expected a multiple of 4 bytes, got 6"):
        Plain(QUERY | {"leg": "a,b", "channels": "2"}).receive(b"abcdef")
