"""Messages between the first process and a worker, and transfer of sockets.  [IO]

Each worker has two Unix socket pairs: one for messages in both directions, one JSON object per line; one for sockets
(SCM_RIGHTS, unix(7)). Neither side waits for the other: messages go into a bounded buffer (`Link.send`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one message; the longest are metrics and the state of all calls."""
BUFFER = 8 * 1024 * 1024
"""Bytes waiting to be sent: some 15 s of events of a busy worker."""
MAX_FACTS = 64 * 1024
"""Bytes of the facts of a connection; most of it is a call id from a request line."""

Message = dict[str, Any]


class Link:
    """One end of the message channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, end: socket.socket) -> Link:
        """Use one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=MAX_LINE))

    def send(self, kind: str, share: float = 1.0, **facts: object) -> bool:
        """Send a message without waiting; return False if more than `share` of the buffer is in use."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > share * BUFFER:
            return False
        self._writer.write(json.dumps({"kind": kind} | facts, separators=(",", ":")).encode() + b"\n")
        return True

    async def flush(self) -> None:
        """Wait until the buffer is nearly empty."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the received messages until the other side closes."""
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                yield json.loads(line)

    def close(self) -> None:
        """Send the buffered messages, and close."""
        self._writer.close()


def hand_over(connection: socket.socket, to: socket.socket, **facts: object) -> bool:
    """Send a connection and its facts to another process; ours stays open.

    Never waits: returns False if the other side cannot take it now.
    """
    try:
        socket.send_fds(to, [json.dumps(facts).encode()], [connection.fileno()])
    except OSError:
        return False
    return True


def take_over(end: socket.socket, taken: Callable[[socket.socket, Message], None]) -> None:
    """Call `taken` with each connection received from now on, non-blocking, and its facts. Needs a running loop.

    A socket sent with bytes is a boundary between them: no read goes beyond it.
    """
    loop = asyncio.get_running_loop()
    end.setblocking(False)

    def ready() -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            data, fds, _, _ = socket.recv_fds(end, MAX_FACTS, 1)
            if not data:
                loop.remove_reader(end)
            for fd in fds:
                connection = socket.socket(fileno=fd)
                connection.setblocking(False)
                taken(connection, json.loads(data))

    loop.add_reader(end, ready)
