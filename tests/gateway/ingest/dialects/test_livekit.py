"""LiveKit's track egress: the URL names the speaker, binary frames bring the samples."""

from __future__ import annotations

import pytest

from gateway.errors import RequestError
from gateway.ingest.dialects.livekit import LiveKit
from gateway.ingest.events import AudioFormat, AudioReceived, LegId

QUERY = {"call_id": "room-1", "leg": "alice", "token": "s3cret"}


def test_a_track() -> None:
    dialect = LiveKit(QUERY | {"role": "customer"}, {})
    assert (dialect.started.call_id, dialect.started.source) == ("room-1", "livekit")
    assert dialect.started.parameters == {"call_id": "room-1", "leg": "alice", "role": "customer"}
    (description,) = dialect.started.legs
    assert (description.format, description.role) == (AudioFormat("s16le", 48_000), "customer")
    assert dialect.receive(b"\x01\x00\x02\x00") == [AudioReceived(LegId("alice"), b"\x01\x00\x02\x00")]
    assert dialect.receive('{"muted":true}') == []


def test_a_stereo_track_is_one_speaker() -> None:
    dialect = LiveKit(QUERY | {"channels": "2", "rate": "44100"}, {})
    assert dialect.receive(b"\x01\x00\x09\x00\x02\x00\x09\x00") == [AudioReceived(LegId("alice"), b"\x01\x00\x02\x00")]
    assert dialect.started.legs[0].format == AudioFormat("s16le", 44_100)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"leg": "a"}, "call_id: expected in the URL's query"),
        ({"call_id": "c"}, "leg: expected in the URL's query"),
        (QUERY | {"channels": "6"}, "channels: expected 1 or 2"),
        (QUERY | {"rate": "x"}, "rate: expected a whole number"),
        (QUERY | {"rate": "1"}, "rate: expected 8000 to 192000 Hz"),
        (QUERY | {"leg": "../x"}, "leg: expected 1 to 128 letters"),
    ],
)
def test_a_bad_url_is_refused(query: dict[str, str], says: str) -> None:
    with pytest.raises(RequestError) as fault:
        LiveKit(query, {})
    assert says in str(fault.value)
