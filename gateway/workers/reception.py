"""Accepts connections, and gives each to the process that it is for.  [IO]

The request line is looked at without being read (MSG_PEEK, recv(2)), so whoever gets the connection sees all of it.
With TLS there is nothing to see yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from gateway import logs, refusals
from gateway.http.connection import HttpConnection, most_waiting
from gateway.workers.routing import LONGEST, Route, route_of

LOOK_AGAIN_S = 0.02
"""While a request line is not complete: a socket that holds a part of it is readable all the time."""
_log = logs.get(__name__)


class Reception:
    """Accepts from `start` to `close`."""

    def __init__(
        self,
        listener: socket.socket,
        give: Callable[[socket.socket, Route], object],
        secure: Callable[[socket.socket], None] | None,
    ) -> None:
        """Of the two one takes each connection, which is non-blocking.

        Args:
            give: takes it with what its request line says.
            secure: takes it before TLS is spoken; None: it is not.
        """
        self._listener = listener
        self._give = give
        self._secure = secure
        self._accepting: asyncio.Task[None] | None = None
        self._waiting: dict[asyncio.Task[None], socket.socket] = {}
        """Those that have not asked for anything yet, the oldest first."""

    def start(self) -> None:
        """Begin to accept. On the running loop."""
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name="reception")

    async def close(self) -> None:
        """Accept nothing more, and hang up on who has not asked for anything."""
        tasks = [*self._waiting, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:  # out of descriptors, or the peer is gone already
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            if self._secure is not None:
                self._secure(connection)
                continue
            task = asyncio.create_task(self._receive(connection))
            self._waiting[task] = connection
            task.add_done_callback(self._waiting.pop)
            if len(self._waiting) > most_waiting():
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
    """Return what begins with a whole line, or is too long for one, or is all that ever came."""
    while True:
        with contextlib.suppress(BlockingIOError):
            head = connection.recv(LONGEST, socket.MSG_PEEK)
            if not head or b"\n" in head or len(head) == LONGEST:
                return head
        await asyncio.sleep(LOOK_AGAIN_S)
