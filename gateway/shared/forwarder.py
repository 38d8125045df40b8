"""Forwards the journal to the shared stream, in order, each event once.  [IO]

Events of one call are sent one after another, each after the one before was stored; different calls are sent
concurrently. So the stream always has the events of a call up to some event, without gaps, whatever fails. The position
up to which everything is stored is written to the journal once a second. After a restart or a new connection, the
stream's newest event of a call shows which later events it already has.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from functools import partial

from prometheus_client import Counter, Gauge

from gateway import clock, logs
from gateway.alerts.bus import Bus
from gateway.alerts.journal import SCORE, Entry
from gateway.shared import names, position
from gateway.shared.claim import Claim, JournalTaken
from gateway.shared.link import Link

FORWARDED = Counter("callscreen_nats_forwarded_total", "Events stored in the shared stream.")
LOST = Counter(
    "callscreen_nats_lost_total",
    "Events that the journal had deleted before they could be forwarded; scores among them, even if not forwarded.",
)
BACKLOG = Gauge("callscreen_nats_backlog_events", "Events in the journal that are not in the shared stream yet.")

PAGE_EVENTS = 250
"""Events that are read and sent at a time."""
NOTE_S = 1.0
"""Interval at which the position is written to the journal."""
_log = logs.get(__name__)


class Forwarder:
    """Forwards the events of one journal.

    Args:
        bus: reads the journal.
        scores: whether ``score`` events are forwarded.
    """

    def __init__(self, bus: Bus, *, scores: bool) -> None:
        self._bus = bus
        self._scores = scores
        self._position = 0
        """Sequence number up to which the stream has all events."""
        self._noted: int | None = None
        self._noted_at_s = 0.0

    @property
    def backlog(self) -> int:
        """Number of committed events that are not forwarded yet."""
        return max(0, self._bus.committed - self._position)

    async def run(self, link: Link, claim: Claim) -> None:
        """Forward until something fails.

        Raises:
            JournalTaken: another gateway has the same journal id.
            NatsError, OSError, TimeoutError: the connection failed.
            Overloaded, sqlite3.Error: the journal cannot be read.
        """
        if self._noted is None:
            self._noted = await self._bus.query(partial(position.read, stream=link.stream)) or 0
            self._position = self._noted
        stored = await _Stored.of(link, self._bus)
        while True:
            BACKLOG.set(self.backlog)
            if self.backlog == 0:
                await self._note(link)
                await self._bus.committed_after(self._position)
            page = await self._bus.read(self._position, PAGE_EVENTS)
            claim.check()
            await self._forward(link, page, stored)
            if clock.monotonic_s() >= self._noted_at_s + NOTE_S:
                await self._note(link)

    async def _forward(self, link: Link, page: list[Entry], stored: _Stored) -> None:
        calls = defaultdict(list)
        for entry in page:
            if self._scores or entry.type != SCORE:
                calls[entry.call_id].append(entry)
        try:
            async with asyncio.TaskGroup() as sending:
                for of_one in calls.values():
                    sending.create_task(self._send(link, of_one, stored))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # any of them leads to a new connection
        last = page[-1].seq if page else self._bus.committed
        if self._bus.journal.kept_after(scores=self._scores) > self._position:
            self._count_lost(last - self._position - len(page))
        self._position = last

    def _count_lost(self, events: int) -> None:
        if events > 0:
            LOST.inc(events)
            _log.error("nats: events were deleted from the journal before they could be forwarded", events=events)

    async def _send(self, link: Link, entries: list[Entry], stored: _Stored) -> None:
        """Send the events of one call."""
        journal = self._bus.journal
        for entry in entries:
            if await stored.has(entry):
                continue
            subject = names.subject(link.stream, journal.id, entry.call_id, entry.leg)
            await link.publish(subject, journal.cursor(entry.seq), entry.text)
            FORWARDED.inc()

    async def _note(self, link: Link) -> None:
        """Write the position to the journal. If that fails, the stream is asked for it at the next start."""
        self._noted_at_s = clock.monotonic_s()
        if self._noted == self._position:
            return
        try:
            await self._bus.change(partial(position.move, stream=link.stream, seq=self._position))
        except (sqlite3.Error, OSError) as error:
            _log.warning("nats: the position cannot be written to the journal", error=str(error))
        else:
            self._noted = self._position


class _Stored:
    """The events that the stream had when the connection was made."""

    def __init__(self, link: Link, journal_id: str, up_to: int) -> None:
        self._link = link
        self._journal_id = journal_id
        self._up_to = up_to
        self._newest: dict[str | None, int] = {}

    @classmethod
    async def of(cls, link: Link, bus: Bus) -> _Stored:
        """Look up the newest event. Raises JournalTaken if the stream has events that this journal does not have."""
        journal = bus.journal
        last = await link.last(names.of_journal(link.stream, journal.id))
        if last is None:
            return cls(link, journal.id, 0)
        seq = journal.position((last.headers or {}).get("Nats-Msg-Id", ""))
        page = [] if seq is None else await bus.read(seq - 1, 1 + PAGE_EVENTS)
        if seq is None or (page and page[0].seq == seq and page[0].text.encode() != last.data):
            raise JournalTaken(
                f"the stream {link.stream} has events under the journal id {journal.id} that this journal does not "
                "have: it is an old copy; nothing is forwarded from here. Set `journal` to a new file"
            )
        # Calls are sent concurrently: the stream may also have later events of the same page, of other calls.
        return cls(link, journal.id, page[-1].seq if page else seq)

    async def has(self, entry: Entry) -> bool:
        """Whether the stream had an event."""
        if entry.seq > self._up_to:
            return False
        if entry.call_id not in self._newest:
            last = await self._link.last(names.of_call(self._link.stream, self._journal_id, entry.call_id))
            digits = (last.headers or {}).get("Nats-Msg-Id", "").rpartition("-")[2] if last else ""
            self._newest[entry.call_id] = int(digits) if digits.isdecimal() else 0
        return entry.seq <= self._newest[entry.call_id]
