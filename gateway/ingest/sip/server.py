"""SIP over UDP, TCP and TLS: the sockets around `Uas`, and a session for each call.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
from functools import partial
from typing import cast

from gateway import clock, logs, refusals
from gateway.config import Settings
from gateway.errors import (
    CallscreenError,
    ConfigError,
    Overloaded,
    ProtocolError,
    RequestError,
    StreamTimeout,
    TooFast,
    TooManyRequests,
)
from gateway.ingest.events import Calls
from gateway.ingest.rtp.settings import is_allowed, split_address
from gateway.ingest.sip import multipart
from gateway.ingest.sip.dialog import Dialog, Flow
from gateway.ingest.sip.digest import Digest
from gateway.ingest.sip.message import Framer
from gateway.ingest.sip.session import Ports, SipSession
from gateway.ingest.sip.settings import SipSettings
from gateway.ingest.sip.uas import TOLD, Transaction, Uas
from gateway.pace import Pace, messages
from gateway.sources import Sources

TICK_S = 0.1
CONNECTIONS_OF_A_CALL = 2
"""TCP and TLS connections that one call of `max_calls` stands for: most peers need a single one for all of theirs."""
UNREAD_BYTES = 1 << 18
"""Answers that a peer leaves unread on its connection before that is broken off."""
SILENT_S = 10.0
"""A connection that has not brought a whole message by then is closed: nobody connects without anything to say."""
UDP_MESSAGES_PER_S, UDP_BURST_S = 200.0, 2.0
"""Of one host; more are dropped. An INVITE without an ACK is remembered for 32 s, and `uas.MAX_TRANSACTIONS` of them
must not all be one host's."""
MAX_HOSTS = 1000
"""Whose pace is kept; beyond it the one that was heard first is forgotten."""
CODES = {400: 400, 403: 403, 409: 486, 413: 513, 415: 415, 422: 488, 429: 503, 503: 503}
"""Our HTTP statuses in SIP."""
SIP = "sip"
"""The door of what is refused here."""
_log = logs.get(__name__)


class SipServer:
    """The SIP door. Implements `gateway.ingest.sip.uas.Handler`."""

    def __init__(self, calls: Calls, settings: Settings, sip: SipSettings) -> None:
        self.addresses: dict[str, tuple[str, int]] = {}
        """Where it listens, by transport: ``udp``, ``tcp``, ``tls``."""
        self.sip = sip
        self.max_bytes = settings.max_message_bytes
        self.pace = partial(messages, settings.max_messages_per_s, settings.max_burst_s)
        self._calls = calls
        self._settings = settings
        self._ports = Ports(*sip.rtp_ports)
        self._loop = asyncio.get_running_loop()
        users = {user: password.get_secret_value() for user, password in sip.users.items()}
        self._uas = Uas(self, sip.min_session_s, lambda: secrets.token_hex(8), Digest(users) if users else None)
        self._sessions: dict[tuple[str, str, str], SipSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._open: list[asyncio.DatagramTransport | asyncio.Server] = []
        self.connections: set[asyncio.Transport] = set()
        self._paces: dict[str, Pace] = {}
        limits = settings.rate_limits
        self._invites = Sources("invites", limits.invites_per_s, limits.exempt)
        self._max_connections = CONNECTIONS_OF_A_CALL * settings.max_calls

    @property
    def is_full(self) -> bool:
        """Whether no further connection is taken: each costs something before it says what it wants."""
        return len(self.connections) >= self._max_connections

    def take_datagram(self, host: str) -> None:
        """Count a datagram. Raises TooFast when that host sends too many of them."""
        pace = self._paces.get(host)
        if pace is None:
            if len(self._paces) >= MAX_HOSTS:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[host] = messages(UDP_MESSAGES_PER_S, UDP_BURST_S)
        pace.take(1, clock.monotonic_s())

    async def open(self) -> None:
        """Start to listen. Raises ConfigError when an address or a file cannot be had."""
        for transport in ("udp", "tcp", "tls"):
            address = getattr(self.sip, transport)
            if address is None:
                continue
            try:
                self.addresses[transport] = await self._listen(transport, *split_address(transport, address))
            except OSError as error:  # of which SSLError is one
                await self.close()
                raise ConfigError(f"sip.{transport}: cannot listen on {address}: {error.strerror or error}") from None
        self._ticking = asyncio.create_task(self._tick(), name="sip timers")

    async def close(self) -> None:
        """Hang up and stop listening."""
        sessions = list(self._sessions.values())
        for dialog in list(self._uas.dialogs.values()):
            self._end(dialog, "shutdown")
        await asyncio.gather(*(session.ended() for session in sessions))
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        for listening in self._open:
            listening.close()
        for connection in list(self.connections):
            connection.close()
        await asyncio.gather(*self._tasks)

    def hear(self, data: bytes, flow: Flow) -> bool:
        """Take one message; False when it was none."""
        try:
            self._uas.receive(data, flow, self._loop.time())
        except Overloaded as error:
            refusals.note(_log, "sip message dropped", SIP, error, transport=flow.transport)
        except ProtocolError as error:
            refusals.note(_log, "sip message refused", SIP, error, transport=flow.transport)
            return False
        except Exception:  # root of what a datagram sets off: a fault of ours costs this message, and no other
            _log.exception("sip message failed", transport=flow.transport)
            return False
        return True

    def offered(self, transaction: Transaction) -> None:
        """See `Handler`."""
        task = asyncio.create_task(self._answer(transaction), name="sip answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ended(self, dialog: Dialog, reason: str) -> None:
        """See `Handler`."""
        session = self._sessions.pop(dialog.key, None)
        if session is not None:
            session.end(reason)

    async def _answer(self, transaction: Transaction) -> None:
        dialog = transaction.dialog
        assert dialog is not None, "an offer has a dialog"
        code, headers, body = 500, dict[str, str](), b""
        session = None
        try:
            session = self._session(dialog)
            async with session.turn:
                body = await self._described(transaction, session)
            code, headers = 200, self._headers(transaction, session, body)
        except RequestError as error:
            code = CODES.get(error.status, 500)
            headers = _refusal(code, error)
            refusals.note(_log, "sip offer refused", SIP, error, source=SIP, code=code)
        except Exception:  # task root
            _log.exception("sip offer failed", source="sip")
        if code == 200 and dialog.is_over:  # cancelled or hung up in the meantime
            code = 487
        self._uas.answer(transaction, code, self._loop.time(), headers, body)
        if dialog.is_over and session is not None:
            self._sessions.pop(dialog.key, None)
            session.end("refused")

    def _session(self, dialog: Dialog) -> SipSession:
        session = self._sessions.get(dialog.key)
        if session is None:
            self._invites.take(dialog.flow.peer[0], clock.monotonic_s())
            session = self._sessions[dialog.key] = SipSession(
                dialog, self._calls, self._settings, self.sip, self._ports, lambda reason: self._end(dialog, reason)
            )
        return session

    async def _described(self, transaction: Transaction, session: SipSession) -> bytes:
        request = transaction.heard.request
        body = multipart.read(request.headers.get("Content-Type"), request.body)
        if transaction.heard.method == "UPDATE" and body.sdp is None:
            return b""  # only the session timer is meant (RFC 4028 section 7.4)
        return await session.answer(body)

    def _headers(self, transaction: Transaction, session: SipSession, body: bytes) -> dict[str, str]:
        dialog = transaction.dialog
        assert dialog is not None, "an offer has a dialog"
        contact = dialog.contact(is_recording=session.is_recording, public_host=self.sip.public_host)
        headers = {"Contact": contact} | TOLD
        if dialog.refresh_s is not None:
            headers["Session-Expires"] = f"{dialog.refresh_s:g};refresher=uac"
            if "timer" in transaction.heard.request.supported:
                headers["Require"] = "timer"
        if body:
            headers["Content-Type"] = multipart.SDP
        return headers

    def _end(self, dialog: Dialog, reason: str) -> None:
        """End a call from our side."""
        self._uas.hang_up(dialog, self._loop.time())
        self.ended(dialog, reason)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._pass_time(self._loop.time())
            except Exception:  # task root: timers of all calls hang on it
                _log.exception("sip timers failed")

    def _pass_time(self, now_s: float) -> None:
        self._uas.tick(now_s)
        for dialog in list(self._uas.dialogs.values()):
            session = self._sessions.get(dialog.key)
            if session is not None and session.is_idle(now_s):
                self._end(dialog, "timeout")

    async def _listen(self, transport: str, host: str, port: int) -> tuple[str, int]:
        if transport == "udp":
            endpoint, _ = await self._loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=(host, port))
            self._open.append(endpoint)
            address = endpoint.get_extra_info("sockname")
        else:
            context = _tls(self.sip) if transport == "tls" else None
            server = await self._loop.create_server(
                lambda: _Connection(self, transport.upper()),
                host,
                port,
                ssl=context,
                ssl_handshake_timeout=SILENT_S if context else None,
            )
            self._open.append(server)
            address = server.sockets[0].getsockname()
        return address[0], address[1]


class UdpFlow:
    """The way back to a peer over our UDP socket; see `gateway.ingest.sip.dialog.Flow`."""

    def __init__(self, via: asyncio.DatagramTransport, peer: tuple[str, int], local: tuple[str, int]) -> None:
        self.transport, self.peer, self.local = "UDP", peer, local
        self._via = via

    def send(self, data: bytes, port: int | None = None) -> None:
        """Send a message."""
        if not self._via.is_closing():
            self._via.sendto(data, (self.peer[0], port or self.peer[1]))


class StreamFlow:
    """The way back to a peer over its connection."""

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
    def __init__(self, server: SipServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not (data.strip() and len(data) <= self._server.max_bytes):
            return
        if not is_allowed(addr[0], self._server.sip.allow_ips):
            return
        try:
            self._server.take_datagram(addr[0])
        except TooFast as error:
            refusals.note(_log, "sip message dropped", SIP, error, peer=addr[0])
            return
        port = self._transport.get_extra_info("sockname")[1]
        own = (_own_address(addr[0]), port)
        self._server.hear(data, UdpFlow(self._transport, (addr[0], addr[1]), own))


class _Connection(asyncio.Protocol):
    def __init__(self, server: SipServer, transport: str) -> None:
        self._server = server
        self._name = transport
        self._framer = Framer(server.max_bytes)
        self._messages = server.pace()
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer is None or not is_allowed(peer[0], self._server.sip.allow_ips):
            self._transport.abort()
            return
        if self._server.is_full:
            refusals.note(_log, "sip connection refused", SIP, Overloaded("max_calls: no room for another connection"))
            self._transport.abort()
            return
        self._flow = StreamFlow(self._name, self._transport)
        self._server.connections.add(self._transport)
        self._late = asyncio.get_running_loop().call_later(
            SILENT_S, self._break_off, StreamTimeout(f"no message came within {SILENT_S:g} s")
        )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server.connections.discard(self._transport)
        if self._late is not None:
            self._late.cancel()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            for message in self._framer.push(data):
                if self._late is not None:
                    self._late.cancel()
                self._messages.take(1, clock.monotonic_s())
                if not self._server.hear(message, self._flow):
                    self._transport.close()
                    return
        except CallscreenError as error:
            self._break_off(error)

    def _break_off(self, error: CallscreenError) -> None:
        refusals.note(_log, "sip connection broken off", SIP, error, peer=self._flow.peer[0])
        self._transport.abort()


def _own_address(peer: str) -> str:
    """Our address on the way to a peer, for we may listen on all of them. Connecting UDP sends nothing."""
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


def _refusal(code: int, error: RequestError) -> dict[str, str]:
    reason = str(error).replace("\\", "/").replace('"', "'").replace("\n", " ")
    headers = {"Warning": f'399 callscreen "{reason}"'}
    if code == 503:
        headers["Retry-After"] = str(error.retry_after_s) if isinstance(error, TooManyRequests) else "10"
    if code == 415:
        headers["Accept"] = TOLD["Accept"]
    return headers
