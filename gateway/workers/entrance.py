"""The port, as the first process has it: each connection is given to the process that it is for.  [IO]"""

from __future__ import annotations

import socket
from functools import partial

from gateway.http.connection import Peer
from gateway.http.host import Host
from gateway.workers.fleet import Fleet
from gateway.workers.link import Message
from gateway.workers.reception import Reception
from gateway.workers.routing import FIRST, Route, is_for, owner
from gateway.workers.secured import Relays, RoutedConnection


class Entrance:
    """Accepts from `start` to `close`."""

    def __init__(self, listener: socket.socket, host: Host, fleet: Fleet, *, tls: bool) -> None:
        self._host, self._fleet = host, fleet
        self._relays = Relays(self._give)
        self._routed = partial(
            RoutedConnection, serves=partial(is_for, FIRST, processes=fleet.processes), relays=self._relays
        )
        self._reception = Reception(listener, self._give, self._secure if tls else None)

    def start(self) -> None:
        """Begin to accept. On the running loop."""
        self._reception.start()

    async def close(self) -> None:
        """Accept nothing more."""
        await self._reception.close()

    async def end(self) -> None:
        """Wait until those have ended whose TLS is spoken here and who are served elsewhere."""
        await self._relays.close()

    def relayed(self, connection: socket.socket, facts: Message) -> None:
        """Take a connection whose TLS a worker speaks, and which that worker does not serve."""
        host, port = facts["peer"]
        self._give(connection, Route(facts["media"], facts["call_id"]), (host, port))

    def _give(self, connection: socket.socket, route: Route, peer: Peer | None = None) -> bool:
        """Have a connection served by the process that it is for; here, where that is not there."""
        if route.media:
            fleet = self._fleet
            number = owner(route.call_id, fleet.processes) if route.call_id else fleet.least_loaded()
            if number != FIRST and fleet.give(number, connection, peer=peer):
                return True
        self._host.take(connection, peer)
        return True

    def _secure(self, connection: socket.socket) -> None:
        """Have the process with the least to do shake hands: what is asked for is known only then."""
        number = self._fleet.least_loaded()
        if number == FIRST or not self._fleet.give(number, connection, tls=True):
            self._host.secure(connection, self._routed)
