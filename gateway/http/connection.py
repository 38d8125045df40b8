"""uvicorn's protocols, extended by limits on idle peers and by direct delivery of messages.  [IO]

For HTTP, uvicorn waits for a request without a limit. For a websocket, both the application's close and uvicorn's own
``transport.close()`` wait until everything written before is sent, so a peer that never reads would keep the socket,
and uvicorn's shutdown, for ever.

ASGI puts each message into a queue, stops reading, wakes a task and resumes reading, which takes longer than all other
work on 20 ms of audio. An endpoint can take messages directly instead; see `LISTEN`.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any, ClassVar

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request
from websockets.protocol import CLOSED, CLOSING

from gateway import logs, refusals
from gateway.http.frames import FrameSplitter, Kind
from gateway.ingest.websocket import LISTEN, Deliver

_log = logs.get(__name__)
MAX_WAITING = 256
"""Connections without a request. Clients send their request at once, so only a flood reaches this limit."""
SHARE_OF_FILES = 4
"""Connections without a request may use at most 1/4 of the process's file descriptors."""
ASTERISK = "media"
"""Subprotocol of Asterisk's chan_websocket."""
Peer = tuple[str, int]
"""Address and port."""


class HttpConnection(H11Protocol):
    """A connection until it becomes a websocket; for `uvicorn.Config(http=HttpConnection)`.

    Based on h11, because httptools does not limit the size of headers.
    """

    head_s = 10.0
    """Longest time from the connection, or the last response, to the end of a request's head."""
    _head_timer: asyncio.TimerHandle | None = None
    _waiting: ClassVar[dict[HttpConnection, None]] = {}
    """Connections of this process that wait for a request, oldest first."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        relayed: Peer | None = None,
    ) -> None:
        """See uvicorn; `relayed` is the peer at the other end of a relay, which handles its TLS."""
        super().__init__(config, server_state, app_state, _loop)
        self.relayed = relayed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if self.relayed is not None:
            self.client, self.scheme = self.relayed, "https"
        self._expect_request()

    def on_response_complete(self) -> None:
        """Called when a response was sent; another request may follow."""
        super().on_response_complete()
        self._expect_request()

    def send_400_response(self, msg: str) -> None:
        """Called when the peer does not speak HTTP."""
        refusals.note(_log, "not http", "http", "not_http")
        super().send_400_response(msg)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the transport over to `Connection`."""
        self.leave()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._expect_nothing()
        super().connection_lost(exc)

    def leave(self) -> None:
        """Stop handling the connection, because another protocol takes it over."""
        self._expect_nothing()
        self.connections.discard(self)

    def _expect_request(self) -> None:
        self._expect_nothing()
        self._head_timer = self.loop.call_later(self.head_s, self._time_out)
        self._waiting[self] = None
        while len(self._waiting) > max_waiting():
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.make_room()

    def _expect_nothing(self) -> None:
        self._waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()

    @property
    def _is_answering(self) -> bool:
        """Whether a request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    def make_room(self) -> None:
        """Abort because too many connections wait, unless a request is in progress by now."""
        if not self._is_answering:
            refusals.note(_log, "connection broken off", "http", "too_many_waiting")
            self.transport.abort()

    def _time_out(self) -> None:
        if not self._is_answering:
            refusals.note(_log, "connection broken off", "http", "no_request")
            self.transport.close()


def max_waiting() -> int:
    """Return how many connections may wait for a request."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(MAX_WAITING, files // SHARE_OF_FILES))


class Connection(WebSocketsSansIOProtocol):
    """A websocket; for `uvicorn.Config(ws=Connection)`."""

    linger_s = 10.0
    """Longest time from the end of the application to the end of the connection."""
    _linger: asyncio.TimerHandle | None = None
    _splitter: FrameSplitter | None = None
    _deliver: Deliver | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the peer of a relayed connection from `HttpConnection`, which still has the transport."""
        super().connection_made(transport)
        before = self.transport.get_protocol()
        if isinstance(before, HttpConnection) and before.relayed is not None:
            self.client, self.scheme = before.relayed, "wss"

    def handle_connect(self, event: Request) -> None:
        """Offer direct delivery to the application."""
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][LISTEN] = self._listen  # type: ignore[assignment]  # more than ASGI knows

    def _listen(self, deliver: Deliver | None) -> None:
        """See `LISTEN`."""
        self._deliver = deliver

    def data_received(self, data: bytes) -> None:
        """Process bytes. The first call has exactly the request, from `HttpConnection`."""
        if self._splitter is None:
            self._splitter = FrameSplitter(self.config.ws_max_size)
            super().data_received(data)
            return
        for kind, body in self._splitter.split(data):
            if kind is Kind.OTHER:
                super().data_received(body)
            elif not self.close_sent and self.conn.state not in (CLOSING, CLOSED):
                self._receive(kind, body)

    def _receive(self, kind: Kind, body: bytes) -> None:
        """Deliver a message directly, or queue it if nobody listens or others are queued already."""
        if self._deliver is not None and self.queue.empty():
            try:
                message = body.decode() if kind is Kind.TEXT else body
            except UnicodeDecodeError:
                pass  # uvicorn closes with the right code
            else:
                if (left := self._deliver(message)) is not None:
                    self._deliver = None
                    self.queue.put_nowait(left)  # type: ignore[arg-type]  # likewise
                return
        self.curr_msg_data_type = "text" if kind is Kind.TEXT else "bytes"
        self.frames = [body]
        self.send_receive_event_to_app()

    def start_keepalive(self) -> None:
        """Ping, except Asterisk: before January 2026 its chan_websocket closed the connection on a ping."""
        if ASTERISK not in self.scope["subprotocols"]:
            super().start_keepalive()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Called when the application has finished."""
        super().on_task_complete(task)
        if not self.disconnected:
            self._linger = self.loop.call_later(self.linger_s, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._linger is not None:
            self._linger.cancel()
        super().connection_lost(exc)
