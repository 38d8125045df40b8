"""The shell around every dialect that comes over a websocket.  [IO]

Reads messages, lets the dialect say what they mean, hands that on. One function turns an error into a close code, and
an error ends this stream only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import clock, logs, refusals
from gateway.errors import BadMessage, CallscreenError, MessageTooBig, StreamTimeout
from gateway.ingest.dialects.base import Dialect
from gateway.ingest.doors import Door
from gateway.ingest.events import (
    AudioReceived,
    CallId,
    Calls,
    IngestEvent,
    MessageIgnored,
    OpenStream,
    StreamStarted,
)
from gateway.ingest.tolerance import Tolerance
from gateway.pace import Pace

NORMAL = 1000
GOING_AWAY = 1001
GOODBYE_S = 1.0
"""For a peer that does not read, to be told why it is hung up on."""
LISTEN = "callscreen.listen"
"""ASGI extension: a function that takes an `AtOnce`, which then hears each message the moment it comes, in place of the
queue; until it is told None, or something is left. What waits in the queue comes first, in any case."""
AtOnce = Callable[[str | bytes], Message | None]
"""Hears a message; returns what is left to be done about it, for the queue."""
_log = logs.get(__name__)


async def serve_media(websocket: WebSocket, dialect: Dialect, calls: Calls, door: Door, messages: Pace) -> None:
    """Serve one media stream until it ends, by either side or by an error.

    Args:
        websocket: not yet accepted; who may connect was settled before.
        door: with its limits filled in.
        messages: how many may come.
    """
    await websocket.accept(dialect.subprotocol)
    stream = _Stream(websocket, dialect, calls, door, messages)
    code, reason, ended_by = NORMAL, "stopped", None
    try:
        if dialect.started is not None:
            stream.open(dialect.started)
        reason = await stream.read()
    except WebSocketDisconnect:
        reason, code = "disconnected", 0
    except _EndedByUs as end:
        reason, code = str(end), GOING_AWAY
    except CallscreenError as error:
        reason, code, ended_by = str(error), error.close_code, error.ended_by
        refusals.note(_log, "media stream refused", stream.source, error, source=stream.source, close_code=code)
    except Exception:  # task root: a fault of ours ends this stream, with a verdict that does not hide it
        reason, code, ended_by = "internal error", CallscreenError.close_code, "failed"
        _log.exception("media stream failed", source=stream.source, call_id=stream.call_id)
    finally:
        stream.close(ended_by or reason)
    if code:
        if code != NORMAL:
            await _send_goodbye(websocket, dialect.goodbye(reason))
        await close(websocket, code, reason)


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close, with as much of `reason` as a close frame holds (123 bytes, RFC 6455 section 5.5)."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the peer was faster
        await websocket.close(code, reason.encode()[:123].decode(errors="ignore"))


async def _send_goodbye(websocket: WebSocket, messages: list[str | bytes]) -> None:
    with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(GOODBYE_S):
            await _send(websocket, messages)


async def _send(websocket: WebSocket, messages: list[str | bytes]) -> None:
    for message in messages:
        await (websocket.send_text(message) if isinstance(message, str) else websocket.send_bytes(message))


class _EndedByUs(Exception):
    """The gateway ends the stream: it drains, or the call is too long."""


def _do_not_listen(_at_once: AtOnce | None) -> None:
    """Another server than ours: all messages go through its queue."""


class _Left(NamedTuple):
    """What a message leaves to be done by the stream's own task."""

    reason: str | None = None
    """Why the stream ends with it."""
    replies: list[str | bytes] = []  # noqa: RUF012  never changed
    error: Exception | None = None


_NOTHING = _Left()


class _Stream:
    """One connection's way from messages to an open stream."""

    def __init__(self, websocket: WebSocket, dialect: Dialect, calls: Calls, door: Door, messages: Pace) -> None:
        self.source = websocket.url.path.rstrip("/").rpartition("/")[2]
        self.call_id: CallId | None = None
        self._websocket = websocket
        self._dialect = dialect
        self._calls = calls
        self._door = door
        self._messages = messages
        self._start_deadline_s, self._idle_deadline_s = door.start_deadline_s or 0.0, door.idle_deadline_s or 0.0
        self._max_message_bytes = door.max_message_bytes or 0
        self._open: OpenStream | None = None
        self._ended: asyncio.Task[str] | None = None
        self._move_deadline_at_s = 0.0
        self._tolerance = Tolerance(self.source)
        self._listen: Callable[[AtOnce | None], None] = websocket.scope["extensions"].get(LISTEN, _do_not_listen)

    def open(self, started: StreamStarted) -> OpenStream:
        admitted = self._door.admit(started)
        self._open = self._calls.open(admitted)
        self.call_id = admitted.call_id
        return self._open

    def close(self, reason: str) -> None:
        if self._open is not None:
            self._open.close(reason)
        if self._ended is not None:
            self._ended.cancel()

    async def read(self) -> str:
        """Read until the peer says stop; returns the reason. Raises what `serve_media` sorts out."""
        try:
            # Where the address alone opens the stream, what is awaited is media already.
            awaited_s = self._start_deadline_s if self._open is None else self._idle_deadline_s
            async with asyncio.timeout(awaited_s) as deadline:
                self._end_with_the_gateway(deadline)
                while True:
                    message = await self._receive(deadline)
                    left = message.get("left") or self._heard(self._body(message), deadline)
                    if left.error is not None:
                        raise left.error
                    if left.replies:
                        await _send(self._websocket, left.replies)
                    if left.reason is not None:
                        return left.reason
        except TimeoutError:
            raise self._why_timed_out() from None

    async def _receive(self, deadline: asyncio.Timeout) -> Message:
        """Return the next message, or what is left of one that was heard when it came; most leave nothing."""
        self._listen(partial(self._at_once, deadline))
        try:
            return await self._websocket.receive()
        finally:
            self._listen(None)

    def _at_once(self, deadline: asyncio.Timeout, body: str | bytes) -> Message | None:
        left = self._heard(body, deadline)
        return None if left is _NOTHING else {"type": "websocket.receive", "left": left}

    def _heard(self, body: str | bytes, deadline: asyncio.Timeout) -> _Left:
        try:
            reason = self._hear(self._checked(body), deadline)
        except Exception as error:  # raised in the stream's own task, which knows what to do
            return _Left(error=error)
        replies = self._dialect.replies()
        return _NOTHING if reason is None and not replies else _Left(reason, replies)

    def _hear(self, body: str | bytes, deadline: asyncio.Timeout) -> str | None:
        """Let a message have its effect, or do without it; return the reason when it was the end."""
        try:
            reason = self._take(self._dialect.receive(body), deadline)
        except BadMessage as error:
            if self._tolerance.bad(error):
                _log.warning("media message ignored", source=self.source, call_id=self.call_id, error=str(error))
            return None
        self._tolerance.good()
        return reason

    def _take(self, events: list[IngestEvent], deadline: asyncio.Timeout) -> str | None:
        """Let events have their effect; return the reason when one of them was the end."""
        for event in events:
            if isinstance(event, AudioReceived):
                assert self._open is not None, "a dialect lets no audio pass before the start"
                self._open.receive(event)
                self._media_came(deadline)
            elif isinstance(event, StreamStarted):
                self.open(event)
                self._end_with_the_gateway(deadline)
                self._media_came(deadline)
            elif isinstance(event, MessageIgnored):
                self._tolerance.ignore(event.reason)
            else:
                return event.reason
        return None

    def _media_came(self, deadline: asyncio.Timeout) -> None:
        """Move the idle deadline; at most each second, for it costs as much as reading a message."""
        now_s = clock.monotonic_s()
        if now_s >= self._move_deadline_at_s:
            deadline.reschedule(asyncio.get_running_loop().time() + self._idle_deadline_s)
            self._move_deadline_at_s = now_s + min(1.0, self._idle_deadline_s / 10)

    def _body(self, message: Message) -> str | bytes:
        """Take an ASGI message apart. Raises WebSocketDisconnect."""
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        body: str | bytes | None = message.get("text")
        if body is None:
            body = message["bytes"]
        return body

    def _checked(self, body: str | bytes) -> str | bytes:
        """Return a message that is not one too many, nor too big. Raises TooFast, MessageTooBig."""
        self._messages.take(1, clock.monotonic_s())
        if len(body) > self._max_message_bytes:
            raise MessageTooBig(f"message: expected at most {self._max_message_bytes} bytes, got {len(body)}")
        return body

    def _end_with_the_gateway(self, deadline: asyncio.Timeout) -> None:
        """Let the gateway's own end of the stream interrupt the wait for the next message."""
        if self._open is None or self._ended is not None:
            return
        loop = asyncio.get_running_loop()
        self._ended = asyncio.ensure_future(self._open.closed())

        def interrupt(ended: asyncio.Task[str]) -> None:
            if not ended.cancelled():
                deadline.reschedule(loop.time())

        self._ended.add_done_callback(interrupt)

    def _why_timed_out(self) -> Exception:
        if self._ended is not None and self._ended.done():
            return _EndedByUs(self._ended.result())
        if self._open is None:
            missing = self._tolerance.last or f"expected {self._dialect.awaits()}"
            return StreamTimeout(f"no start of the stream within {self._start_deadline_s:g} s: {missing}")
        return StreamTimeout(f"no media for {self._idle_deadline_s:g} s")
