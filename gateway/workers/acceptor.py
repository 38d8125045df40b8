"""Accepts connections, and assigns each to a process.  [IO]

The request line is peeked at (MSG_PEEK, recv(2)), so the process that serves the connection still reads all of it. With
TLS this is not possible.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from gateway import logs, refusals
from gateway.http.connection import HttpConnection, max_waiting
from gateway.workers.routing import MAX_LINE_BYTES, Route, route_of

POLL_S = 0.02
"""While a request line is incomplete; a socket that holds a part of it stays readable, so it cannot be awaited."""
_log = logs.get(__name__)


class Acceptor:
    """Accepts connections from `start` to `close`."""

    def __init__(
        self,
        listener: socket.socket,
        give: Callable[[socket.socket, Route], object],
        secure: Callable[[socket.socket], None] | None,
    ) -> None:
        """Each connection, non-blocking, is passed to one of two functions.

        Args:
            listener: the listening socket.
            give: gets the connection and the route of its request line.
            secure: gets the connection before the TLS handshake; None: the port does not use TLS.
        """
        self._listener = listener
        self._give = give
        self._secure = secure
        self._accepting: asyncio.Task[None] | None = None
        self._waiting: dict[asyncio.Task[None], socket.socket] = {}
        """Connections without a request, oldest first."""

    def start(self) -> None:
        """Start to accept. Needs a running loop."""
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name="acceptor")

    async def close(self) -> None:
        """Stop accepting, and close the connections without a request."""
        tasks = [*self._waiting, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:  # out of descriptors, or the peer has closed
                await asyncio.sleep(POLL_S)
                continue
            if self._secure is not None:
                self._secure(connection)
                continue
            task = asyncio.create_task(self._receive(connection))
            self._waiting[task] = connection
            task.add_done_callback(self._waiting.pop)
            if len(self._waiting) > max_waiting():
                refusals.note(_log, "connection broken off", "http", "too_many_waiting")
                next(iter(self._waiting)).cancel()

    async def _receive(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(HttpConnection.head_s):
                head = await _peeked(connection)
        except (TimeoutError, OSError):
            refusals.note(_log, "connection broken off", "http", "no_request")
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise
        else:
            self._give(connection, route_of(head))


async def _peeked(connection: socket.socket) -> bytes:
    """Return the start of the request: with a whole line, too long for one, or all that the peer sent."""
    while True:
        with contextlib.suppress(BlockingIOError):
            head = connection.recv(MAX_LINE_BYTES, socket.MSG_PEEK)
            if not head or b"\n" in head or len(head) == MAX_LINE_BYTES:
                return head
        await asyncio.sleep(POLL_S)
