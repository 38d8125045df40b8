"""The websocket for subscribers: ``/v1/events``.  [IO]

CloudEvents WebSocket binding 1.0: subprotocol ``cloudevents.json``, one event per text message. The query selects the
events: `call_id`, `leg`, `type` (repeated, or separated by commas), `last_event_id` and `scope`. A message from the
peer is a protocol error. Close codes:

    1001   the gateway is going away; all queued events were sent
    4401   the token has expired; resume with another one
    4400   an unknown or repeated parameter, an unknown type, or a message
    4430   the peer reads too slowly; it can resume from its cursor
    1013   the stream of all gateways cannot be read now
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Never, Protocol

from prometheus_client import Counter
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import clock, logs, refusals
from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import SUBPROTOCOL
from gateway.alerts.event import STORED_TYPES
from gateway.alerts.subscription import Filter
from gateway.auth.access import Access, access_of
from gateway.config import Settings
from gateway.errors import CallscreenError, ProtocolError, SlowConsumer, Unauthorized

log = logs.get(__name__)

CLOSED = Counter("callscreen_subscribers_closed_total", "Subscribers that the gateway closed.", ["code"])

PARAMETERS = ("call_id", "leg", "type", "last_event_id", "scope")
SCOPES = ("own", "all")
"""The events of this gateway, or of all gateways that share a stream."""
TOKEN = "token"  # noqa: S105  also a parameter, since browsers cannot set headers; already checked by the caller
SEND_DEADLINE_S = 30.0
"""For one message; the peer is closed when it reads nothing for this long, even if its queue is not full."""
CLOSE_DEADLINE_S = 3.0
"""For the close frame, which is sent after the messages that the peer has not read."""
CLOCK_CHECK_S = 60.0
"""Interval at which a token's expiry is compared with the clock, which can be set while a timer runs."""
GOING_AWAY = 1001
"""RFC 6455, section 7.4.1."""


class Stream(Protocol):
    """The events of one subscriber, as JSON texts."""

    async def __anext__(self) -> str:
        """Return the next event. Cancelling loses nothing. Raises StopAsyncIteration when the gateway goes away."""

    async def overflow(self) -> Never:
        """Wait until the subscriber is too slow, possibly for ever. Raises SlowConsumer."""

    def heartbeat(self) -> str:
        """Return a heartbeat event with the newest cursor."""


class SharedEvents(Protocol):
    """The events of all gateways."""

    def subscribe(self, wanted: Filter, last_event_id: str | None) -> AbstractAsyncContextManager[Stream]:
        """Receive the events that `wanted` accepts. Raises Overloaded when the stream cannot be read."""


async def serve_events(websocket: WebSocket, bus: Bus, settings: Settings, shared: SharedEvents | None = None) -> None:
    """Serve one subscriber until it leaves, is too slow, its token expires, or the bus closes.

    The caller has authenticated the subscriber. A subscriber with a tenant receives only that tenant's events.

    Args:
        shared: the events of all gateways; None: there is no shared stream.
    """
    access = access_of(websocket.scope)
    try:
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None)
        wanted, last_event_id = read_query(websocket.query_params)
        wanted = replace(wanted, tenant=access.tenant)
        async with _subscribed(websocket.query_params, bus, shared, wanted, last_event_id) as subscription:
            await _until_first(
                _send_events(websocket, subscription, settings.heartbeat_s),
                _refuse_messages(websocket),
                subscription.overflow(),
                _expiry(access),
            )
            await _close(websocket, GOING_AWAY, "the gateway is going away")
    except CallscreenError as error:
        refusals.note(log, "subscriber closed", "events", error, close_code=error.close_code)
        await _close(websocket, error.close_code, str(error))
    except WebSocketDisconnect:
        pass


def read_query(query: QueryParams) -> tuple[Filter, str | None]:
    """Return the subscriber's filter, and the cursor that it resumes from.

    Raises:
        ProtocolError: names the parameter and what was expected.
    """
    for name in query:
        if name not in (*PARAMETERS, TOKEN):
            raise ProtocolError(f"{name[:40]}: unknown parameter; expected {', '.join(PARAMETERS)}")
        if name != "type" and len(query.getlist(name)) > 1:
            raise ProtocolError(f"{name}: expected once")
    types = frozenset(part for value in query.getlist("type") for part in value.split(","))
    if unknown := sorted(types - set(STORED_TYPES)):  # the list of all types would not fit into the close frame
        raise ProtocolError(f"type: expected event types, e.g. alert.raised,alert.cleared; got {unknown[0]!r:.40}")
    return Filter(query.get("call_id"), query.get("leg"), types), query.get("last_event_id")


@asynccontextmanager
async def _subscribed(
    query: QueryParams, bus: Bus, shared: SharedEvents | None, wanted: Filter, last_event_id: str | None
) -> AsyncIterator[Stream]:
    """Subscribe to the events of this gateway or of all gateways. Raises ProtocolError, Overloaded."""
    scope = query.get("scope", SCOPES[0])
    if scope not in SCOPES:
        raise ProtocolError(f"scope: expected {' or '.join(SCOPES)}, got {scope!r:.40}")
    if scope == SCOPES[0]:
        with bus.subscribe(wanted, last_event_id) as own:
            yield own
    elif shared is None:
        raise ProtocolError("scope: expected own: this gateway shares no stream (`nats` in the settings)")
    else:
        async with shared.subscribe(wanted, last_event_id) as all_events:
            yield all_events


async def _send_events(websocket: WebSocket, subscription: Stream, heartbeat_s: float) -> None:
    while True:
        try:
            async with asyncio.timeout(heartbeat_s):
                text = await anext(subscription)
        except TimeoutError:
            text = subscription.heartbeat()
        except StopAsyncIteration:
            return
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                await websocket.send_text(text)
        except TimeoutError:
            raise SlowConsumer(
                f"slow consumer: nothing read for {SEND_DEADLINE_S:g} s; resume with last_event_id"
            ) from None


async def _expiry(access: Access) -> Never:
    """Wait until the token expires, possibly for ever. Raises Unauthorized."""
    if access.expires_s is None:
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")
    while (left_s := access.expires_s - clock.utc_now().timestamp()) > 0:  # noqa: ASYNC110  the clock has no event
        await asyncio.sleep(min(left_s, CLOCK_CHECK_S))
    raise Unauthorized(f"token: {access.name!r} has expired; resume with another one and last_event_id")


async def _refuse_messages(websocket: WebSocket) -> None:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    raise ProtocolError("message: expected none; the query of the URL selects the events")


async def _until_first(*parts: Coroutine[Any, Any, None]) -> None:
    """Run `parts` until one of them ends, cancel the others, and raise what the first one raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close the connection without waiting for a peer that does not read.

    The reason in a close frame has at most 123 bytes (RFC 6455, section 5.5.1).
    """
    CLOSED.labels(code).inc()
    with suppress(TimeoutError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await websocket.close(code, reason.encode()[:123].decode(errors="ignore"))
