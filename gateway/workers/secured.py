"""TLS with several processes on one port.  [IO]

Only the process that handles TLS can read the request, and a TLS session cannot be moved to another process. So each
new connection goes to the least loaded process, which does the handshake and reads the request line. It serves most
requests itself. A request for another process is relayed, decrypted, over a socket pair, whose far end that process
serves like any other connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway import logs, refusals
from gateway.http.connection import HttpConnection, Peer
from gateway.workers.routing import MAX_LINE_BYTES, Route, route_of

LINGER_S = 10.0
"""From the end of one side of a relay to the end of the other; and from the end of calls to the end of relays."""
Give = Callable[[socket.socket, Route, Peer], bool]
"""Sends the far end of a relay to the process of a route; False, and the socket stays ours, if that is not possible."""
_log = logs.get(__name__)


class Relays:
    """The connections that are decrypted in this process and served in another."""

    def __init__(self, give: Give) -> None:
        self._give = give
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, transport: asyncio.Transport, peer: Peer, head: bytes, route: Route) -> None:
        """Relay a request, of which `head` has been read, to another process."""
        outside = _Side()
        outside.data_received(head)
        transport.set_protocol(outside)
        transport.pause_reading()
        task = asyncio.create_task(self._relay(transport, outside, peer, route), name="relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the end of all relays, which follows the end of the processes that serve them."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=LINGER_S)
            for task in late:
                task.cancel()

    async def _relay(self, transport: asyncio.Transport, outside: _Side, peer: Peer, route: Route) -> None:
        inside = _Side(transport)
        near, far = socket.socketpair()
        with contextlib.ExitStack() as ours:
            ours.callback(transport.abort)
            ours.callback(near.close)
            given = ours.enter_context(contextlib.ExitStack())
            given.callback(far.close)
            for end in (near, far):
                end.setblocking(False)
            inner, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: inside, near)
            ours.callback(inner.abort)
            outside.join(inner)
            if not self._give(far, route, peer):
                refusals.note(_log, "connection broken off", "http", "no_worker")
                return
            given.pop_all()
            transport.resume_reading()
            await asyncio.wait([inside.ended, outside.ended], return_when=asyncio.FIRST_COMPLETED)
            for side in (transport, inner):
                side.close()  # after sending what was written
            await asyncio.wait([inside.ended, outside.ended], timeout=LINGER_S)


class _Side(asyncio.Protocol):
    """One side of a relay: bytes that it reads are written to the other side, with backpressure."""

    def __init__(self, other: asyncio.Transport | None = None) -> None:
        self._other = other
        self._early = bytearray()
        """Bytes read before the other side was connected."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def join(self, other: asyncio.Transport) -> None:
        """Write to `other` from now on."""
        self._other = other
        other.write(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, unless the other side is closing."""
        if self._other is None:
            self._early += data
        elif not self._other.is_closing():
            self._other.write(data)

    def eof_received(self) -> None:
        """The connection closes; `connection_lost` follows."""

    def pause_writing(self) -> None:
        """Apply backpressure to the other side."""
        if self._other is not None and not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        """Release the backpressure."""
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.Protocol`."""
        if not self.ended.done():
            self.ended.set_result(None)


class RoutedConnection(HttpConnection):
    """A connection whose request line decides which process serves it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        *,
        serves: Callable[[Route], bool],
        relays: Relays,
    ) -> None:
        """`serves` returns whether a request is for this process; `relays` relays the others."""
        super().__init__(config, server_state, app_state, loop)
        self._serves, self._relays = serves, relays
        self._head: bytearray | None = bytearray()
        """Bytes read so far; None: the connection is served here."""

    def data_received(self, data: bytes) -> None:
        """Route by the request line, then process bytes as usual."""
        if self._head is None:
            super().data_received(data)
            return
        self._head += data
        if b"\n" not in self._head and len(self._head) < MAX_LINE_BYTES:
            return
        head, self._head = bytes(self._head), None
        route = route_of(head)
        if self._serves(route):
            super().data_received(head)
            return
        assert self.client is not None, "TLS comes over TCP"
        self.leave()
        self._relays.start(self.transport, self.client, head, route)
