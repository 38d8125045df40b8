"""A receiver of webhooks on a real socket, which answers as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """What came, and what is answered."""

    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    """Status lines with headers, one for each request; then 204. Empty: no answer at all."""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    """Types of events that are answered 400."""
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=1"

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    async def until(self, requests: int) -> None:
        """Wait until so many requests came in all."""
        async with asyncio.timeout(20):
            while len(self.requests) < requests:
                self.came.clear()
                await self.came.wait()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        assert first == "POST /hook?key=1 HTTP/1.1"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append((headers, body))
        self.came.set()
        answer = self.answers.pop(0) if self.answers else b"HTTP/1.1 204 No Content"
        if json.loads(body)["type"] in self.refuses:
            answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0"
        if not answer:
            await reader.read()  # until the gateway gives up
            return False
        writer.write(answer + b"\r\n\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """Listen on loopback."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def webhook(receiver: Receiver, **more: Any) -> dict[str, Any]:
    """Return settings of an endpoint that is this receiver, and is impatient."""
    return {
        "name": "desk", "url": receiver.url, "secret": SECRET, "allow_private": True, "retry_first_s": 0.05,
        "timeout_s": 5,
    } | more  # fmt: skip
