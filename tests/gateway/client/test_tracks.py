"""The clients write what the vendors' own pages show, and the gateway's readers read what the clients write."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from gateway.client.codecs import Encoding
from gateway.client.tracks import (
    BandwidthCall,
    ExotelCall,
    PlivoCall,
    SignalWireCall,
    TelnyxCall,
    TrackCall,
    authenticated,
    plivo_signature,
)
from gateway.ingest.dialects.bandwidth import Bandwidth
from gateway.ingest.dialects.exotel import Exotel
from gateway.ingest.dialects.plivo import Plivo
from gateway.ingest.dialects.signalwire import SignalWire
from gateway.ingest.dialects.telnyx import Telnyx
from gateway.ingest.dialects.tracks import TrackDialect
from gateway.ingest.events import AudioReceived, StreamStarted
from tests.gateway.goldens import BANDWIDTH, EXOTEL, PLIVO, SIGNALWIRE, TELNYX, Golden, same_shape

VENDORS: list[tuple[type[TrackCall], type[TrackDialect], Golden, Encoding]] = [
    (SignalWireCall, SignalWire, SIGNALWIRE, "s16le"),
    (TelnyxCall, Telnyx, TELNYX, "alaw"),
    (PlivoCall, Plivo, PLIVO, "s16le"),
    (ExotelCall, Exotel, EXOTEL, "s16le"),
    (BandwidthCall, Bandwidth, BANDWIDTH, "mulaw"),
]


def written(vendor: type[TrackCall], encoding: Encoding) -> tuple[list[Any], list[str], list[Any]]:
    """What a client says before the audio, in it, and after it."""
    tracks = ("caller",) if vendor is ExotelCall else ("inbound", "outbound")
    call = vendor("http://127.0.0.1:8080", "c-1", tracks, {f"role_{tracks[0]}": "customer"}, encoding=encoding)
    opening = call.opening(list(tracks))
    media = call.packets(tracks[-1], np.zeros(6400, np.float32))
    return opening, media, call.closing()


@pytest.mark.parametrize(("vendor", "_reader", "golden", "encoding"), VENDORS)
def test_messages_are_the_vendors(
    vendor: type[TrackCall], _reader: type[TrackDialect], golden: Golden, encoding: Encoding
) -> None:
    opening, media, closing = written(vendor, encoding)
    assert len(opening) == len(golden.opening)
    assert all(same_shape(one, other) for one, other in zip(opening, golden.opening, strict=True))
    assert all(same_shape(json.loads(one), golden.media) for one in media)
    assert len(closing) == len(golden.closing)
    assert all(same_shape(one, other) for one, other in zip(closing, golden.closing, strict=True))


@pytest.mark.parametrize(("vendor", "reader", "_golden", "encoding"), VENDORS)
def test_the_gateway_reads_them(
    vendor: type[TrackCall], reader: type[TrackDialect], _golden: Golden, encoding: Encoding
) -> None:
    opening, media, _closing = written(vendor, encoding)
    dialect = reader()
    (started,) = [event for message in opening for event in dialect.receive(json.dumps(message))]
    assert isinstance(started, StreamStarted)
    assert (started.call_id, started.legs[0].role, started.legs[0].format.encoding) == ("c-1", "customer", encoding)
    heard = [event for message in media for event in dialect.receive(message)]
    assert len(heard) >= 8
    for before, after in itertools.pairwise(heard):
        assert isinstance(before, AudioReceived)
        assert isinstance(after, AudioReceived)
        if before.seq is not None and after.seq is not None:
            assert after.seq == before.seq + 1
        if before.start_ms is not None and after.start_ms is not None:
            assert after.start_ms == before.start_ms + 20


def test_same_shape_sees_a_difference() -> None:
    assert same_shape({"a": 1, "b": ["x"]}, '{"a": 2, "b": ["y"]}')
    for other in ({"a": "1", "b": ["x"]}, {"b": ["x"]}, {"a": 1, "b": []}, {"a": 1, "b": [2]}, "a"):
        assert not same_shape(other, '{"a": 2, "b": ["y"]}')


def test_each_vendor_presents_a_token_its_own_way() -> None:
    assert authenticated("t", TelnyxCall) == {"x-telnyx-streaming-auth-token": "t"}
    assert authenticated("t", ExotelCall) == {"Authorization": "Basic Y2FsbHNjcmVlbjp0"}
    assert authenticated("t", SignalWireCall) == {"Authorization": "Bearer t"}


# printf '%s' "wss://gw.example.com/v1/media/plivo.n0nce" | openssl dgst -sha256 -hmac 12345 -binary | base64
def test_plivo_signs() -> None:
    assert plivo_signature("12345", "wss://gw.example.com/v1/media/plivo", "n0nce") == {
        "X-Plivo-Signature-V3": "L5A3tGkxIV8gg1yJAxftB9EsHGkRafJ0IsvYar8ZqqQ=",
        "X-Plivo-Signature-V3-Nonce": "n0nce",
    }
