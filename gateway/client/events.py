"""Follows a gateway's events: reconnects, resumes, and yields each event once.  [IO]

async for event in follow("http://127.0.0.1:8080", types=["alert.raised"]):
    if isinstance(event.data, AlertRaised):
        print(event.data.call_id, event.data.leg, event.data.p_synthetic)
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable
from ipaddress import ip_address
from typing import Literal, NamedTuple
from urllib.parse import urlencode, urlsplit

from pydantic import ValidationError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Response
from websockets.typing import Subprotocol

from gateway.alerts.cloud_event import SUBPROTOCOL, CloudEvent
from gateway.alerts.event import Gap, Heartbeat

PATH = "/v1/events"
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
TRY_AGAIN_LATER_S = 5.0
"""Shortest wait after close code 1013, or status 503 without Retry-After: the gateway is overloaded."""
CLOSE_DEADLINE_S = 1.0
"""For the close handshake, when the user stops reading while events are still arriving."""
REMEMBERED_EVENTS = 4096
"""Number of recent ids by which redelivered events are recognised."""

_FINAL_CODES = {1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4403, 4404}
"""Close codes after which the same request would be refused again (RFC 6455, section 7.4.1, and our own)."""
_TRY_AGAIN_LATER = 1013
_RETRYABLE_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses after which the same request may succeed."""


class EventStreamError(Exception):
    """The gateway refused the subscription, or, when not reconnecting, the connection failed."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code
        """HTTP status or websocket close code, if any."""


class EventsLost(EventStreamError):
    """Requested events were deleted, and `on_gap` is ``raise``."""

    def __init__(self, gap: Gap, cursor: str) -> None:
        super().__init__(f"events after {gap.after} are lost: {gap.reason}")
        self.gap = gap
        """The gateway's `gap`."""
        self.cursor = cursor
        """Pass it as `last_event_id` to continue after the gap."""


async def follow(
    url: str,
    *,
    token: str | None = None,
    call_id: str | None = None,
    leg: str | None = None,
    types: Iterable[str] = (),
    last_event_id: str | None = None,
    everywhere: bool = False,
    reconnect: bool = True,
    on_retry: Callable[[str, float], None] | None = None,
    on_gap: Literal["yield", "raise"] = "yield",
) -> AsyncGenerator[CloudEvent, None]:
    """Yield the events of a gateway, each once and in order; `data` is the model of the event's type.

    After a lost connection `follow` waits 0.5 s * 2^n, at most 30 s, with full jitter, reconnects and resumes. A `gap`
    event (`data` is a `Gap`) reports that events are missing: they were deleted from the journal, or the cursor is from
    another journal. Heartbeats are not yielded. Events of unknown types are yielded with `Unknown` as data, so that
    they can be ignored or passed on.

    Args:
        url: the gateway (``http://host:8080``) or its event socket (``ws://host:8080/v1/events``).
        token: bearer token.
        call_id: only this call.
        leg: only this leg.
        types: only these types; empty: all but ``score``.
        last_event_id: `id` of the last event received; later ones are sent first. None: only new events.
        everywhere: events of all gateways that share a stream; to resume, pass `cursor`, not `id`.
        reconnect: whether to continue for ever; otherwise the iteration ends with the connection.
        on_retry: called with the reason and the wait in seconds before each reconnection.
        on_gap: ``yield`` the `gap` event, or ``raise`` EventsLost.

    Raises:
        ValueError: `url` is not one of a gateway.
        EventsLost: there is a gap, and `on_gap` is ``raise``.
        EventStreamError: the gateway refuses the subscription, or the connection failed and `reconnect` is false.
    """
    address = events_url(url)
    query = [
        ("call_id", call_id),
        ("leg", leg),
        ("scope", "all" if everywhere else None),
        *(("type", name) for name in types),
    ]
    wanted = [(name, value) for name, value in query if value is not None]
    cursor = _Cursor(last_event_id)
    failures = 0
    while True:
        resume = [("last_event_id", cursor.last_event_id)] if cursor.last_event_id else []
        try:
            async with _connection(f"{address}?{urlencode(wanted + resume)}", token) as connection:
                async for text in connection:
                    failures = 0
                    event = _parse(text)
                    if not cursor.advance(event):
                        continue
                    if on_gap == "raise" and isinstance(event.data, Gap):
                        raise EventsLost(event.data, event.id)
                    yield event
            failure = Failure("the gateway closed the connection")
        except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
            failure = explain(error)
            if failure.is_final or not reconnect:
                raise EventStreamError(failure.reason, failure.code) from error
        if not reconnect:
            return
        pause_s = failure.pause_s(failures)
        failures += 1
        if on_retry:
            on_retry(failure.reason, pause_s)
        await asyncio.sleep(pause_s)


def events_url(url: str) -> str:
    """Return the websocket URL of the events, given that or the gateway's URL.

    Raises:
        ValueError: says what was expected.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    try:
        usable = scheme in ("ws", "wss") and parts.hostname and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:  # the port is not a number, or too large
        usable = False
    if not usable:
        raise ValueError(f"url: expected http://HOST:PORT of a gateway, without a query, got {url!r}")
    path = parts.path.rstrip("/")
    return f"{scheme}://{parts.netloc}{path if path.endswith(PATH) else path + PATH}"


class _Cursor:
    """The position in the stream, and the ids of recent events."""

    def __init__(self, last_event_id: str | None) -> None:
        self.last_event_id = last_event_id
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def advance(self, event: CloudEvent) -> bool:
        """Record an event; return whether it should be yielded."""
        if isinstance(event.data, Heartbeat):
            self.last_event_id = event.data.last_event_id
            return False
        self.last_event_id = event.cursor or event.id
        key = (event.source, event.id)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > REMEMBERED_EVENTS:
            self._seen.popitem(last=False)
        return True


class Failure(NamedTuple):
    """Why a connection ended, and whether and when to reconnect."""

    reason: str
    code: int | None = None
    wait_s: float = 0.0
    is_final: bool = False

    def pause_s(self, failures: int) -> float:
        """Return the wait before the next attempt, given the number of failures in a row before this one."""
        backoff_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
        return self.wait_s + random.uniform(0, backoff_s)  # noqa: S311


def _connection(address: str, token: str | None) -> connect:
    return connect(
        address,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        close_timeout=CLOSE_DEADLINE_S,
        additional_headers={"Authorization": f"Bearer {token}"} if token else None,
        # A proxy from the environment cannot reach this machine's ports.
        proxy=None if _is_loopback(urlsplit(address).hostname or "") else True,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse(text: str | bytes) -> CloudEvent:
    try:
        return CloudEvent.model_validate_json(text)
    except ValidationError as error:
        raise EventStreamError(f"expected a CloudEvent, got {text[:80]!r}") from error


def explain(error: OSError | WebSocketException) -> Failure:
    """Return why a connection to a gateway failed or ended, and whether to try again."""
    if isinstance(error, ConnectionClosed):
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "the connection was lost")
        wait_s = TRY_AGAIN_LATER_S if code == _TRY_AGAIN_LATER else 0.0
        return Failure(reason or f"closed with code {code}", code, wait_s, code in _FINAL_CODES)
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        retry_after = error.response.headers.get("Retry-After", "")
        wait_s = float(retry_after) if retry_after.isdigit() else TRY_AGAIN_LATER_S
        return Failure(_detail(error.response), status, wait_s, status not in _RETRYABLE_STATUSES)
    if isinstance(error, TimeoutError):
        return Failure("the gateway does not answer")
    if isinstance(error, ConnectionRefusedError) or "[Errno 111]" in str(error):  # of several addresses: one OSError
        return Failure("cannot connect: nothing listens there; is the gateway running (`callscreen serve`)?")
    return Failure(f"cannot connect: {getattr(error, 'strerror', None) or error}")


def _detail(response: Response) -> str:
    """Return the reason in a refusal: problem details (RFC 9457) if there are any, else the status."""
    try:
        return str(json.loads(response.body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} {response.reason_phrase}"
