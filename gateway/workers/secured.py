"""TLS where several processes share the port.  [IO]

What a connection asks for is known only to who speaks TLS with it, and a TLS session cannot change processes. So each
new connection goes to the process with the least to do; that one shakes hands and reads the request line. Most requests
it serves itself. One that is for another process is relayed, decrypted, over a socket pair whose far end that process
takes like any other connection.
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
from gateway.workers.routing import LONGEST, Route, route_of

LINGER_S = 10.0
"""From the end of one side of a relay to the end of the other, at most; from the end of calls to the end of relays."""
Give = Callable[[socket.socket, Route, Peer], bool]
"""Gives the far end of a relay to the process that a request is for; False where that cannot be, and it stays ours."""
_log = logs.get(__name__)


class Relays:
    """What is decrypted in this process and served in another."""

    def __init__(self, give: Give) -> None:
        self._give = give
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, transport: asyncio.Transport, peer: Peer, head: bytes, route: Route) -> None:
        """Have a request, of which `head` was read, served elsewhere."""
        outside = _Side()
        outside.data_received(head)
        transport.set_protocol(outside)
        transport.pause_reading()
        task = asyncio.create_task(self._relay(transport, outside, peer, route), name="relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait until all have ended, as they do when those who serve them are done."""
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
                side.close()  # when what was written is sent
            await asyncio.wait([inside.ended, outside.ended], timeout=LINGER_S)


class _Side(asyncio.Protocol):
    """One side of a relay: what it reads is written to the other, no faster than that is sent."""

    def __init__(self, other: asyncio.Transport | None = None) -> None:
        self._other = other
        self._early = bytearray()
        """Read before there was another side."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def join(self, other: asyncio.Transport) -> None:
        """Write to `other`, from now on."""
        self._other = other
        other.write(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        """Pass it on; there may be nobody left to take it."""
        if self._other is None:
            self._early += data
        elif not self._other.is_closing():
            self._other.write(data)

    def eof_received(self) -> None:
        """The connection closes, and `connection_lost` follows."""

    def pause_writing(self) -> None:
        """Too much waits to be sent on this side."""
        if self._other is not None and not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        """Enough of it was sent."""
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """This side is gone."""
        if not self.ended.done():
            self.ended.set_result(None)


class RoutedConnection(HttpConnection):
    """A connection of which it is not known yet whom it is for."""

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
        """`serves` says whether a request is for this process; `relays` has those that are not."""
        super().__init__(config, server_state, app_state, loop)
        self._serves, self._relays = serves, relays
        self._head: bytearray | None = bytearray()
        """What was read so far; None: all that comes is for this process."""

    def data_received(self, data: bytes) -> None:
        """Bytes came: the request line first, by which the rest is routed."""
        if self._head is None:
            super().data_received(data)
            return
        self._head += data
        if b"\n" not in self._head and len(self._head) < LONGEST:
            return
        head, self._head = bytes(self._head), None
        route = route_of(head)
        if self._serves(route):
            super().data_received(head)
            return
        assert self.client is not None, "TLS comes over TCP"
        self.leave()
        self._relays.start(self.transport, self.client, head, route)
