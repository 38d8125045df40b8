"""One subscription to the shared stream: from its cursor, or from now on.  [IO]

The server keeps the position of each reader and sends on request, so a slow reader delays nobody and no queue
overflows: it falls behind in the stream, and receives a gap if unread events are deleted there. Sequence numbers of a
stream have gaps only where messages were deleted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, Never
from uuid import uuid4

import msgspec
from prometheus_client import Counter

from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import Gap, Heartbeat
from gateway.alerts.journal import Entry
from gateway.alerts.subscription import Filter
from gateway.clock import utc_now
from gateway.errors import UNREADABLE_JSON, Overloaded
from gateway.shared import names
from gateway.shared.connection import FAILURES
from gateway.shared.link import Link

UNREADABLE = Counter("callscreen_nats_unreadable_total", "Messages in the shared stream that are no events.")
QUEUE_EVENTS = 500
"""Events read from the stream and not yet sent."""


class _Facts(msgspec.Struct):
    call_id: str | None = None
    leg: str | None = None


class _Event(msgspec.Struct):
    type: str
    id: str
    data: _Facts


_event = msgspec.json.Decoder(_Event)


class Reading:
    """The events of one subscriber as JSON texts, in the order of the stream; iterate over it while `run` runs."""

    def __init__(self, link: Link, wanted: Filter) -> None:
        self._link = link
        self._wanted = wanted
        self._position = 0
        """Stream sequence up to which all messages were read, and accepted ones queued."""
        self._texts: deque[tuple[int, str]] = deque()
        self._failure: Overloaded | None = None
        self._ended = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    async def begin(self, last_event_id: str | None) -> None:
        """Determine the position to start from; if events before it are missing, queue a `gap`.

        Raises:
            Overloaded: the stream cannot be read.
        """
        try:
            first, newest = await self._link.bounds()
        except FAILURES:
            raise unreadable() from None
        if last_event_id is None:
            self._position = newest
            return
        position = names.position(self._link.stream_id, newest, last_event_id)
        if position is None:
            self._report_gap(last_event_id, first, newest, "cursor_unknown")
        elif position + 1 < first:
            self._report_gap(names.cursor(self._link.stream_id, position), first, newest, "cursor_too_old")
        else:
            self._position = position

    async def run(self) -> None:
        """Read until cancelled, or until the stream cannot be read, which the iteration then raises."""
        try:
            async for seq, text in self._link.messages(self._position):
                if seq > self._position + 1:
                    after = names.cursor(self._link.stream_id, self._position)
                    self._report_gap(after, seq, seq, "cursor_too_old")
                self._take(seq, text)
                while len(self._texts) >= QUEUE_EVENTS:
                    self._room.clear()
                    await self._room.wait()
        except FAILURES:
            self._failure = unreadable()
            self._wake.set()

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> str:
        """Return the next event. Cancelling loses nothing.

        Raises:
            Overloaded: the stream can no longer be read.
            StopAsyncIteration: the gateway is closing, and all events were returned.
        """
        while not self._texts:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        self._room.set()
        return self._texts.popleft()[1]

    async def overflow(self) -> Never:
        """Never returns, since no queue overflows; see the module's docstring."""
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")

    def end(self) -> None:
        """Stop the iteration after the queued events."""
        self._ended = True
        self._wake.set()

    def heartbeat(self) -> str:
        """Return a heartbeat with the newest cursor that skips no queued event."""
        seq = self._texts[0][0] - 1 if self._texts else self._position
        return self._notice(Heartbeat(last_event_id=names.cursor(self._link.stream_id, seq)), seq)

    def _take(self, seq: int, text: str) -> None:
        self._position = seq
        try:
            event = _event.decode(text)
        except UNREADABLE_JSON:
            UNREADABLE.inc()
            return
        if self._wanted.accepts(Entry(seq, event.type, event.data.call_id, event.data.leg, text)):
            cursor = names.cursor(self._link.stream_id, seq)
            self._queue(seq, f'{text.rstrip().removesuffix("}")},"cursor":"{cursor}"}}')

    def _report_gap(
        self, after: str, first: int, newest: int, reason: Literal["cursor_too_old", "cursor_unknown"]
    ) -> None:
        """Queue a `gap`: the events between `after` and `first` are missing."""
        self._position = max(first, 1) - 1
        resumed_at = names.cursor(self._link.stream_id, first) if 0 < first <= newest else None
        gap = Gap(after=after, resumed_at=resumed_at, reason=reason)
        self._queue(self._position, self._notice(gap, self._position))

    def _notice(self, data: Gap | Heartbeat, seq: int) -> str:
        """Return an event for this subscriber only. Its id is unique and is also a cursor, that of `seq`."""
        event_id = f"{names.cursor(self._link.stream_id, seq)}.{uuid4().hex[:12]}"
        source = f"/callscreen/all-{self._link.stream_id}"
        event = envelope(data, event_id=event_id, source=source, time=utc_now(), sequence=None)
        return event.model_dump_json(exclude_none=True)

    def _queue(self, seq: int, text: str) -> None:
        self._texts.append((seq, text))
        self._wake.set()


def unreadable() -> Overloaded:
    """Return the error for a subscriber if the stream cannot be read; the log has the cause."""
    return Overloaded("scope: the shared stream cannot be read now; resume later")
