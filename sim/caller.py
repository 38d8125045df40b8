"""Plays one call over real sockets.  [IO]"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import httpx
from websockets.exceptions import WebSocketException

from gateway.client.codecs import CLIP_RATE_HZ, Samples
from gateway.client.media import PlainStream, TwilioCall
from gateway.client.whip import WhipError, WhipPublisher
from sim.calls import Call
from sim.network import InFlight

TICK_S = 0.02
_TICK_SAMPLES = round(TICK_S * CLIP_RATE_HZ)


class CallFailed(Exception):
    """A call could not be played to its end: the gateway is not there, refused it or hung up; the text says why."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to call, and with which credentials."""

    url: str
    token: str | None = None
    twilio_auth_token: str | None = None


class Clock(Protocol):
    """The one clock of all calls, in seconds of scenario time."""

    def now_s(self) -> float:
        """Return the time since the scenario began."""
        ...

    async def until(self, due_s: float) -> float:
        """Wait until that moment; return by how many real seconds it was missed."""
        ...


@dataclass(frozen=True, slots=True)
class _Wire:
    """How one leg's audio becomes packets, and how a packet is sent."""

    packets: Callable[[Samples], list[Any]]
    transmit: Callable[[Any], Awaitable[None]]


async def play(call: Call, gateway: Gateway, clock: Clock) -> None:
    """Wait for the call's start, connect, speak all parts, hang up.

    Raises:
        CallFailed: not to its end.
    """
    await clock.until(call.start_s)
    try:
        async with AsyncExitStack() as connections:
            wires, goodbyes = await _connect(call, gateway, connections)
            call.began_s = clock.now_s()
            await _speak(call, wires, clock)
            for goodbye in goodbyes:
                await goodbye()
    except (OSError, WebSocketException, WhipError, httpx.HTTPError) as error:
        raise CallFailed(str(error) or type(error).__name__) from error


async def _connect(
    call: Call, gateway: Gateway, connections: AsyncExitStack
) -> tuple[dict[str, _Wire], list[Callable[[], Awaitable[None]]]]:
    """Open the call's connections; return each leg's wire, and how to say goodbye."""
    if call.transport == "twilio":
        twilio = await connections.enter_async_context(
            TwilioCall(
                gateway.url, call.call_id, gateway.twilio_auth_token, tracks=tuple(call.parts), token=gateway.token
            )
        )
        return {leg: _Wire(partial(twilio.packets, leg), twilio.transmit) for leg in call.parts}, [twilio.stop]
    wires: dict[str, _Wire] = {}
    goodbyes: list[Callable[[], Awaitable[None]]] = []
    for leg in call.parts:
        stream = _stream(call, leg, gateway)
        await connections.enter_async_context(stream)
        wires[leg] = _Wire(stream.packets, stream.transmit)
        goodbyes.append(stream.stop)
    return wires, goodbyes


def _stream(call: Call, leg: str, gateway: Gateway) -> PlainStream | WhipPublisher:
    if call.transport == "webrtc":
        return WhipPublisher(gateway.url, call.call_id, leg, gateway.token)
    return PlainStream(gateway.url, call.call_id, leg, "alaw", token=gateway.token)


async def _speak(call: Call, wires: dict[str, _Wire], clock: Clock) -> None:
    """Send each leg's audio tick by tick, every packet when its line lets it through."""
    assert call.began_s is not None
    air = InFlight[tuple[_Wire, Any]](in_order=call.transport != "webrtc")
    for tick in range(round(call.plan.duration_s / TICK_S)):
        due_s = call.began_s + tick * TICK_S
        call.late_s = max(call.late_s, await clock.until(due_s))
        for leg, wire in wires.items():
            for packet in wire.packets(call.parts[leg].read(tick * _TICK_SAMPLES, _TICK_SAMPLES)):
                air.push(due_s, call.lines[leg].fate(), (wire, packet))
        for wire, packet in air.arrived(due_s):
            await wire.transmit(packet)
    for wire, packet in air.arrived(math.inf):
        await wire.transmit(packet)
