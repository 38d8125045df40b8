"""Connections of a call, for each attach point: audio of legs in, packets out.  [IO]"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gateway.client.codecs import Samples
from gateway.client.forks import Fork, FreeSwitchFork, JambonzListen, LiveKitTrack
from gateway.client.media import MediaSocket, PlainStream, TwilioCall, bearer
from gateway.client.tracks import (
    BandwidthCall,
    ExotelCall,
    PlivoCall,
    SignalWireCall,
    TelnyxCall,
    TrackCall,
    authenticated,
)
from gateway.client.whip import WhipPublisher
from sim.calls import Call
from sim.scenario import STEREO

if TYPE_CHECKING:
    from sim.caller import Gateway

Packet = tuple[str, Any]
"""Leg whose line it is sent over, and the packet."""
UNORDERED = ("telnyx", "webrtc")
"""Attach points whose packets can be reordered."""

_TRACK_CALLS: dict[str, type[TrackCall]] = {
    "signalwire": SignalWireCall,
    "telnyx": TelnyxCall,
    "plivo": PlivoCall,
    "bandwidth": BandwidthCall,
    "exotel": ExotelCall,
}
_FORKS: dict[str, tuple[type[Fork], str]] = {
    "freeswitch": (FreeSwitchFork, "call_id"),
    "jambonz": (JambonzListen, "callSid"),
}


class Socket(Protocol):
    """The common interface of the gateway's clients."""

    async def transmit(self, packet: Any) -> None:
        """Send one packet."""
        ...

    async def stop(self) -> None:
        """Send the rest and the end of the stream."""
        ...


class Carrier:
    """One connection, with the legs that it carries."""

    def __init__(
        self,
        socket: Socket,
        opening: AbstractAsyncContextManager[Any],
        packets: Callable[[Mapping[str, Samples]], list[Packet]],
    ) -> None:
        self.socket = socket
        self.opening = opening
        """The connection is open while this context is entered."""
        self.packets = packets
        """Takes the next audio of each leg of the call; returns the packets that are complete."""


def carriers(call: Call, gateway: Gateway) -> list[Carrier]:
    """Return the connections of a call, not yet opened: one for all legs, or one for each leg."""
    transport, legs = call.transport, list(call.parts)
    if transport in ("twilio", *_TRACK_CALLS):
        return [_of_tracks(call, legs, gateway)]
    if transport in STEREO:
        return [_of_channels(call, legs, gateway)]
    return [_of_leg(call, leg, gateway) for leg in legs]


def _roles(call: Call) -> dict[str, str]:
    return {f"role_{leg}": plan.role for leg, plan in call.plan.legs.items() if plan.role}


def _of_tracks(call: Call, legs: Sequence[str], gateway: Gateway) -> Carrier:
    tracks: TwilioCall | TrackCall
    if call.transport == "twilio":
        tracks = TwilioCall(
            gateway.url, call.call_id, gateway.twilio_auth_token, _roles(call), tuple(legs), token=gateway.token
        )
    else:
        vendor = _TRACK_CALLS[call.transport]
        headers = authenticated(gateway.token, vendor) if gateway.token else {}
        encoding = next(iter(vendor.encodings))
        tracks = vendor(gateway.url, call.call_id, tuple(legs), _roles(call), headers, encoding)
    tracks.dial = gateway.dial

    def packets(audio: Mapping[str, Samples]) -> list[Packet]:
        return [(leg, packet) for leg in legs for packet in tracks.packets(leg, audio[leg])]

    return Carrier(tracks, tracks, packets)


def _of_channels(call: Call, legs: Sequence[str], gateway: Gateway) -> Carrier:
    kind, call_id = _FORKS[call.transport]
    announcement = {call_id: call.call_id} | _roles(call)
    fork = kind(gateway.url, announcement, "stereo", 8000, bearer(gateway.token))
    fork.dial = gateway.dial
    first, second = sorted(legs)  # inbound is the left channel

    def packets(audio: Mapping[str, Samples]) -> list[Packet]:
        return [(first, packet) for packet in fork.packets(np.column_stack([audio[first], audio[second]]))]

    return Carrier(fork, fork, packets)


def _of_leg(call: Call, leg: str, gateway: Gateway) -> Carrier:
    stream: PlainStream | LiveKitTrack | WhipPublisher
    if call.transport == "webrtc":
        stream = WhipPublisher(gateway.url, call.call_id, leg, gateway.token)
    elif call.transport == "livekit":
        announcement = {"call_id": call.call_id, "leg": leg} | ({"role": role} if (role := _role(call, leg)) else {})
        stream = LiveKitTrack(gateway.url, announcement, gateway.token or "")
    else:
        stream = PlainStream(gateway.url, call.call_id, leg, "alaw", token=gateway.token, role=_role(call, leg))
    if isinstance(stream, MediaSocket):
        stream.dial = gateway.dial

    def packets(audio: Mapping[str, Samples]) -> list[Packet]:
        return [(leg, packet) for packet in stream.packets(audio[leg])]

    return Carrier(stream, stream, packets)


def _role(call: Call, leg: str) -> str:
    return call.plan.legs[leg].role
