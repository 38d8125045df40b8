"""uvicorn's websocket engine, except that a peer which does not read cannot keep its connection.  [IO]

Both the goodbye of an application and uvicorn's own ``transport.close()`` wait until everything written before is sent.
A peer that never reads would hold the socket, and uvicorn's shutdown, for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

ASTERISK = "media"
"""The subprotocol of its chan_websocket."""


class Connection(WebSocketsSansIOProtocol):
    """One websocket; for `uvicorn.Config(ws=Connection)`."""

    linger_s = 10.0
    """From the end of the application to the end of the connection, at most."""
    _linger: asyncio.TimerHandle | None = None

    def start_keepalive(self) -> None:
        """Ping, unless the peer is an Asterisk: before January 2026 its chan_websocket hung up on a ping."""
        if ASTERISK not in self.scope["subprotocols"]:
            super().start_keepalive()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with this connection."""
        super().on_task_complete(task)
        if not self.disconnected:
            self._linger = self.loop.call_later(self.linger_s, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by itself or by us."""
        if self._linger is not None:
            self._linger.cancel()
        super().connection_lost(exc)
