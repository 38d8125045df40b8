"""Runs uvicorn, on a port of its own or with connections accepted elsewhere.  [IO]

With TLS the port is opened here, because uvicorn does not limit the duration of a handshake. The certificate can be
reloaded; existing connections keep theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from gateway import logs, refusals
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.http.connection import Connection, HttpConnection, Peer, max_waiting

HANDSHAKE_S = 10.0
"""Longest TLS handshake."""
Kind = Callable[[uvicorn.Config, ServerState, dict[str, Any], asyncio.AbstractEventLoop], HttpConnection]
"""Creates the protocol of a connection."""
_log = logs.get(__name__)


class Host:
    """Serves an application: `start`, then `close` after its streams have ended."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Raises ConfigError if the certificate cannot be used."""
        self._settings = settings
        self._tls = tls_context(settings)
        self._config = _uvicorn_config(app, settings)
        self._server = UnsignalledServer(self._config)
        self._taking: dict[asyncio.Task[object], None] = {}
        """Connections that are being set up, oldest first."""
        self._serving: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    def start(self, listeners: Sequence[socket.socket] = ()) -> asyncio.Task[None]:
        """Start to serve connections to `listeners`, and those given to `take`.

        Returns:
            A task that ends before `close` only if the server failed.
        """
        self._config.load()
        serving = self._serve_tls(self._tls, listeners) if self._tls else self._server.serve(list(listeners))
        self._serving = asyncio.create_task(serving, name="http")
        return self._serving

    def take(self, connection: socket.socket, relayed: Peer | None = None) -> None:
        """Serve a connection accepted elsewhere, which is non-blocking.

        Args:
            connection: the connection.
            relayed: the peer, if its TLS is handled by the process that relays the connection.
        """
        kind = partial(HttpConnection, relayed=relayed)
        self._take(asyncio.get_running_loop().connect_accepted_socket(partial(self._protocol, kind), connection))

    def secure(self, connection: socket.socket, kind: Kind) -> None:
        """Do the TLS handshake of a connection accepted elsewhere, which is non-blocking, and serve it."""
        if len(self._taking) >= max_waiting():
            refusals.note(_log, "connection broken off", "http", "too_many_waiting")
            next(iter(self._taking)).cancel()
        self._take(
            asyncio.get_running_loop().connect_accepted_socket(
                partial(self._protocol, kind),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        )

    def read_certificate(self) -> None:
        """Reload the certificate for new connections. If it cannot be used, the current one is kept. Without TLS, do
        nothing."""
        if self._tls is not None and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read_certificate(self._tls), name="certificate")

    async def close(self) -> None:
        """Close the remaining connections, and stop."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def _serve_tls(self, tls: ssl.SSLContext, listeners: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            for listener in listeners:
                server = await loop.create_server(
                    self._protocol, sock=listener, ssl=tls, ssl_handshake_timeout=HANDSHAKE_S
                )
                stack.callback(server.close)
            await self._server.serve([])

    async def _read_certificate(self, tls: ssl.SSLContext) -> None:
        settings = self._settings
        try:
            await asyncio.to_thread(tls_context, settings)
        except ConfigError as error:
            _log.error("certificate not taken", error=str(error))
            return
        assert settings.tls_cert is not None, "else there is no TLS"
        tls.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
        _log.info("certificate read", file=str(settings.tls_cert))

    def _protocol(self, kind: Kind = HttpConnection) -> HttpConnection:
        return kind(self._config, self._server.server_state, {}, asyncio.get_running_loop())

    def _take(self, connecting: Coroutine[Any, Any, object]) -> None:
        taking = asyncio.ensure_future(connecting)
        self._taking[taking] = None
        taking.add_done_callback(self._taken)

    def _taken(self, taking: asyncio.Task[object]) -> None:
        del self._taking[taking]
        if not taking.cancelled():
            taking.exception()  # the peer had already closed


class UnsignalledServer(uvicorn.Server):
    """uvicorn without signal handlers: the application handles signals, since calls must end before sockets close."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of the port; None without TLS. Raises ConfigError."""
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # TLS 1.2 or later
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        detail = getattr(error, "strerror", None) or error
        raise ConfigError(f"tls_cert, tls_key: {settings.tls_cert}, {settings.tls_key}: {detail}") from None
    return context


def _uvicorn_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=HttpConnection,
        ws=Connection,
        # Twice the limit of a stream, so that most offenders get the gateway's error, not only close code 1009.
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


def url(settings: Settings, listener: socket.socket) -> str:
    """Return the URL of a listener."""
    host, port = listener.getsockname()[:2]
    return f"{'https' if settings.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def listen(settings: Settings) -> socket.socket:
    """Open the port. Raises ConfigError."""
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=1024,
        )
    except OSError as error:
        raise ConfigError(f"host, port: cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None
