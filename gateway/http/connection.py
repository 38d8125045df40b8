"""uvicorn's engines, except that a peer which does not talk, or does not read, cannot keep its connection.  [IO]

Over HTTP, uvicorn waits for a request for ever. Over a websocket, both the goodbye of an application and uvicorn's own
``transport.close()`` wait until everything written before is sent: a peer that never reads would hold the socket, and
uvicorn's shutdown, for ever.

And a message can be heard the moment it comes: ASGI puts each into a queue, stops reading, wakes a task, and reads on,
which takes longer than all else that is done with 20 ms of audio.
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
"""Connections that have not asked for anything yet. Who asks does so at once; only a flood makes so many wait."""
SHARE_OF_FILES = 4
"""Of the files that this process may open they take one in so many: the rest is for calls and subscribers."""
ASTERISK = "media"
"""The subprotocol of its chan_websocket."""
Peer = tuple[str, int]
"""Address and port."""


class HttpConnection(H11Protocol):
    """One connection before it becomes a websocket, if ever; for `uvicorn.Config(http=HttpConnection)`.

    h11, for httptools takes headers without end.
    """

    head_s = 10.0
    """From the connection, or the last answer, to the end of a request's head, at most."""
    _late: asyncio.TimerHandle | None = None
    _waiting: ClassVar[dict[HttpConnection, None]] = {}
    """All of this process that have not asked for anything yet, the oldest first."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        relayed: Peer | None = None,
    ) -> None:
        """As uvicorn's; `relayed` is the peer at the other end of a relay, which speaks TLS with it."""
        super().__init__(config, server_state, app_state, _loop)
        self.relayed = relayed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Somebody is there."""
        super().connection_made(transport)
        if self.relayed is not None:
            self.client, self.scheme = self.relayed, "https"
        self._expect_request()

    def on_response_complete(self) -> None:
        """An answer was sent; another request may follow."""
        super().on_response_complete()
        self._expect_request()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        refusals.note(_log, "not http", "http", "not_http")
        super().send_400_response(msg)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From now on `Connection` has the transport."""
        self.leave()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by itself or by us."""
        self._expect_nothing()
        super().connection_lost(exc)

    def leave(self) -> None:
        """Have no more to do with the connection, which another protocol takes over."""
        self._expect_nothing()
        self.connections.discard(self)

    def _expect_request(self) -> None:
        self._expect_nothing()
        self._late = self.loop.call_later(self.head_s, self._hang_up)
        self._waiting[self] = None
        while len(self._waiting) > most_waiting():
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.give_way()

    def _expect_nothing(self) -> None:
        self._waiting.pop(self, None)
        if self._late is not None:
            self._late.cancel()

    @property
    def _asks(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def give_way(self) -> None:
        """Hang up, because too many others have not asked for anything either; one that has by now may stay."""
        if not self._asks:
            refusals.note(_log, "connection broken off", "http", "too_many_waiting")
            self.transport.abort()

    def _hang_up(self) -> None:
        if not self._asks:
            refusals.note(_log, "connection broken off", "http", "no_request")
            self.transport.close()


def most_waiting() -> int:
    """Return how many connections may have asked for nothing."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(MAX_WAITING, files // SHARE_OF_FILES))


class Connection(WebSocketsSansIOProtocol):
    """One websocket; for `uvicorn.Config(ws=Connection)`."""

    linger_s = 10.0
    """From the end of the application to the end of the connection, at most."""
    _linger: asyncio.TimerHandle | None = None
    _splitter: FrameSplitter | None = None
    _at_once: Deliver | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of a relay, `HttpConnection`, which still has the transport, knows the peer."""
        super().connection_made(transport)
        before = self.transport.get_protocol()
        if isinstance(before, HttpConnection) and before.relayed is not None:
            self.client, self.scheme = before.relayed, "wss"

    def handle_connect(self, event: Request) -> None:
        """A peer asks for a websocket."""
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][LISTEN] = self._listen  # type: ignore[assignment]  # more than ASGI knows

    def _listen(self, at_once: Deliver | None) -> None:
        """See `LISTEN`."""
        self._at_once = at_once

    def data_received(self, data: bytes) -> None:
        """Bytes came; the first are the request, from `HttpConnection`, and nothing else."""
        if self._splitter is None:
            self._splitter = FrameSplitter(self.config.ws_max_size)
            super().data_received(data)
            return
        for kind, body in self._splitter.split(data):
            if kind is Kind.OTHER:
                super().data_received(body)
            elif not self.close_sent and self.conn.state not in (CLOSING, CLOSED):
                self._hear(kind, body)

    def _hear(self, kind: Kind, body: bytes) -> None:
        """Let a message be heard at once; in the queue, where nobody listens, or others wait there already."""
        if self._at_once is not None and self.queue.empty():
            try:
                message = body.decode() if kind is Kind.TEXT else body
            except UnicodeDecodeError:
                pass  # uvicorn closes with the right code
            else:
                if (left := self._at_once(message)) is not None:
                    self._at_once = None
                    self.queue.put_nowait(left)  # type: ignore[arg-type]  # likewise
                return
        self.curr_msg_data_type = "text" if kind is Kind.TEXT else "bytes"
        self.frames = [body]
        self.send_receive_event_to_app()

    def start_keepalive(self) -> None:
        """Ping, unless the peer is an Asterisk: before January 2026 its chan_websocket hung up on a ping."""
        if ASTERISK not in self.scope["subprotocols"]:
            super().start_keepalive()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with this connection."""
        super().on_task_complete(task)
        if not self.disconnected:
            self._linger = self.loop.call_later(self.linger_s, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by itself or by us."""
        if self._linger is not None:
            self._linger.cancel()
        super().connection_lost(exc)
