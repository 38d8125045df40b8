"""The SIP server: connects `Uas` to the transports, and runs a session for each call.  [IO]"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from gateway import clock, logs, refusals
from gateway.config import Settings
from gateway.errors import Overloaded, ProtocolError, RequestError, TooManyRequests
from gateway.ingest.events import Calls
from gateway.ingest.sip import multipart
from gateway.ingest.sip.dialog import Dialog, Flow
from gateway.ingest.sip.digest import Digest
from gateway.ingest.sip.session import Ports, SipSession
from gateway.ingest.sip.settings import SipSettings
from gateway.ingest.sip.transport import SIP, Transports
from gateway.ingest.sip.uas import CAPABILITIES, Transaction, Uas
from gateway.sources import Sources

TICK_S = 0.1
CODES = {400: 400, 403: 403, 409: 486, 413: 513, 415: 415, 422: 488, 429: 503, 503: 503}
"""SIP status of each HTTP status of `RequestError`."""
_log = logs.get(__name__)


class SipServer:
    """Accepts SIP calls. Implements `gateway.ingest.sip.uas.Handler`."""

    def __init__(self, calls: Calls, settings: Settings, sip: SipSettings) -> None:
        self._calls = calls
        self._settings = settings
        self._sip = sip
        self._transports = Transports(settings, sip, self.receive)
        self._ports = Ports(*sip.rtp_ports)
        self._loop = asyncio.get_running_loop()
        users = {user: password.get_secret_value() for user, password in sip.users.items()}
        self._uas = Uas(self, sip.min_session_s, lambda: secrets.token_hex(8), Digest(users) if users else None)
        self._sessions: dict[tuple[str, str, str], SipSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        limits = settings.rate_limits
        self._invites = Sources("invites", limits.invites_per_s, limits.exempt)

    @property
    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """Bound addresses, by transport: ``udp``, ``tcp``, ``tls``."""
        return self._transports.addresses

    async def open(self) -> None:
        """Start to listen. Raises ConfigError when an address or a file cannot be used."""
        await self._transports.open()
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
        self._transports.close()
        await asyncio.gather(*self._tasks)

    def receive(self, data: bytes, flow: Flow) -> bool:
        """Process one message; return False when it was not a SIP message."""
        try:
            self._uas.receive(data, flow, self._loop.time())
        except Overloaded as error:
            refusals.note(_log, "sip message dropped", SIP, error, transport=flow.transport)
        except ProtocolError as error:
            refusals.note(_log, "sip message refused", SIP, error, transport=flow.transport)
            return False
        except Exception:  # a bug costs this message only
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
                dialog, self._calls, self._settings, self._sip, self._ports, lambda reason: self._end(dialog, reason)
            )
        return session

    async def _described(self, transaction: Transaction, session: SipSession) -> bytes:
        request = transaction.request.message
        body = multipart.read(request.headers.get("Content-Type"), request.body)
        if transaction.request.method == "UPDATE" and body.sdp is None:
            return b""  # only the session timer is meant (RFC 4028 section 7.4)
        return await session.answer(body)

    def _headers(self, transaction: Transaction, session: SipSession, body: bytes) -> dict[str, str]:
        dialog = transaction.dialog
        assert dialog is not None, "an offer has a dialog"
        contact = dialog.contact(is_recording=session.is_recording, public_host=self._sip.public_host)
        headers = {"Contact": contact} | CAPABILITIES
        if dialog.refresh_s is not None:
            headers["Session-Expires"] = f"{dialog.refresh_s:g};refresher=uac"
            if "timer" in transaction.request.message.supported:
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
            except Exception:  # the timers of all calls go on
                _log.exception("sip timers failed")

    def _pass_time(self, now_s: float) -> None:
        self._uas.tick(now_s)
        for dialog in list(self._uas.dialogs.values()):
            session = self._sessions.get(dialog.key)
            if session is not None and session.is_idle(now_s):
                self._end(dialog, "timeout")


def _refusal(code: int, error: RequestError) -> dict[str, str]:
    reason = str(error).replace("\\", "/").replace('"', "'").replace("\n", " ")
    headers = {"Warning": f'399 callscreen "{reason}"'}
    if code == 503:
        headers["Retry-After"] = str(error.retry_after_s) if isinstance(error, TooManyRequests) else "10"
    if code == 415:
        headers["Accept"] = CAPABILITIES["Accept"]
    return headers
