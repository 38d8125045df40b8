"""Plays one call at a gateway.  [IO]"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import numpy as np
from websockets.exceptions import WebSocketException

from gateway.alerts.cloud_event import CloudEvent
from gateway.client.codecs import CLIP_RATE_HZ, Samples
from gateway.client.events import follow
from gateway.client.media import Dial, dial
from gateway.client.whip import WhipError
from sim.calls import Call
from sim.carriers import UNORDERED, Carrier, carriers
from sim.network import InFlight

TICK_S = 0.02
_TICK_SAMPLES = round(TICK_S * CLIP_RATE_HZ)
_BLOCK_TICKS = 10
SILENT_BELOW = 10 ** (-50 / 20)
"""Peak amplitude below which 20 ms of audio count as silence, for lines with DTX."""
NOBODY_THERE = "expected a gateway listening there (`callscreen serve`)"
BROKEN = (OSError, WebSocketException, WhipError, httpx.HTTPError)
"""Errors of a connection to a gateway."""


class CallFailed(Exception):
    """A call could not be played to its end; the text gives the reason."""


class Follow(Protocol):
    """Follows the events of a gateway; see `gateway.client.events.follow`."""

    def __call__(self, url: str, *, token: str | None, types: Sequence[str]) -> AsyncGenerator[CloudEvent, None]:
        """Yield new events of these types."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """Address, credentials and transport of a gateway."""

    url: str
    token: str | None = None
    twilio_auth_token: str | None = None
    dial: Dial = dial
    follow: Follow = follow
    restart: Callable[[float], Awaitable[None]] | None = None
    """Stops the gateway and starts it again after this many seconds; None if it was not started here."""


class Clock(Protocol):
    """The clock of all calls, in seconds of scenario time."""

    def now_s(self) -> float:
        """Return the time since the start of the scenario."""
        ...

    async def until(self, due_s: float) -> float:
        """Wait until this time; return the delay in real seconds."""
        ...


@dataclass(frozen=True, slots=True)
class _Session:
    """A part of a call with one set of connections."""

    first_tick: int
    end_tick: int
    sends_stop: bool


async def play(call: Call, gateway: Gateway, clock: Clock) -> None:
    """Wait for the call's start, connect, send all audio, hang up; reconnect where the call is cut.

    Raises:
        CallFailed: the call could not be played to its end.
    """
    await clock.until(call.start_s)
    audio = await asyncio.to_thread(call.render)
    try:
        for session in _sessions(call):
            await _play_session(call, gateway, clock, audio, session)
    except ConnectionRefusedError as error:
        raise CallFailed(f"{error}: {NOBODY_THERE}") from error
    except BROKEN as error:
        raise CallFailed(str(error) or type(error).__name__) from error


def _sessions(call: Call) -> Iterator[_Session]:
    from_s: float | None = 0.0
    for cut in call.plan.cut:
        assert from_s is not None
        yield _Session(round(from_s / TICK_S), round(cut.at_s / TICK_S), cut.how == "stop")
        from_s = None if cut.back_after_s is None else cut.at_s + cut.back_after_s
    if from_s is not None:
        yield _Session(round(from_s / TICK_S), round(call.plan.duration_s / TICK_S), True)


async def _play_session(
    call: Call, gateway: Gateway, clock: Clock, audio: dict[str, Samples], session: _Session
) -> None:
    """Play a part of the call; if the gateway hangs up and the call reconnects, continue on new connections."""
    tick = session.first_tick
    while tick < session.end_tick:
        if call.began_s is not None:
            await clock.until(call.began_s + tick * TICK_S)
        sender = _Sender(call, clock, audio, tick)
        try:
            async with AsyncExitStack() as connections:
                opened = carriers(call, gateway)
                for carrier in opened:
                    await connections.enter_async_context(carrier.opening)
                call.began_s = clock.now_s() if call.began_s is None else call.began_s
                call.connected_at_s.append(clock.now_s() - call.began_s)
                await sender.send(opened, session.end_tick)
                if session.sends_stop:
                    for carrier in opened:
                        await carrier.socket.stop()
            return
        except BROKEN:
            if call.plan.reconnect_s is None or clock.now_s() > call.start_s + call.plan.duration_s:
                raise
            await clock.until(clock.now_s() + call.plan.reconnect_s)
            if call.began_s is not None:  # audio of the time without a connection is lost
                tick = max(sender.tick, round((clock.now_s() - call.began_s) / TICK_S))


class _Sender:
    """Sends the audio of each leg tick by tick, each packet when its simulated line delivers it."""

    def __init__(self, call: Call, clock: Clock, audio: dict[str, Samples], tick: int) -> None:
        self.tick = tick
        """The next tick to be sent."""
        self._encoded_tick = tick
        self._call, self._clock, self._audio = call, clock, audio
        self._ready: dict[str, deque[tuple[Carrier, Any]]] = {leg: deque() for leg in call.parts}
        self._in_flight = InFlight[tuple[Carrier, Any]](in_order=call.transport not in UNORDERED)

    async def send(self, opened: Sequence[Carrier], end_tick: int) -> None:
        call = self._call
        assert call.began_s is not None
        while self.tick < end_tick:
            due_s = call.began_s + self.tick * TICK_S
            call.late_s = max(call.late_s, await self._clock.until(due_s))
            if not any(self._ready.values()):
                self._encode(opened, min(end_tick, self.tick + _BLOCK_TICKS))
            for leg, ready in self._ready.items():
                if ready:
                    fate = call.lines[leg].fate(silent=call.plan.network.dtx and self._is_silent(leg))
                    self._in_flight.push(due_s, fate, ready.popleft())
            await self._deliver(due_s)
            self.tick += 1
        await self._deliver(math.inf)

    def _encode(self, opened: Sequence[Carrier], end_tick: int) -> None:
        """Encode the next stretch of every leg; encoding each tick alone costs several times as much."""
        start, end = self._encoded_tick * _TICK_SAMPLES, end_tick * _TICK_SAMPLES
        block = {leg: samples[start:end] for leg, samples in self._audio.items()}
        for carrier in opened:
            for leg, packet in carrier.packets(block):
                self._ready[leg].append((carrier, packet))
        self._encoded_tick = end_tick

    def _is_silent(self, leg: str) -> bool:
        samples = self._audio[leg][self.tick * _TICK_SAMPLES : (self.tick + 1) * _TICK_SAMPLES]
        return not len(samples) or float(np.max(np.abs(samples))) < SILENT_BELOW

    async def _deliver(self, now_s: float) -> None:
        for carrier, packet in self._in_flight.arrived(now_s):
            await carrier.socket.transmit(packet)
