"""One subscription: a replay from the journal, followed by the live events.  [IO]

During the replay no live events are queued. The subscription reads pages until its position is the last committed event
and becomes live in the same step of the event loop. Nothing is lost, duplicated or reordered, however long the replay
takes and whatever is published meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Literal, Never, Protocol
from uuid import uuid4

import msgspec
from prometheus_client import Counter

from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import Gap, Heartbeat
from gateway.alerts.journal import SCORE, Entry, Journal
from gateway.clock import utc_now
from gateway.errors import UNREADABLE_JSON, SlowConsumer

SCORES_SKIPPED = Counter("callscreen_subscriber_scores_skipped_total", "Scores not sent to a subscriber that lags.")

PAGE_EVENTS = 500
"""Events read from the journal at a time."""


class _Owned(msgspec.Struct):
    tenant: str | None = None


class _OwnedEvent(msgspec.Struct):
    data: _Owned


_owned = msgspec.json.Decoder(_OwnedEvent)


def _tenant_of(text: str) -> str | None:
    """Return the tenant of a stored event (a CloudEvent as JSON); None when it has none or cannot be read."""
    try:
        return _owned.decode(text).data.tenant
    except UNREADABLE_JSON:
        return None


@dataclass(frozen=True)
class Filter:
    """Which events a subscriber receives. None and the empty set mean all, but scores must be asked for by type."""

    call_id: str | None = None
    leg: str | None = None
    types: frozenset[str] = frozenset()
    tenant: str | None = None
    """Only events of this tenant. Set from the subscriber's token, not from its query."""

    @property
    def scores(self) -> bool:
        """Whether scores are included."""
        return SCORE in self.types

    def accepts(self, entry: Entry) -> bool:
        """Whether the subscriber receives `entry`."""
        return (
            (entry.type in self.types if self.types else entry.type != SCORE)
            and self.call_id in (None, entry.call_id)
            and self.leg in (None, entry.leg)
            and (self.tenant is None or self.tenant == _tenant_of(entry.text))
        )


class EventStore(Protocol):
    """The events that a subscription reads: implemented by the bus."""

    journal: Journal
    stopped: bool

    @property
    def committed(self) -> int:
        """Sequence number of the last stored event."""
        ...

    async def read(self, after: int, limit: int) -> list[Entry]:
        """Return the next stored events."""
        ...


class Subscription:
    """The events of one subscriber as JSON texts, in order; iterate over it. Created by `Bus.subscribe`.

    The queue of live events is bounded. When it is full, its oldest score is dropped. If it holds no score, a new score
    is dropped, and any other event ends the subscription: such an event must not be lost, and the bus does not wait.
    """

    def __init__(self, bus: EventStore, wanted: Filter, last_event_id: str | None, queue_events: int) -> None:
        self._bus = bus
        self._journal = bus.journal
        self._wanted = wanted
        self._queue_events = queue_events
        self._scores: deque[Entry] = deque()
        self._others: deque[Entry] = deque()
        self._replayed: deque[str] = deque()
        self._live = False
        self._gap_reported_to = 0
        self._wake = asyncio.Event()
        self._ended = False
        self._overflowed = asyncio.Event()
        position = bus.committed if last_event_id is None else self._journal.position(last_event_id)
        self._position = position or 0
        """Sequence number up to which all accepted events were queued or returned."""
        if position is None:
            self._report_gap(last_event_id, "cursor_unknown")

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> str:
        """Return the next event. Cancelling loses nothing.

        Raises:
            SlowConsumer: see `overflow`.
            StopAsyncIteration: the bus is closing, and all events were returned.
        """
        while True:
            if self._overflowed.is_set():
                await self.overflow()
            if self._replayed:
                return self._replayed.popleft()
            if self._scores or self._others:
                return self._oldest_queue().popleft().text
            if not self._live and not self._bus.stopped:
                await self._replay()
            elif self._ended:
                raise StopAsyncIteration
            else:
                self._wake.clear()
                await self._wake.wait()

    def offer(self, entry: Entry) -> None:
        """Queue a live event if the subscriber receives it. Never waits. For the bus."""
        if not self._live or entry.seq <= self._position or not self._wanted.accepts(entry):
            return
        self._wake.set()
        if len(self._scores) + len(self._others) >= self._queue_events:
            if not self._scores and entry.type != SCORE:
                self._overflowed.set()
                return
            SCORES_SKIPPED.inc()
            if not self._scores:
                return
            self._scores.popleft()
        (self._scores if entry.type == SCORE else self._others).append(entry)

    async def overflow(self) -> Never:
        """Wait until the subscriber is too slow, possibly for ever.

        Raises:
            SlowConsumer: an event that is not a score found no room in the queue.
        """
        await self._overflowed.wait()
        raise SlowConsumer("slow consumer: its queue is full; resume with last_event_id")

    def end(self) -> None:
        """Stop the iteration after the queued events. For the bus."""
        self._ended = True
        self._wake.set()

    def heartbeat(self) -> str:
        """Return a heartbeat with the newest cursor that skips no queued event."""
        if not self._live:
            cursor = self._position
        elif self._scores or self._others:
            cursor = self._oldest_queue()[0].seq - 1
        else:
            cursor = self._bus.committed
        return self._notice(Heartbeat(last_event_id=self._journal.cursor(cursor)), cursor)

    async def _replay(self) -> None:
        """Read the next page, or become live when there is none."""
        committed = self._bus.committed
        if self._position >= committed:
            self._live = True
            return
        page = await self._bus.read(self._position, PAGE_EVENTS)
        if self._journal.kept_after(scores=self._wanted.scores) > max(self._position, self._gap_reported_to):
            self._report_gap(self._journal.cursor(self._position), "cursor_too_old")
            return
        self._replayed.extend(entry.text for entry in page if self._wanted.accepts(entry))
        last = page[-1].seq if page else 0
        self._position = last if len(page) == PAGE_EVENTS else max(last, committed)

    def _report_gap(self, after: str | None, reason: Literal["cursor_too_old", "cursor_unknown"]) -> None:
        """Report once that events are missing, and continue with the oldest stored one."""
        missing_to = self._journal.kept_after(scores=self._wanted.scores)
        self._position = max(self._position, self._journal.kept_after(scores=False))
        self._gap_reported_to = missing_to
        resumed_at = self._journal.cursor(missing_to + 1) if missing_to < self._bus.committed else None
        self._replayed.append(self._notice(Gap(after=after, resumed_at=resumed_at, reason=reason), self._position))

    def _notice(self, data: Gap | Heartbeat, seq: int) -> str:
        """Return an event for this subscriber only. Its id is unique and is also a cursor, that of `seq`."""
        event_id = f"{self._journal.cursor(seq)}.{uuid4().hex[:12]}"
        event = envelope(data, event_id=event_id, source=self._journal.source, time=utc_now(), sequence=None)
        return event.model_dump_json(exclude_none=True)

    def _oldest_queue(self) -> deque[Entry]:
        if self._scores and (not self._others or self._scores[0].seq < self._others[0].seq):
            return self._scores
        return self._others
