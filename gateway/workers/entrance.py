"""The port in the first process: assigns each connection to a process.  [IO]"""

from __future__ import annotations

import socket
from functools import partial

from gateway.http.connection import Peer
from gateway.http.host import Host
from gateway.workers.acceptor import Acceptor
from gateway.workers.fleet import Fleet
from gateway.workers.link import Message
from gateway.workers.routing import FIRST, Route, is_for, owner
from gateway.workers.secured import Relays, RoutedConnection


class Entrance:
    """Accepts connections from `start` to `close`."""

    def __init__(self, listener: socket.socket, host: Host, fleet: Fleet, *, tls: bool) -> None:
        self._host, self._fleet = host, fleet
        self._relays = Relays(self._give)
        self._routed = partial(
            RoutedConnection, serves=partial(is_for, FIRST, processes=fleet.processes), relays=self._relays
        )
        self._acceptor = Acceptor(listener, self._give, self._secure if tls else None)

    def start(self) -> None:
        """Start to accept. Needs a running loop."""
        self._acceptor.start()

    async def close(self) -> None:
        """Stop accepting."""
        await self._acceptor.close()

    async def end(self) -> None:
        """Wait for the end of connections whose TLS is handled here and which are served elsewhere."""
        await self._relays.close()

    def relayed(self, connection: socket.socket, facts: Message) -> None:
        """Assign a connection whose TLS a worker handles, but which that worker does not serve."""
        host, port = facts["peer"]
        self._give(connection, Route(facts["media"], facts["call_id"]), (host, port))

    def _give(self, connection: socket.socket, route: Route, peer: Peer | None = None) -> bool:
        """Serve a connection in the process that its route selects; in this one if that is not available."""
        if route.media:
            fleet = self._fleet
            number = owner(route.call_id, fleet.processes) if route.call_id else fleet.least_loaded()
            if number != FIRST and fleet.give(number, connection, peer=peer):
                return True
        self._host.take(connection, peer)
        return True

    def _secure(self, connection: socket.socket) -> None:
        """Let the least loaded process do the TLS handshake, since the request is unknown before."""
        number = self._fleet.least_loaded()
        if number == FIRST or not self._fleet.give(number, connection, tls=True):
            self._host.secure(connection, self._routed)
