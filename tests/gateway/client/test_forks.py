"""What forks announce, as their own pages show it."""

from __future__ import annotations

import pytest

from gateway.client.forks import Fork, FreeSwitchFork, JambonzListen, LiveKitTrack, VonageSocket
from tests.gateway.goldens import FREESWITCH, JAMBONZ, VONAGE, same_shape


@pytest.mark.parametrize(
    ("vendor", "announcement", "golden"),
    [
        (FreeSwitchFork, {"call_id": "c-1", "role_inbound": "customer"}, FREESWITCH),
        (JambonzListen, {"callSid": "c-1", "role_inbound": "customer"}, JAMBONZ),
        (VonageSocket, {"call_id": "c-1"}, VONAGE),
    ],
)
def test_the_first_frame_is_the_vendors(vendor: type[Fork], announcement: dict[str, str], golden: str) -> None:
    assert same_shape(vendor("http://127.0.0.1:8080", announcement, "stereo", 16_000).announced(announcement), golden)


def test_a_livekit_track_announces_nothing() -> None:
    track = LiveKitTrack("http://127.0.0.1:8080", {"call_id": "c", "leg": "a"}, "t")
    assert track._address == "ws://127.0.0.1:8080/v1/media/livekit?token=t&rate=48000&call_id=c&leg=a"


async def test_nothing_is_sent_before_the_connection() -> None:
    with pytest.raises(RuntimeError, match="not connected"):
        await FreeSwitchFork("http://127.0.0.1:8080", {"call_id": "c"}).transmit(b"")
