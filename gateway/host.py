"""uvicorn, on a port of its own or with connections that somebody else accepted.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from gateway.config import Settings
from gateway.connection import Connection, HttpConnection


class Host:
    """Serves an application: `start`, then `close` when its streams have ended."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._config = _uvicorn_config(app, settings)
        self._server = _Server(self._config)
        self._taking: set[asyncio.Task[object]] = set()
        self._serving: asyncio.Task[None] | None = None

    def start(self, listeners: Sequence[socket.socket] = ()) -> asyncio.Task[None]:
        """Begin to serve what comes to `listeners`, and what is given to `take`.

        Returns:
            A task that is done before `close` only if the server gave up by itself.
        """
        self._config.load()
        self._serving = asyncio.create_task(self._server.serve(list(listeners)), name="http")
        return self._serving

    def take(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere; it is non-blocking."""
        taking = asyncio.ensure_future(asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection))
        self._taking.add(taking)
        taking.add_done_callback(self._taken)

    async def close(self) -> None:
        """Say goodbye to whoever is still connected, and stop."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    def _protocol(self) -> HttpConnection:
        return HttpConnection(self._config, self._server.server_state, {}, asyncio.get_running_loop())

    def _taken(self, taking: asyncio.Task[object]) -> None:
        self._taking.discard(taking)
        if not taking.cancelled():
            taking.exception()  # the peer was gone before it was taken


class _Server(uvicorn.Server):
    """uvicorn, but signals are ours: calls must end before sockets do."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=HttpConnection,
        ws=Connection,
        # Twice what a stream may send, so that the usual offender hears which limit it broke and not just 1009.
        ws_max_size=2 * settings.max_message_bytes,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
