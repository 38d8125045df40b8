"""Peers of a client of events: a gateway to be killed, and one that does what the test tells it to."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import Heartbeat
from gateway.clock import utc_now
from tests.conftest import REPOSITORY
from tests.gateway.alerts.events import alert

Script = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def publisher(journal: Path, port: int) -> AsyncIterator[tuple[Process, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.alerts.publisher", str(journal), str(port), stdout=PIPE, cwd=REPOSITORY
    )
    try:
        assert process.stdout is not None
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def scripted(*scripts: Script, statuses: tuple[tuple[int, dict[str, str]], ...] = ()) -> AsyncIterator[list[Any]]:
    """Serve connections: first refuse with `statuses`, then play `scripts`. Yields the URL and the requests' paths."""
    refusals, plays, paths = iter(statuses), iter(scripts), []

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        paths.append((request.path, request.headers.get("Authorization")))
        for status, headers in refusals:
            response = connection.respond(status, json.dumps({"detail": f"because of {status}"}))
            for name, value in headers.items():
                response.headers[name] = value
            return response
        return None

    async def play(connection: ServerConnection) -> None:
        await next(plays)(connection)

    async with serve(
        play, "127.0.0.1", 0, process_request=answer, subprotocols=[Subprotocol("cloudevents.json")]
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield [f"http://127.0.0.1:{port}", paths]


def sends(*numbers: int, code: int = 1001, heartbeat: str | None = None, shared: bool = False) -> Script:
    """Return what sends events of these numbers, and closes; `shared`: of a stream of several gateways."""

    async def script(connection: ServerConnection) -> None:
        assert connection.subprotocol == "cloudevents.json"
        for number in numbers:
            event = envelope(
                alert(), event_id=f"j-{number}", source="/callscreen/j", time=utc_now(), sequence=f"{number:012d}"
            )
            cursor = f"all-s-{number}" if shared else None
            await connection.send(event.model_copy(update={"cursor": cursor}).model_dump_json(exclude_none=True))
        if heartbeat:
            beat = Heartbeat(last_event_id=heartbeat)
            await connection.send(
                envelope(beat, event_id="h", source="/callscreen/j", time=utc_now(), sequence=None).model_dump_json()
            )
        await connection.close(code, "so it goes")

    return script
