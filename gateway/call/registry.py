"""The registry of live calls: admits streams, joins them to calls, ends them.  [IO]"""

from __future__ import annotations

import asyncio
import math
from collections import Counter as Counts
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from gateway import clock, logs
from gateway.alerts.event import CallEnded, CallStarted, CoverageReduced
from gateway.call.crosstalk import Crosstalk
from gateway.call.overload import Step
from gateway.call.session import Engine, LegSession
from gateway.config import Settings
from gateway.errors import DuplicateStream, Forbidden, Overloaded
from gateway.ingest.events import AudioReceived, CallId, LegId, Separation, StreamStarted
from gateway.pace import media

CALLS = Gauge("callscreen_calls", "Calls being listened to.")
LEGS = Gauge("callscreen_legs", "Legs being listened to.", ["source"])
VERDICTS = Counter("callscreen_verdicts_total", "Legs that ended, by verdict.", ["verdict"])
LEGS_OF_A_CALL = 2
"""Legs per call of `max_calls` in total; some calls may have more if others have fewer."""
REFUSAL_EVENT_INTERVAL_S = 1.0
"""Between two ``coverage.reduced`` for calls refused because of overload, so that many refusals cause few events."""
MAX_LEGS = 16
"""Per call, since each leg is compared with every other for crosstalk."""
_log = logs.get(__name__)


CallState = dict[str, Any]
"""A call in the format of ``GET /v1/calls/{id}``."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The load of the gateway's other processes, since limits apply to the whole gateway."""

    calls: int = 0
    legs: int = 0
    calls_of: Counts[str] = field(default_factory=Counts)
    legs_of: Counts[str] = field(default_factory=Counts)
    """Legs by tenant, as `calls_of` has the calls."""


@dataclass(slots=True)
class Call:
    """A live call. Its legs may come over one stream or several, and are scored independently."""

    call_id: CallId
    source: str
    separation: Separation
    tenant: str | None
    started_s: float
    legs: dict[LegId, LegSession] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    crosstalk: Crosstalk = field(default_factory=Crosstalk)

    def state(self) -> CallState:
        """Return the call with the current state of its legs."""
        return {
            "call_id": self.call_id,
            "source": self.source,
            "separation": self.separation,
            "tenant": self.tenant,
            "age_s": round(clock.monotonic_s() - self.started_s, 1),
            "legs": [leg.state() for leg in self.legs.values()],
        }


class Registry:
    """The live calls. For the event loop's thread."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._max_calls = settings.max_calls
        self._max_calls_per_tenant = settings.max_calls_per_tenant
        self._max_call_s = settings.max_call_s
        self._pace = partial(media, settings.max_speed, settings.max_burst_s)
        self._calls: dict[CallId, Call] = {}
        self._streams: set[Stream] = set()
        self.elsewhere = Elsewhere()
        self._refusal_event_s = -math.inf
        self.draining = False
        """Whether no stream is admitted any more."""
        self._empty = asyncio.Event()
        self._empty.set()

    def calls(self) -> list[Call]:
        """Return the live calls, oldest first."""
        return list(self._calls.values())

    def open(self, started: StreamStarted) -> Stream:
        """Admit a stream; see `gateway.ingest.events.Calls.open`."""
        call = self._calls.get(started.call_id)
        if self.draining:
            raise Overloaded("the gateway is shutting down")
        if call is None:
            self._check_load(started)
            self._check_calls(started.tenant)
        else:
            _check_fits(call, started)
        self._check_legs(started)
        if call is None:
            call = self._start_call(started)
        legs = {}
        for description in started.legs:
            leg = LegSession(
                started, description, self._engine, call.crosstalk, self._pace(), partial(self._leg_ended, call)
            )
            call.legs[description.leg] = legs[description.leg] = leg
            LEGS.labels(started.source).inc()
        left_s = (started.max_call_s or self._max_call_s) - (clock.monotonic_s() - call.started_s)
        stream = Stream(legs, self._streams, max(0.0, left_s))
        self._streams.add(stream)
        return stream

    def end(self, call_id: str, leg: str | None, reason: str) -> None:
        """End the streams of a call that carry this leg; None: all of them."""
        call = self._calls.get(CallId(call_id))
        if call is None:
            return
        wanted = [session for name, session in call.legs.items() if leg in (None, name)]
        for stream in list(self._streams):
            if any(stream.has(session) for session in wanted):
                stream.end(reason)

    async def drain(self) -> None:
        """Admit no more streams, and end all calls with verdicts; returns after the last event was published."""
        self.draining = True
        for stream in list(self._streams):
            stream.end("shutdown")
        await self._empty.wait()
        if self._engine.evidence:
            await self._engine.evidence.finish()

    def _check_load(self, started: StreamStarted) -> None:
        """Raises Overloaded, and publishes an event, if new calls are refused because of overload."""
        if self._engine.load.step is not Step.NO_NEW_CALLS:
            return
        now_s = clock.monotonic_s()
        if now_s - self._refusal_event_s >= REFUSAL_EVENT_INTERVAL_S:
            self._refusal_event_s = now_s
            facts = {"media_time_s": None, "reason": Step.NO_NEW_CALLS.reason, "windows_skipped": 0, "missing_s": 0.0}
            refused = _of_a_call(started.call_id, started.tenant)
            self._engine.bus.publish(CoverageReduced.model_validate(refused | facts))
        raise Overloaded("the gateway is overloaded and takes no new calls; try again in 5 s")

    def _check_legs(self, started: StreamStarted) -> None:
        """Raises Overloaded if the limit on legs, in total or of the tenant, would be exceeded."""
        calls, limit = self.calls(), LEGS_OF_A_CALL * self._max_calls
        if sum(len(call.legs) for call in calls) + self.elsewhere.legs + len(started.legs) > limit:
            raise Overloaded(f"all {limit} legs are taken")
        if (tenant := started.tenant) and self._max_calls_per_tenant:
            limit = LEGS_OF_A_CALL * self._max_calls_per_tenant
            taken = sum(len(call.legs) for call in calls if call.tenant == tenant) + self.elsewhere.legs_of[tenant]
            if taken + len(started.legs) > limit:
                raise Overloaded(f"all {limit} legs of tenant {started.tenant} are taken")

    def _check_calls(self, tenant: str | None) -> None:
        """Raises Overloaded if the limit on calls, in total or of the tenant, is reached."""
        if len(self._calls) + self.elsewhere.calls >= self._max_calls:
            raise Overloaded(f"all {self._max_calls} calls are taken")
        limit = self._max_calls_per_tenant
        if not (tenant and limit):
            return
        taken = sum(call.tenant == tenant for call in self._calls.values()) + self.elsewhere.calls_of[tenant]
        if taken >= limit:
            raise Overloaded(f"all {limit} calls of tenant {tenant} are taken")

    def _start_call(self, started: StreamStarted) -> Call:
        call = self._calls[started.call_id] = Call(
            started.call_id, started.source, started.separation, started.tenant, clock.monotonic_s()
        )
        self._empty.clear()
        CALLS.inc()
        self._logger(call).info("call started")
        facts = {"media_time_s": 0.0, "reason": "media_started", "source": call.source, "separation": call.separation}
        self._engine.bus.publish(CallStarted.model_validate(_of_a_call(call.call_id, call.tenant) | facts))
        return call

    def _leg_ended(self, call: Call, leg: LegSession) -> None:
        del call.legs[leg.description.leg]
        call.crosstalk.forget(leg.description.leg)
        call.verdicts[leg.description.leg] = leg.verdict
        VERDICTS.labels(leg.verdict).inc()
        LEGS.labels(leg.source).dec()
        if not call.legs:
            self._end_call(call)

    def _end_call(self, call: Call) -> None:
        del self._calls[call.call_id]
        CALLS.dec()
        duration_s = clock.monotonic_s() - call.started_s
        self._logger(call).info("call ended", duration_s=round(duration_s, 2), verdicts=call.verdicts)
        facts = {"media_time_s": None, "reason": "all_legs_ended", "verdicts": call.verdicts}
        self._engine.bus.publish(CallEnded.model_validate(_of_a_call(call.call_id, call.tenant) | facts))
        if not self._calls:
            self._empty.set()

    def _logger(self, call: Call) -> structlog.stdlib.BoundLogger:
        bound: structlog.stdlib.BoundLogger = _log.bind(call_id=call.call_id, source=call.source)
        return bound


class Stream:
    """An admitted stream: implements `gateway.ingest.events.OpenStream`."""

    def __init__(self, legs: dict[LegId, LegSession], streams: set[Stream], max_call_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._legs = legs
        self._streams = streams
        self._closed: asyncio.Future[str] = loop.create_future()
        self._too_long = loop.call_later(max_call_s, self.end, "call_too_long")

    def has(self, leg: LegSession) -> bool:
        """Whether the stream carries a leg."""
        return leg in self._legs.values()

    def receive(self, audio: AudioReceived) -> None:
        """Process one payload."""
        leg = self._legs[audio.leg]
        if not leg.ending:
            leg.receive(audio)

    def close(self, reason: str) -> None:
        """End the stream's legs, because the peer ended the stream."""
        self._too_long.cancel()
        self._streams.discard(self)
        for leg in self._legs.values():
            leg.close(reason)

    def end(self, reason: str) -> None:
        """End the stream, because the gateway decides so; the transport learns it from `closed`."""
        self.close(reason)
        if not self._closed.done():
            self._closed.set_result(reason)

    async def closed(self) -> str:
        """Wait until the gateway ends the stream; return the reason."""
        return await asyncio.shield(self._closed)


def _check_fits(call: Call, started: StreamStarted) -> None:
    """Raises DuplicateStream, Forbidden or Overloaded if these legs may not join this call."""
    if call.tenant != started.tenant:
        raise Forbidden("call_id: a live call of another tenant has this id; ids are unique per gateway")
    for description in started.legs:
        if description.leg in call.legs:
            raise DuplicateStream(f"leg: {description.leg!r} of this call has a stream already")
    if len(call.legs) + len(started.legs) > MAX_LEGS:
        raise Overloaded(f"call_id: expected at most {MAX_LEGS} legs in a call, got more")


def _of_a_call(call_id: CallId, tenant: str | None) -> dict[str, object]:
    return {
        "call_id": call_id,
        "tenant": tenant,
        "leg": None,
        "speaker": None,
        "role": None,
        "p_synthetic": None,
        "speech_s": None,
        "model": None,
    }
