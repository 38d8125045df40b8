"""Connects this gateway to the shared stream: forwards its events, and serves subscribers of all gateways.  [IO]"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import Counter, Gauge

from gateway import logs
from gateway.alerts.bus import SUBSCRIBERS, Bus
from gateway.alerts.subscription import Filter
from gateway.errors import Overloaded
from gateway.shared.claim import Claim, JournalTaken
from gateway.shared.connection import FAILURES, RETRY_S, stop, until_lost
from gateway.shared.forwarder import Forwarder
from gateway.shared.link import Link, connected
from gateway.shared.reading import Reading, unreadable
from gateway.shared.settings import NatsSettings

CONNECTED = Gauge("callscreen_nats_connected", "1 while the shared stream can be reached, else 0.")
FAILED = Counter("callscreen_nats_failures_total", "Connections to NATS that failed or ended.")
TAKEN = Gauge("callscreen_nats_journal_taken", "1 while nothing is forwarded because the journal is a copy, else 0.")

RECHECK_S = 5.0
"""Between two checks whether the journal's id is free again."""
DRAIN_S = 3.0
"""How long `close` waits for the backlog, and then for the subscribers."""
_log = logs.get(__name__)


class SharedStream:
    """The events of all gateways. Call `start` after the bus was started, `close` before it closes."""

    def __init__(self, settings: NatsSettings, bus: Bus) -> None:
        self._settings = settings
        self._bus = bus
        self._claim = Claim(bus.journal.id)
        self._forwarder = Forwarder(bus, scores=settings.scores)
        self._link: Link | None = None
        self._fault: str | None = "not connected yet"
        self._taken: str | None = None
        self._readings: set[Reading] = set()
        self._changed = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        CONNECTED.set(0)

    @property
    def warnings(self) -> list[str]:
        """Problems that do not keep the gateway from serving calls. They are public, so the cause is only in the
        log."""
        if self._fault is None:
            return []
        return [f"nats cannot be used: {self._forwarder.backlog} events wait in the journal"]

    @property
    def unready(self) -> list[str]:
        """Reasons why no call should be sent here."""
        return ["the journal is a copy: its events are not forwarded to nats"] if self._taken else []

    def start(self) -> None:
        """Start to connect and to forward. Does not wait for NATS."""
        self._task = asyncio.create_task(self._reconnect(), name="nats")

    @asynccontextmanager
    async def subscribe(self, wanted: Filter, last_event_id: str | None) -> AsyncIterator[Reading]:
        """Receive the events of all gateways that `wanted` accepts: new ones, or all after `last_event_id`.

        Raises:
            Overloaded: the stream cannot be read now.
        """
        link = self._link
        if link is None:
            raise unreadable()
        reading = Reading(link, wanted)
        await reading.begin(last_event_id)
        self._readings.add(reading)
        SUBSCRIBERS.inc()
        if self._closing:
            reading.end()
        task = asyncio.create_task(reading.run(), name="nats reading")
        try:
            yield reading
        finally:
            self._readings.discard(reading)
            SUBSCRIBERS.dec()
            self._changed.set()
            await stop(task)

    async def close(self) -> None:
        """Forward the committed events, let the subscribers leave, and disconnect; each step has a deadline.

        Events that were not forwarded are forwarded after the next start.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._bus.flush()
                while self._link is not None and not self._taken and self._forwarder.backlog:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        self._closing = True
        for reading in self._readings:
            reading.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._readings:
                    self._changed.clear()
                    await self._changed.wait()
        if self._task is not None:
            await stop(self._task)

    async def _reconnect(self) -> None:
        """Connect, and connect again whenever the connection ends."""
        while not self._closing:
            try:
                await self._connection()
            except (*FAILURES, Overloaded, sqlite3.Error) as error:
                self._note(str(error).removeprefix("nats: ") or type(error).__name__)
            except Exception as error:  # task root
                self._note(repr(error))
                _log.exception("nats failed")
            await asyncio.sleep(RETRY_S)

    async def _connection(self) -> None:
        """Connect, and forward until something fails."""
        lost = asyncio.Event()
        async with connected(self._settings, lost) as link:
            self._link = link
            self._note(None)
            try:
                await until_lost(lost, self._forward(link))
            finally:
                self._link = None

    async def _forward(self, link: Link) -> None:
        while True:
            try:
                async with self._claim.announced(link):
                    self._note_taken(None)
                    await self._forwarder.run(link, self._claim)
            except JournalTaken as error:
                self._note_taken(str(error))
                await asyncio.sleep(RECHECK_S)

    def _note(self, fault: str | None) -> None:
        CONNECTED.set(fault is None)
        if fault is not None:
            FAILED.inc()
        if (fault is None) != (self._fault is None) or self._fault == "not connected yet":
            if fault is None:
                _log.info("nats connected", stream=self._settings.stream, backlog=self._forwarder.backlog)
            else:
                _log.error("nats cannot be used: events wait in the journal", error=fault)
        self._fault = fault

    def _note_taken(self, reason: str | None) -> None:
        TAKEN.set(reason is not None)
        if reason is not None and reason != self._taken:
            _log.error("nats: nothing is forwarded", error=reason)
        self._taken = reason
