"""Stores events in the journal, then sends them to the subscribers.  [IO]

    publish ──> queue ──> writer thread: one commit per batch ──> queue of each subscriber ──> its socket
                                  │
                               journal ──> replay, up to the live events

`publish` never waits. An event is sent only after it is committed, so a gateway that is killed and restarted can replay
everything that a subscriber has received. While the journal cannot be written, nothing is sent, `healthy` is false, and
the queue holds events until writing works again.

When a queue is full, scores are dropped first: the writer's queue reserves a quarter of its room for other events. Only
the writer's queue drops other events, when it is full. Every drop is counted.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TypeVar

from prometheus_client import Counter, Gauge

from gateway import logs
from gateway.alerts.cloud_event import CloudEvent, envelope
from gateway.alerts.event import EventData
from gateway.alerts.journal import SCORE, Entry, Journal, is_damage
from gateway.alerts.subscription import Filter, Subscription
from gateway.clock import utc_now
from gateway.errors import Overloaded

Result = TypeVar("Result")
log = logs.get(__name__)

PUBLISHED = Counter("callscreen_events_published_total", "Events accepted for the journal.", ["type"])
DROPPED = Counter("callscreen_events_dropped_total", "Events that were never stored, so never sent.", ["reason"])
QUEUED = Gauge("callscreen_events_queued", "Events accepted and not yet committed.")
SUBSCRIBERS = Gauge("callscreen_subscribers", "Subscribers connected.")
RENEWALS = Counter("callscreen_journal_renewals_total", "New journals begun because the old one was damaged.")
JOURNAL_ERRORS = Counter("callscreen_journal_errors_total", "Failed attempts to write the journal.")

BATCH_EVENTS = 100
"""Events per commit: enough for any load, few enough not to hold up the event loop when they are sent."""
RETRY_S = 1.0
"""Between attempts to write after a failure."""
FLUSH_DEADLINE_S = 5.0
"""How long `close` waits for the journal."""
LEAVE_DEADLINE_S = 5.0
"""How long `close` then waits for the subscribers to receive their queued events."""


class Bus:
    """Publishes events and serves subscriptions. All methods are for the event loop's thread.

    Args:
        journal: open; not used by anything else until `close` has returned.
        queue_events: events waiting to be committed.
        subscriber_queue_events: events waiting for one subscriber.
    """

    def __init__(self, journal: Journal, *, queue_events: int = 10_000, subscriber_queue_events: int = 1000) -> None:
        self.journal = journal
        self.committed = journal.newest
        """Sequence number of the last event that is stored and was offered to the subscribers."""
        self.stopped = False
        """Whether the journal can no longer be read or written through this bus."""
        self._stamped = journal.newest
        self._queue: deque[Entry] = deque()
        self._queue_events = queue_events
        self._subscriber_queue_events = subscriber_queue_events
        self._subscriptions: set[Subscription] = set()
        self._writing_works = True
        self._closing = False
        self._queued = asyncio.Event()
        self._progress = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._write_thread = ThreadPoolExecutor(1, "journal-write")
        self._read_thread = ThreadPoolExecutor(1, "journal-read")

    def start(self) -> None:
        """Start to write published events."""
        self._writer = asyncio.create_task(self._write(), name="journal-writer")

    @property
    def healthy(self) -> bool:
        """Whether events are being stored and sent; false before `start`, after `close`, and while writing fails."""
        return self._writing_works and self._writer is not None and not self._writer.done()

    def publish(self, data: EventData) -> CloudEvent | None:
        """Queue an event for the journal and the subscribers. Never waits.

        Returns:
            The event, or None when the queue had no room for it (counted).
        """
        seq = self._stamped + 1
        cursor = self.journal.cursor(seq)
        number = cursor.rpartition("-")[2]
        event = envelope(data, event_id=cursor, source=self.journal.source, time=utc_now(), sequence=number)
        entry = Entry(seq, event.type, data.call_id, data.leg, event.model_dump_json(exclude_none=True))
        if not self._has_room(entry):
            return None
        self._stamped = seq
        self._queue.append(entry)
        self._queued.set()
        QUEUED.set(len(self._queue))
        PUBLISHED.labels(entry.type).inc()
        return event

    @contextmanager
    def subscribe(self, wanted: Filter, last_event_id: str | None = None) -> Iterator[Subscription]:
        """Receive the events that `wanted` accepts: new ones, or all after `last_event_id`."""
        subscription = Subscription(self, wanted, last_event_id, self._subscriber_queue_events)
        self._subscriptions.add(subscription)
        SUBSCRIBERS.inc()
        if self._closing:
            subscription.end()
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
            SUBSCRIBERS.dec()
            self._signal_progress()

    async def read(self, after: int, limit: int) -> list[Entry]:
        """`Journal.after`, off the event loop. A damaged journal is replaced first."""
        return await self._in_thread(self._read_thread, partial(self.journal.after, after, limit))

    async def query(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """`Journal.query`, off the event loop, in order with other reads. A damaged journal is replaced first.

        Raises:
            Overloaded: the journal cannot be read.
        """
        try:
            return await self._in_thread(self._read_thread, partial(self.journal.query, read))
        except (sqlite3.Error, OSError) as error:
            raise Overloaded(f"the journal cannot be read: {error}") from None

    async def change(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """`Journal.change`, off the event loop, between two batches of events. A damaged journal is replaced first.

        Raises:
            sqlite3.Error, OSError: nothing was stored; try again.
        """
        return await self._in_thread(self._write_thread, partial(self.journal.change, change))

    async def maintain(self, work: Callable[[], Result]) -> Result:
        """Run one of the journal's methods in the writer's thread, between two batches of events.

        Raises:
            sqlite3.Error, OSError: as `work` does.
        """
        return await self._in_thread(self._write_thread, work)

    async def open_calls(self) -> list[CloudEvent]:
        """`Journal.open_calls`, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, self.journal.open_calls)

    async def flush(self) -> None:
        """Wait until every event published so far is committed and was offered to the subscribers."""
        target = self._stamped
        while self.committed < target:
            await self._progress.wait()

    async def committed_after(self, seq: int) -> None:
        """Wait until an event after `seq` is committed."""
        while self.committed <= seq:
            await self._progress.wait()

    async def close(self) -> None:
        """Commit the queued events, send them to the subscribers, and stop; each step has its deadline.

        Publish nothing after this. The journal can be closed afterwards.
        """
        try:
            async with asyncio.timeout(FLUSH_DEADLINE_S):
                await self.flush()
        except TimeoutError:
            DROPPED.labels("journal_failed").inc(len(self._queue))
            log.error("events lost: journal cannot be written", events=len(self._queue))
        self._closing = True
        for subscription in self._subscriptions:
            subscription.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_DEADLINE_S):
                while self._subscriptions:
                    await self._progress.wait()
        self.stopped = True
        if self._writer:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        for thread in (self._write_thread, self._read_thread):
            await asyncio.to_thread(thread.shutdown)

    async def _in_thread(self, thread: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        """Run `work` on the journal in `thread`. If the journal is damaged, renew it and run `work` again."""
        loop, renewals = asyncio.get_running_loop(), self.journal.renewals
        try:
            return await loop.run_in_executor(thread, work)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            await self._renew(renewals, error)
        return await loop.run_in_executor(thread, work)

    def _has_room(self, entry: Entry) -> bool:
        if entry.type == SCORE:
            if len(self._queue) < self._queue_events - self._queue_events // 4:
                return True
            DROPPED.labels("queue_full_score").inc()
        else:
            if len(self._queue) < self._queue_events:
                return True
            DROPPED.labels("queue_full").inc()
            log.error("event lost: queue full", type=entry.type, call_id=entry.call_id, leg=entry.leg)
        return False

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._queued.wait()
            batch, renewals = list(islice(self._queue, BATCH_EVENTS)), self.journal.renewals
            try:
                try:
                    await loop.run_in_executor(self._write_thread, self.journal.append, batch)
                except sqlite3.Error as error:
                    if not is_damage(error):
                        raise
                    await self._renew(renewals, error)
                    continue
            except (sqlite3.Error, OSError) as error:
                self._note_writing(works=False, error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            self._note_writing(works=True)
            for _ in batch:
                self._queue.popleft()
            if not self._queue:
                self._queued.clear()
            QUEUED.set(len(self._queue))
            self.committed = batch[-1].seq
            for subscription in self._subscriptions:
                for entry in batch:
                    subscription.offer(entry)
            self._signal_progress()

    async def _renew(self, renewals: int, error: sqlite3.Error) -> None:
        """Replace a damaged journal by a new file. Raises sqlite3.Error or OSError when that fails."""
        loop = asyncio.get_running_loop()
        kept = await loop.run_in_executor(self._write_thread, self.journal.renew, renewals)
        if kept is not None:
            RENEWALS.inc()
            log.error(
                "journal is damaged: continuing in a new one; older events cannot be read",
                kept=str(kept),
                error=str(error),
            )

    def _note_writing(self, *, works: bool, error: str | None = None) -> None:
        if not works:
            JOURNAL_ERRORS.inc()
        if works != self._writing_works:
            self._writing_works = works
            if works:
                log.info("journal can be written again")
            else:
                log.error("journal cannot be written: no event is sent until it can", error=error)

    def _signal_progress(self) -> None:
        """Wake the tasks that wait for progress; each checks its own condition."""
        self._progress.set()
        self._progress = asyncio.Event()
