"""Follow a gateway's events: connect, resume, never see an event twice.  [IO]

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
"""At least so long after 1013 or a 503 without Retry-After: the gateway said that it has too much to do."""
CLOSE_DEADLINE_S = 1.0
"""For the goodbye of a user who stops reading while more events wait."""
REMEMBERED_EVENTS = 4096
"""Events by which a redelivered one is recognised."""

_GONE_FOR_GOOD = {1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4403, 4404}
"""Close codes after which the same request would only be refused again (RFC 6455, section 7.4.1, and our own)."""
_TRY_AGAIN_LATER = 1013
_WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses after which the same request may be served."""


class EventStreamError(Exception):
    """The gateway refused the subscription, or, when not reconnecting, the connection failed."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code
        """HTTP status or websocket close code, if there was one."""


class EventsLost(EventStreamError):
    """Events that were asked for are gone, and `follow` was to raise this (`on_gap`)."""

    def __init__(self, gap: Gap, cursor: str) -> None:
        super().__init__(f"events after {gap.after} are lost: {gap.reason}")
        self.gap = gap
        """What the gateway said."""
        self.cursor = cursor
        """To go on from, as `last_event_id`: what is still there after the gap."""


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
    """Yield the events of a gateway as they come, each once and in order; `data` is the model of the event's type.

    A lost connection is made anew after a pause of 0.5 s * 2^n, at most 30 s, with full jitter, and resumes where it
    broke off. A `gap` event (`data` is a `Gap`) says that this was not wholly possible: the journal was pruned beyond
    the cursor, or is another one. Heartbeats are used, but not yielded. Types that are not known here are yielded with
    `Unknown` as data, so that they can be ignored or passed on.

    Args:
        url: of the gateway (``http://host:8080``) or of its event socket (``ws://host:8080/v1/events``).
        token: bearer token.
        call_id: only this call.
        leg: only this leg.
        types: only these; none: all but ``score``, which must be named.
        last_event_id: `id` of the last event seen; what came after it is sent first. None: only what is new.
        everywhere: events of all gateways that share a stream, over any of them; to resume, give `cursor`, not `id`.
        reconnect: go on for ever. Otherwise the iteration ends with the connection.
        on_retry: told why, and for how many seconds, before each pause.
        on_gap: ``yield`` a `gap` event like any other, or ``raise`` EventsLost.

    Raises:
        ValueError: `url` is not one of a gateway.
        EventsLost: there is a gap, and `on_gap` is ``raise``.
        EventStreamError: the gateway will not serve this, or, when not reconnecting, the connection failed.
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
            if failure.for_good or not reconnect:
                raise EventStreamError(failure.reason, failure.code) from error
        if not reconnect:
            return
        pause_s = failure.pause_s(failures)
        failures += 1
        if on_retry:
            on_retry(failure.reason, pause_s)
        await asyncio.sleep(pause_s)


def events_url(url: str) -> str:
    """Return the websocket URL of the events, given it or the URL of the gateway.

    Raises:
        ValueError: says what was expected.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    try:
        usable = scheme in ("ws", "wss") and parts.hostname and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:  # the port is no number, or too large
        usable = False
    if not usable:
        raise ValueError(f"url: expected http://HOST:PORT of a gateway, without a query, got {url!r}")
    path = parts.path.rstrip("/")
    return f"{scheme}://{parts.netloc}{path if path.endswith(PATH) else path + PATH}"


class _Cursor:
    """Where we are in the stream, and what we have just seen."""

    def __init__(self, last_event_id: str | None) -> None:
        self.last_event_id = last_event_id
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def advance(self, event: CloudEvent) -> bool:
        """Take note of an event; tells whether the user should see it."""
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
    """Why a connection ended, and what that means for the next one."""

    reason: str
    code: int | None = None
    wait_s: float = 0.0
    for_good: bool = False

    def pause_s(self, failures: int) -> float:
        """How long to wait before trying anew, after so many failures in a row before this one."""
        backoff_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
        return self.wait_s + random.uniform(0, backoff_s)  # noqa: S311


def _connection(address: str, token: str | None) -> connect:
    return connect(
        address,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        close_timeout=CLOSE_DEADLINE_S,
        additional_headers={"Authorization": f"Bearer {token}"} if token else None,
        # A proxy of the environment is for the world outside, and knows nothing of this machine's own ports.
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
    """Return what a failed or ended connection to a gateway means: why, and whether to try again."""
    if isinstance(error, ConnectionClosed):
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "the connection was lost")
        wait_s = TRY_AGAIN_LATER_S if code == _TRY_AGAIN_LATER else 0.0
        return Failure(reason or f"closed with code {code}", code, wait_s, code in _GONE_FOR_GOOD)
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        retry_after = error.response.headers.get("Retry-After", "")
        wait_s = float(retry_after) if retry_after.isdigit() else TRY_AGAIN_LATER_S
        return Failure(_said(error.response), status, wait_s, status not in _WORTH_RETRYING)
    if isinstance(error, TimeoutError):
        return Failure("the gateway does not answer")
    return Failure(f"cannot connect: {error}")


def _said(response: Response) -> str:
    """What a refusal says: problem details (RFC 9457) if there are any, else the status."""
    try:
        return str(json.loads(response.body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} {response.reason_phrase}"
