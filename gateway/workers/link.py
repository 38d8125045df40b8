"""What the first process and a worker say to each other, and how sockets are handed over.  [IO]

Two Unix socket pairs a worker: one for messages, a JSON object a line, both ways; one for sockets (SCM_RIGHTS,
unix(7)).
Neither side waits for the other: what is sent goes into a buffer, which is bounded (`Link.send`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one message; the longest are metrics, and the state of all calls."""
BUFFER = 8 * 1024 * 1024
"""Bytes that wait to be sent: some 15 s of the events of a busy worker."""
MOST_FACTS = 64 * 1024
"""Bytes told of a connection: most is the id of a call, from a request line."""

Message = dict[str, Any]


class Link:
    """One end of the messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, end: socket.socket) -> Link:
        """Take one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=MAX_LINE))

    def send(self, kind: str, share: float = 1.0, **facts: object) -> bool:
        """Send a message, without waiting; False where more than this `share` of the buffer is taken."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > share * BUFFER:
            return False
        self._writer.write(json.dumps({"kind": kind} | facts, separators=(",", ":")).encode() + b"\n")
        return True

    async def flush(self) -> None:
        """Wait until the other side has, or is sure to get, what was sent."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def messages(self) -> AsyncIterator[Message]:
        """Return what comes, until the other side is gone."""
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                yield json.loads(line)

    def close(self) -> None:
        """Send what waits, and hang up."""
        self._writer.close()


def hand_over(connection: socket.socket, to: socket.socket, **facts: object) -> bool:
    """Give a connection away, with what is known of it; ours stays open.

    Without waiting: False when the other side takes none now.
    """
    try:
        socket.send_fds(to, [json.dumps(facts).encode()], [connection.fileno()])
    except OSError:
        return False
    return True


def take_over(end: socket.socket, taken: Callable[[socket.socket, Message], None]) -> None:
    """Let `taken` have each connection that is handed over from now on, and its facts. On the running loop.

    The connection is non-blocking. A socket that came with bytes is a boundary between them: no read goes beyond it.
    """
    loop = asyncio.get_running_loop()
    end.setblocking(False)

    def ready() -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            data, fds, _, _ = socket.recv_fds(end, MOST_FACTS, 1)
            if not data:
                loop.remove_reader(end)
            for fd in fds:
                connection = socket.socket(fileno=fd)
                connection.setblocking(False)
                taken(connection, json.loads(data))

    loop.add_reader(end, ready)
