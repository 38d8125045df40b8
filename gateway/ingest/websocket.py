"""Serves a media stream over a websocket, in any dialect.  [IO]

Reads messages, lets the dialect parse them, and passes the events on. Errors are mapped to close codes in one function;
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
"""Time to send the reason before the close frame, for a peer that does not read."""
LISTEN = "callscreen.listen"
"""ASGI extension for direct delivery: a function that takes a `Deliver`, which then receives each message on arrival
instead of the queue, until the function is given None or `Deliver` returns something. Queued messages come first."""
Deliver = Callable[[str | bytes], Message | None]
"""Processes a message; returns an ASGI message for the queue if anything remains to be done."""
_log = logs.get(__name__)


async def serve_media(websocket: WebSocket, dialect: Dialect, calls: Calls, door: Door, messages: Pace) -> None:
    """Serve one media stream until it ends, by either side or by an error.

    Args:
        websocket: authorised, not yet accepted.
        dialect: parses the messages.
        calls: receives the events.
        door: the endpoint, with all limits set.
        messages: the limit on messages per second.
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
    except Exception:  # a bug ends this stream only; its verdict says "failed"
        reason, code, ended_by = "internal error", CallscreenError.close_code, "failed"
        _log.exception("media stream failed", source=stream.source, call_id=stream.call_id)
    finally:
        stream.close(ended_by or reason)
    if code:
        if code != NORMAL:
            await _send_goodbye(websocket, dialect.goodbye(reason))
        await close(websocket, code, reason)


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close with as much of `reason` as a close frame holds (123 bytes, RFC 6455 section 5.5)."""
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
    """The gateway ends the stream: it drains, or the call is too long. The text is the reason."""


def _do_not_listen(_deliver: Deliver | None) -> None:
    """Used with other servers than `Connection`: all messages go through the queue."""


class _Outcome(NamedTuple):
    """What the stream's task must do after a message."""

    reason: str | None = None
    """Why the stream has ended."""
    replies: list[str | bytes] = []  # noqa: RUF012  never changed
    error: Exception | None = None


_NOTHING = _Outcome()


class _Stream:
    """The stream of one connection."""

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
        self._next_reschedule_s = 0.0
        self._tolerance = Tolerance(self.source)
        self._listen: Callable[[Deliver | None], None] = websocket.scope["extensions"].get(LISTEN, _do_not_listen)

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
        """Read until the stream ends; return the reason. Raises the errors that `serve_media` handles."""
        try:
            # If the URL alone opens the stream, the first message is media already.
            first_deadline_s = self._start_deadline_s if self._open is None else self._idle_deadline_s
            async with asyncio.timeout(first_deadline_s) as deadline:
                self._watch_gateway(deadline)
                while True:
                    message = await self._receive(deadline)
                    outcome = message.get("outcome") or self._process(self._body(message), deadline)
                    if outcome.error is not None:
                        raise outcome.error
                    if outcome.replies:
                        await _send(self._websocket, outcome.replies)
                    if outcome.reason is not None:
                        return outcome.reason
        except TimeoutError:
            raise self._timeout_error() from None

    async def _receive(self, deadline: asyncio.Timeout) -> Message:
        """Return the next message that was queued, or the outcome of one that was delivered directly."""
        self._listen(partial(self._deliver, deadline))
        try:
            return await self._websocket.receive()
        finally:
            self._listen(None)

    def _deliver(self, deadline: asyncio.Timeout, body: str | bytes) -> Message | None:
        outcome = self._process(body, deadline)
        return None if outcome is _NOTHING else {"type": "websocket.receive", "outcome": outcome}

    def _process(self, body: str | bytes, deadline: asyncio.Timeout) -> _Outcome:
        try:
            reason = self._parse(self._checked(body), deadline)
        except Exception as error:  # raised again in the stream's task
            return _Outcome(error=error)
        replies = self._dialect.replies()
        return _NOTHING if reason is None and not replies else _Outcome(reason, replies)

    def _parse(self, body: str | bytes, deadline: asyncio.Timeout) -> str | None:
        """Parse a message and handle its events, or ignore it; return the reason if it ended the stream."""
        try:
            reason = self._handle(self._dialect.receive(body), deadline)
        except BadMessage as error:
            if self._tolerance.bad(error):
                _log.warning("media message ignored", source=self.source, call_id=self.call_id, error=str(error))
            return None
        self._tolerance.good()
        return reason

    def _handle(self, events: list[IngestEvent], deadline: asyncio.Timeout) -> str | None:
        """Handle events; return the reason if one of them ended the stream."""
        for event in events:
            if isinstance(event, AudioReceived):
                assert self._open is not None, "dialects return no audio before the start"
                self._open.receive(event)
                self._extend_deadline(deadline)
            elif isinstance(event, StreamStarted):
                self.open(event)
                self._watch_gateway(deadline)
                self._extend_deadline(deadline)
            elif isinstance(event, MessageIgnored):
                self._tolerance.ignore(event.reason)
            else:
                return event.reason
        return None

    def _extend_deadline(self, deadline: asyncio.Timeout) -> None:
        """Extend the idle deadline; at most once a second, since that costs as much as reading a message."""
        now_s = clock.monotonic_s()
        if now_s >= self._next_reschedule_s:
            deadline.reschedule(asyncio.get_running_loop().time() + self._idle_deadline_s)
            self._next_reschedule_s = now_s + min(1.0, self._idle_deadline_s / 10)

    def _body(self, message: Message) -> str | bytes:
        """Return the payload of an ASGI message. Raises WebSocketDisconnect."""
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        body: str | bytes | None = message.get("text")
        if body is None:
            body = message["bytes"]
        return body

    def _checked(self, body: str | bytes) -> str | bytes:
        """Check a message against the limits, and return it. Raises TooFast, MessageTooBig."""
        self._messages.take(1, clock.monotonic_s())
        if len(body) > self._max_message_bytes:
            raise MessageTooBig(f"message: expected at most {self._max_message_bytes} bytes, got {len(body)}")
        return body

    def _watch_gateway(self, deadline: asyncio.Timeout) -> None:
        """Interrupt the wait for a message when the gateway ends the stream."""
        if self._open is None or self._ended is not None:
            return
        loop = asyncio.get_running_loop()
        self._ended = asyncio.ensure_future(self._open.closed())

        def interrupt(ended: asyncio.Task[str]) -> None:
            if not ended.cancelled():
                with contextlib.suppress(RuntimeError):  # the wait has ended at the same moment
                    deadline.reschedule(loop.time())

        self._ended.add_done_callback(interrupt)

    def _timeout_error(self) -> Exception:
        if self._ended is not None and self._ended.done():
            return _EndedByUs(self._ended.result())
        if self._open is None:
            missing = self._tolerance.last or f"expected {self._dialect.awaits()}"
            return StreamTimeout(f"no start of the stream within {self._start_deadline_s:g} s: {missing}")
        return StreamTimeout(f"no media for {self._idle_deadline_s:g} s")
