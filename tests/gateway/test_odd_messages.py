"""Messages as vendors, proxies and emulators send them beside their documents: a call goes on, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.client import ClientConnection

from gateway.client.tracks import BandwidthCall, ExotelCall, PlivoCall, SignalWireCall, TelnyxCall, TrackCall
from tests.gateway.conftest import Serve
from tests.gateway.wire import closed, subscribed

pytestmark = pytest.mark.usefixtures("detector")

VENDORS = (SignalWireCall, TelnyxCall, PlivoCall, ExotelCall, BandwidthCall)
PARAMETERS = ("customParameters", "custom_parameters", "extra_headers", "streamParams", "tags", "client_state")
"""What vendors call the operator's own parameters, and other fields that may be missing."""
NUMBERS = (
    "chunk",
    "timestamp",
    "sequenceNumber",
    "sequence_number",
    "sample_rate",
    "sampleRate",
    "channels",
    "bit_rate",
)
IDS = {"callSid", "call_control_id", "callId", "call_sid"}
Message = dict[str, Any]
Opening = Callable[[list[Message]], list[Message]]


def kind_field(message: Message) -> str:
    return "eventType" if "eventType" in message else "event"


def changed(message: Message, change: Callable[[Message], None]) -> Message:
    """Return a message after a change to it and to everything inside."""
    copy: Message = json.loads(json.dumps(message))

    def each(part: Any) -> Iterator[Message]:
        if isinstance(part, dict):
            yield part
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from each(inner)

    for part in list(each(copy)):
        change(part)
    return copy


def nothing(_part: Message) -> None:
    """Leave it as documented."""


def null(part: Message) -> None:
    part.update(dict.fromkeys(PARAMETERS & part.keys()))


def absent(part: Message) -> None:
    for name in PARAMETERS & part.keys():
        del part[name]


def numbers_turned(part: Message) -> None:
    for name in NUMBERS & part.keys():
        part[name] = int(part[name]) if isinstance(part[name], str) else str(part[name])


def spelled(part: Message) -> None:
    for name in {"event", "eventType"} & part.keys():
        part[name] = f" {part[name].upper()} "


def with_more(part: Message) -> None:
    part["x_new_field"] = {"of": ["a later version"]}


def of_another_type(part: Message) -> None:
    part.update(dict.fromkeys(PARAMETERS & part.keys(), 7))


def padded(part: Message) -> None:
    """White space around names, and in base64, whose MIME form has lines."""
    for name in IDS & part.keys():
        part[name] = f" {part[name]}\n"
    if "payload" in part:
        part["payload"] = f"{part['payload'][:76]}\r\n{part['payload'][76:]}\r\n"


CHANGES = {
    change.__name__: change
    for change in (nothing, null, absent, numbers_turned, spelled, with_more, of_another_type, padded)
}


def open_call(vendor: type[TrackCall], url: str, change: Callable[[Message], None], call_id: str = "c-1") -> TrackCall:
    """Return a call whose messages are all changed."""
    tracks = ("caller",) if vendor is ExotelCall else ("inbound", "outbound")
    call = vendor(url, call_id, tracks)
    for part in ("opening", "media", "closing"):
        written = getattr(call, part)

        def odd(*arguments: Any, written: Callable[..., Any] = written) -> Any:
            said = written(*arguments)
            return [changed(one, change) for one in said] if isinstance(said, list) else changed(said, change)

        setattr(call, part, odd)
    return call


def ignored(vendor: type[TrackCall], reason: str) -> float:
    labels = {"source": vendor.door, "reason": reason}
    return REGISTRY.get_sample_value("callscreen_messages_ignored_total", labels) or 0.0


async def ended(serve: Serve, vendor: type[TrackCall], change: Callable[[Message], None], *between: str) -> Message:
    """Play a second of silence, with those frames sent in its middle; return how the first leg ended."""
    server = await serve(doors={vendor.door: {}})
    async with subscribed(server) as events:
        async with open_call(vendor, server.url, change) as call:
            track = next(iter(call._packetizers))
            for index, packet in enumerate(call.packets(track, np.zeros(16_000, np.float32))):
                for frame in between if index == 25 else ():
                    await call.transmit(frame)
                await call.transmit(packet)
            await call.stop()
        leg: Message = (await events.until("leg.ended", leg=track))["data"]
    return leg


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_fields_that_are_missing_null_new_or_spelled_otherwise(
    serve: Serve, vendor: type[TrackCall], change: Callable[[Message], None]
) -> None:
    leg = await ended(serve, vendor, change)
    assert (leg["audio_s"], leg["missing_s"]) == (1.0, 0.0)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_messages_of_no_use_are_counted_and_cost_no_audio(serve: Serve, vendor: type[TrackCall]) -> None:
    field = kind_field(vendor("http://x", "c", ("caller",)).opening(["caller"])[-1])
    unknown, broken = ignored(vendor, "unknown_event"), ignored(vendor, "not_json")
    odd = [json.dumps({field: "warming_up", "payload": None}), "", "not JSON", "[]", "{}", json.dumps({field: None})]
    leg = await ended(serve, vendor, nothing, *odd)
    assert (leg["audio_s"], leg["missing_s"]) == (1.0, 0.0)
    assert ignored(vendor, "unknown_event") == unknown + 1
    assert ignored(vendor, "not_json") == broken + 2


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_repeated_start_is_ignored(serve: Serve, vendor: type[TrackCall]) -> None:
    tracks = ["caller"] if vendor is ExotelCall else ["inbound", "outbound"]
    start = json.dumps(vendor("http://x", "c-1", tracks).opening(tracks)[-1])
    before = ignored(vendor, "repeated_start")
    leg = await ended(serve, vendor, nothing, start)
    assert (leg["audio_s"], leg["missing_s"]) == (1.0, 0.0)
    assert ignored(vendor, "repeated_start") == before + 1


@pytest.mark.parametrize("vendor", VENDORS)
async def test_the_start_of_another_call_is_refused_and_ends_this_one_alone(
    serve: Serve, vendor: type[TrackCall]
) -> None:
    server = await serve(doors={vendor.door: {}})
    tracks = ["caller"] if vendor is ExotelCall else ["inbound", "outbound"]
    other = json.dumps(vendor("http://x", "another", tracks).opening(tracks)[-1])
    async with subscribed(server) as events:
        async with open_call(vendor, server.url, nothing, "beside") as beside:
            async with open_call(vendor, server.url, nothing) as call:
                await call.transmit(other)
                assert isinstance(call._socket, ClientConnection)
                code, reason = await closed(call._socket)
            await beside.send(tracks[0], np.zeros(8_000, np.float32))
            await beside.stop()
        calls = [(await events.until("call.ended"))["data"]["call_id"] for _ in range(2)]
    assert (code, "another one" in reason) == (4400, True)
    assert calls == ["c-1", "beside"]
