"""The seam to aiortc: what is private there and used here must still be what it was."""

from __future__ import annotations

import inspect

from aiortc import RTCDtlsTransport, RTCIceGatherer
from aiortc.rtcdtlstransport import RtpReceiver

from gateway.ingest.webrtc.peer import AudioPeer


def test_an_audio_peer_has_all_that_aiortc_asks_of_a_receiver() -> None:
    asked = {name for name, _ in inspect.getmembers(RtpReceiver, inspect.isfunction) if name.startswith("_handle")}
    assert asked == {"_handle_rtp_packet", "_handle_rtcp_packet", "_handle_disconnect"}
    for name in asked:
        ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (AudioPeer, RtpReceiver))
        assert list(ours.parameters) == list(theirs.parameters)


def test_the_transports_have_what_the_peer_uses_of_them() -> None:
    for name in ("_register_rtp_receiver", "_send_rtp", "_set_role"):
        assert callable(getattr(RTCDtlsTransport, name)), name


async def test_candidates_can_be_gathered_at_an_address_of_ones_own() -> None:
    connection = RTCIceGatherer([])._connection
    (candidate,) = await connection.get_component_candidates(1, ["127.0.0.1"])
    assert candidate.host == "127.0.0.1"
    assert connection._local_candidates == []
    await connection.close()
