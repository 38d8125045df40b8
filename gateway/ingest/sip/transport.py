"""SIP over UDP, TCP and TLS: sockets, message framing, and limits on hosts and connections.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import cast

from gateway import clock, logs, refusals
from gateway.config import Settings
from gateway.errors import CallscreenError, ConfigError, Forbidden, Overloaded, StreamTimeout, TooFast
from gateway.ingest.rtp.settings import is_allowed, split_address
from gateway.ingest.sip.dialog import Flow
from gateway.ingest.sip.message import Framer
from gateway.ingest.sip.settings import SipSettings
from gateway.pace import Pace, messages

CONNECTIONS_PER_CALL = 2
"""TCP and TLS connections accepted per call of `max_calls`; most peers use one connection for all their calls."""
UNREAD_BYTES = 1 << 18
"""A connection is closed when its peer leaves more than this unread."""
SILENT_S = 10.0
"""A connection is closed when it has not sent a whole message by then; also the limit on a TLS handshake."""
UDP_MESSAGES_PER_S, UDP_BURST_S = 200.0, 2.0
"""Limit per host; further datagrams are dropped. An INVITE without an ACK is kept for 32 s, and one host must not use
up `uas.MAX_TRANSACTIONS`."""
MAX_HOSTS = 1000
"""Hosts whose rate is tracked; beyond this the oldest entry is dropped."""
SIP = "sip"
"""Label of the SIP endpoint in `refusals`."""
_log = logs.get(__name__)


def _not_allowed() -> Forbidden:
    return Forbidden("sip.allow_ips: the peer's address is not among them")


class Transports:
    """The listening sockets and open connections. Every message goes to `receive`."""

    def __init__(self, settings: Settings, sip: SipSettings, receive: Callable[[bytes, Flow], bool]) -> None:
        """Open nothing yet.

        Args:
            settings: limits on message size, message rate and calls.
            sip: addresses, certificates and allowed hosts.
            receive: takes one message and the flow for replies; returns False to close the connection.
        """
        self.addresses: dict[str, tuple[str, int]] = {}
        """Bound addresses, by transport: ``udp``, ``tcp``, ``tls``."""
        self.sip = sip
        self.receive = receive
        self.max_bytes = settings.max_message_bytes
        self.pace = partial(messages, settings.max_messages_per_s, settings.max_burst_s)
        self.connections: set[asyncio.Transport] = set()
        self._max_connections = CONNECTIONS_PER_CALL * settings.max_calls
        self._paces: dict[str, Pace] = {}
        self._listening: list[asyncio.DatagramTransport | asyncio.Server] = []

    @property
    def is_full(self) -> bool:
        """Whether further connections are refused; an idle connection costs memory, too."""
        return len(self.connections) >= self._max_connections

    def take_datagram(self, host: str) -> None:
        """Count a datagram. Raises TooFast when its host exceeds the limit."""
        pace = self._paces.get(host)
        if pace is None:
            if len(self._paces) >= MAX_HOSTS:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[host] = messages(UDP_MESSAGES_PER_S, UDP_BURST_S)
        pace.take(1, clock.monotonic_s())

    async def open(self) -> None:
        """Start to listen. Raises ConfigError when an address or a file cannot be used."""
        for transport in ("udp", "tcp", "tls"):
            address = getattr(self.sip, transport)
            if address is None:
                continue
            try:
                self.addresses[transport] = await self._listen(transport, *split_address(transport, address))
            except OSError as error:  # ssl.SSLError is an OSError
                self.close()
                raise ConfigError(f"sip.{transport}: cannot listen on {address}: {error.strerror or error}") from None

    def close(self) -> None:
        """Stop listening and close all connections."""
        for listening in self._listening:
            listening.close()
        for connection in list(self.connections):
            connection.close()

    async def _listen(self, transport: str, host: str, port: int) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        if transport == "udp":
            endpoint, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=(host, port))
            self._listening.append(endpoint)
            address = endpoint.get_extra_info("sockname")
        else:
            context = _tls(self.sip) if transport == "tls" else None
            server = await loop.create_server(
                lambda: _Connection(self, transport.upper()),
                host,
                port,
                ssl=context,
                ssl_handshake_timeout=SILENT_S if context else None,
            )
            self._listening.append(server)
            address = server.sockets[0].getsockname()
        return address[0], address[1]


class UdpFlow:
    """Replies to a peer over the UDP socket; see `gateway.ingest.sip.dialog.Flow`."""

    def __init__(self, via: asyncio.DatagramTransport, peer: tuple[str, int], local: tuple[str, int]) -> None:
        self.transport, self.peer, self.local = "UDP", peer, local
        self._via = via

    def send(self, data: bytes, port: int | None = None) -> None:
        """Send a message."""
        if not self._via.is_closing():
            self._via.sendto(data, (self.peer[0], port or self.peer[1]))


class StreamFlow:
    """Replies to a peer over its TCP or TLS connection."""

    def __init__(self, transport: str, via: asyncio.Transport) -> None:
        self.transport = transport
        self.peer: tuple[str, int] = via.get_extra_info("peername")[:2]
        self.local: tuple[str, int] = via.get_extra_info("sockname")[:2]
        self._via = via

    def send(self, data: bytes, port: int | None = None) -> None:  # noqa: ARG002
        """Send a message."""
        if self._via.is_closing():
            return
        self._via.write(data)
        if self._via.get_write_buffer_size() > UNREAD_BYTES:
            self._via.abort()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, transports: Transports) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not (data.strip() and len(data) <= self._transports.max_bytes):
            return
        if not is_allowed(addr[0], self._transports.sip.allow_ips):
            refusals.note(_log, "sip peer refused", SIP, _not_allowed(), peer=addr[0])
            return
        try:
            self._transports.take_datagram(addr[0])
        except TooFast as error:
            refusals.note(_log, "sip message dropped", SIP, error, peer=addr[0])
            return
        port = self._transport.get_extra_info("sockname")[1]
        local = (_local_address(addr[0]), port)
        self._transports.receive(data, UdpFlow(self._transport, (addr[0], addr[1]), local))


class _Connection(asyncio.Protocol):
    def __init__(self, transports: Transports, name: str) -> None:
        self._transports = transports
        self._name = name
        self._framer = Framer(transports.max_bytes)
        self._messages = transports.pace()
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer is None or not is_allowed(peer[0], self._transports.sip.allow_ips):
            refusals.note(_log, "sip peer refused", SIP, _not_allowed(), peer=peer and peer[0])
            self._transport.abort()
            return
        if self._transports.is_full:
            refusals.note(_log, "sip connection refused", SIP, Overloaded("max_calls: no room for another connection"))
            self._transport.abort()
            return
        self._flow = StreamFlow(self._name, self._transport)
        self._transports.connections.add(self._transport)
        self._silence = asyncio.get_running_loop().call_later(
            SILENT_S, self._abort, StreamTimeout(f"no message came within {SILENT_S:g} s")
        )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transports.connections.discard(self._transport)
        if self._silence is not None:
            self._silence.cancel()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            for message in self._framer.push(data):
                if self._silence is not None:
                    self._silence.cancel()
                self._messages.take(1, clock.monotonic_s())
                if not self._transports.receive(message, self._flow):
                    self._transport.close()
                    return
        except CallscreenError as error:
            self._abort(error)

    def _abort(self, error: CallscreenError) -> None:
        refusals.note(_log, "sip connection broken off", SIP, error, peer=self._flow.peer[0])
        self._transport.abort()


def _local_address(peer: str) -> str:
    """Return our address as `peer` reaches it, since we may listen on all. Connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET6 if ":" in peer else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        with contextlib.suppress(OSError):
            probe.connect((peer, 9))
        return str(probe.getsockname()[0])


def _tls(sip: SipSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert sip.tls_certificate is not None, "checked with the settings"
    context.load_cert_chain(sip.tls_certificate, sip.tls_key)
    if sip.tls_client_ca is not None:
        context.load_verify_locations(sip.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
