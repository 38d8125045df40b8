"""WebRTC attach point, signalled by WHIP (RFC 9725).  [IO]

A session is one speaker, `POST /v1/whip/{call_id}/{leg}`; the two sessions of a call share its id. The answer has all
our candidates, so neither trickle ICE nor ICE restarts are supported, and PATCH is 405, as the RFC requires in that
case.

A gateway that listens on loopback also offers 127.0.0.1 to WebRTC peers; any other offers the addresses of its
interfaces only.
"""

from __future__ import annotations

import asyncio
import secrets

from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.rtp import RtpPacket
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import logs, refusals
from gateway.auth.access import access_of
from gateway.config import Settings, is_loopback
from gateway.errors import ConfigError, MessageTooBig, NotFound, ProtocolError, StreamTimeout, UnsupportedMedia
from gateway.ingest import names
from gateway.ingest.doors import Door
from gateway.ingest.events import AudioReceived, Calls, LegDescription, OpenStream, StreamStarted
from gateway.ingest.listening import receive_tolerantly
from gateway.ingest.rtp.packet import PacketClock
from gateway.ingest.tolerance import Tolerance
from gateway.ingest.webrtc.peer import AudioPeer
from gateway.ingest.webrtc.sdp import Offer, read_offer

ENDPOINT = "/v1/whip/{call_id}/{leg}"
SESSION = ENDPOINT + "/{session}"
SDP = "application/sdp"
CONNECT_ALLOWANCE = 4
"""Number of start deadlines until the first packet: ICE tries several addresses, and a lost DTLS flight is repeated
after 1 s, 2 s, 4 s (RFC 6347 section 4.2.4.1)."""

_log = logs.get(__name__)


class Whip:
    """The WHIP endpoint and its sessions."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        """Create the endpoint. Its handlers raise CallscreenError, which the application turns into a response.

        Raises:
            ConfigError: one of `settings.ice_servers` is not a STUN or TURN URL.
        """
        self._door = settings.whip_door()
        for url in settings.ice_servers:
            try:
                parse_stun_turn_uri(url)
            except ValueError as error:
                raise ConfigError(f"ice_servers: expected stun:HOST[:PORT] or turn:HOST[:PORT], got {url!r}") from error
        self._calls = calls
        self._settings = settings
        self._sessions: dict[str, _Session] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.routes = [
            route
            for slash in ("", "/")
            for route in (
                Route(ENDPOINT + slash, self._endpoint, methods=["POST", "GET", "OPTIONS"]),
                Route(SESSION + slash, self._session, methods=["DELETE", "GET", "OPTIONS"]),
            )
        ]

    async def close(self) -> None:
        """End all sessions and wait for them."""
        for session in self._sessions.values():
            session.end("shutdown")
        await asyncio.gather(*self._tasks.values())

    async def _endpoint(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=204, headers={"Accept-Post": SDP})
        session = await self._open(request)
        location = (self._settings.public_url or "").rstrip("/") + f"{request.url.path.rstrip('/')}/{session.id}"
        headers = {"Location": location}
        if self._settings.ice_servers:
            headers["Link"] = ", ".join(f'<{url}>; rel="ice-server"' for url in self._settings.ice_servers)
        return Response(session.answer, 201, headers, SDP)

    async def _session(self, request: Request) -> Response:
        if request.method != "DELETE":
            return Response(status_code=204)
        session = self._sessions.get(request.path_params["session"])
        if session is None or not access_of(request.scope).sees(session.tenant):
            raise NotFound("session: there is no such session, or it has ended")
        session.end("stopped")
        await asyncio.wait([self._tasks[session.id]])
        return Response(status_code=200)

    async def _open(self, request: Request) -> _Session:
        """Start a session. Raises CallscreenError; then nothing was started."""
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != SDP:
            raise UnsupportedMedia(f"Content-Type: expected {SDP}, got {content_type or 'none'!r:.80}")
        door = self._door.owned_by(access_of(request.scope).tenant)
        call_id = names.call_id("call_id", request.path_params["call_id"])
        leg = names.leg_id("leg", request.path_params["leg"])
        role = names.role(leg, request.query_params, self._door.roles)
        offer = read_offer(await self._text(request))
        parameters = {name: value for name, value in request.query_params.items() if name != "token"}
        legs = (LegDescription(leg, offer.format, role),)
        started = door.admit(StreamStarted(call_id, "whip", legs, parameters))
        session = _Session(started, offer, self._calls.open(started), self._settings, self._door)
        await session.prepare()
        self._sessions[session.id] = session
        self._tasks[session.id] = asyncio.create_task(self._run(session), name=f"whip {call_id}/{leg}")
        return session

    async def _text(self, request: Request) -> str:
        """Return the offer's text. Raises MessageTooBig, StreamTimeout, ProtocolError."""
        limit_bytes, deadline_s = self._door.max_message_bytes or 0, self._door.start_deadline_s or 0.0
        body = b""
        try:
            async with asyncio.timeout(deadline_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit_bytes:
                        raise MessageTooBig(f"offer: expected at most {limit_bytes} bytes")
            return body.decode()
        except TimeoutError:
            raise StreamTimeout(f"offer: expected all of it within {deadline_s:g} s") from None
        except UnicodeDecodeError as error:
            raise ProtocolError(f"offer: expected UTF-8 (RFC 8866 section 5): {error.reason}") from None

    async def _run(self, session: _Session) -> None:
        try:
            await session.run()
        except Exception:  # task root
            _log.exception("webrtc session failed", call_id=session.call_id, leg=session.leg)
        finally:
            del self._sessions[session.id], self._tasks[session.id]


class _Session:
    """One speaker, from the answer to the end."""

    def __init__(
        self, started: StreamStarted, offer: Offer, stream: OpenStream, settings: Settings, door: Door
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.call_id, self.leg, self.tenant = started.call_id, started.legs[0].leg, started.tenant
        self.answer = ""
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._peer = AudioPeer(offer, self._receive, settings.ice_servers, loopback=is_loopback(settings.host))
        self._clock = PacketClock(offer.codec.clockRate)
        self._tolerance = Tolerance("whip")
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._idle_deadline_s = door.idle_deadline_s or 0.0
        self._deadline_s = self._loop.time() + CONNECT_ALLOWANCE * (door.start_deadline_s or 0.0)

    async def prepare(self) -> None:
        """Create the answer."""
        try:
            self.answer = await self._peer.answer()
        except BaseException:
            self._stream.close("unreachable")
            await self._peer.close()
            raise

    async def run(self) -> None:
        """Receive until the peer, the gateway, a deadline or `end` ends the session; then release everything."""
        endings = [
            self._ended,
            *map(asyncio.ensure_future, (self._peer.run(), self._stream.closed(), self._timeout())),
        ]
        reason = "failed"
        try:
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
            reason = next(ending for ending in endings if ending.done()).result()
        finally:
            self.end(reason)
            self._stream.close(reason)
            await self._peer.close()
            for ending in endings:
                ending.cancel()
            await asyncio.gather(*endings, return_exceptions=True)

    def end(self, reason: str) -> None:
        """Make `run` return."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def _timeout(self) -> str:
        """Wait for the idle deadline. Packets only move the deadline, so that they need not wake this task."""
        while (left_s := self._deadline_s - self._loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, self._idle_deadline_s))  # the first packet may shorten the deadline
        return "timeout"

    def _receive(self, packet: RtpPacket) -> None:
        if self._ended.done() or not packet.payload:  # a packet without payload only probes the path
            return
        try:
            place = self._clock.place(packet.ssrc, packet.sequence_number, packet.timestamp)
            if place is not None:
                receive_tolerantly(self._stream, AudioReceived(self.leg, packet.payload, *place), self._tolerance)
        except ProtocolError as error:
            refusals.note(_log, "webrtc session refused", "whip", error, call_id=self.call_id, leg=self.leg)
            self.end(error.ended_by)
        self._deadline_s = self._loop.time() + self._idle_deadline_s
