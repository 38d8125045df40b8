"""The TCP port for Asterisk's AudioSocket, with one connection per speaker.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from functools import partial
from uuid import UUID

from gateway import clock, logs, refusals
from gateway.config import Settings
from gateway.errors import CallscreenError, ConfigError, Forbidden, Overloaded, StreamTimeout
from gateway.ingest.audiosocket.door import AudioSocketDoor
from gateway.ingest.dialects.audiosocket import HANGUP, AudioSocket, Speaker
from gateway.ingest.events import AudioReceived, CallId, Calls, IngestEvent, MessageIgnored, StreamStarted
from gateway.ingest.listening import Listening
from gateway.ingest.rtp.settings import is_allowed, split_address
from gateway.ingest.tolerance import Tolerance
from gateway.sources import Sources

READ_BYTES = 16 * 1024
CONNECTIONS_PER_CALL = 2
"""Connections accepted per call of `max_calls`; they use memory before their call is known."""
_log = logs.get(__name__)


class AudioSocketPort:
    """The port of `settings.audiosocket`, if that is set."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self._calls = calls
        self._settings = settings
        limits = settings.rate_limits
        self._sources = Sources("audiosockets", limits.audiosockets_per_s, limits.exempt)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int] | None:
        """Bound address; None if it is not configured."""
        return self._server.sockets[0].getsockname()[:2] if self._server else None

    async def open(self) -> None:
        """Start to listen, if configured. Raises ConfigError if the address cannot be used."""
        door = self._settings.audiosocket
        if door is None:
            return
        try:
            host, port = split_address("listen", door.listen)
            self._server = await asyncio.start_server(partial(self._serve, door), host, port)
        except OSError as error:
            raise ConfigError(f"audiosocket.listen: cannot listen on {door.listen}: {error.strerror}") from None

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, door: AudioSocketDoor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; its errors do not affect other calls."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer_ip, *_ = writer.get_extra_info("peername") or ("",)  # None if the peer has disconnected
        connection = _Connection(reader, partial(self._identify, door), door, self._calls, self._settings)
        try:
            if not is_allowed(peer_ip, door.allow_ips):
                raise Forbidden(f"allow_ips: {peer_ip} may not connect")
            self._sources.take(peer_ip, clock.monotonic_s())
            if len(self._tasks) > CONNECTIONS_PER_CALL * self._settings.max_calls:
                raise Overloaded("max_calls: there is no room for another connection")
            await connection.run()
        except CallscreenError as error:
            refusals.note(_log, "audiosocket refused", "audiosocket", error)
        except (OSError, asyncio.CancelledError):
            pass  # the peer disconnected, or the port closes
        except Exception:  # task root
            _log.exception("audiosocket failed", call_id=connection.call_id)
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(OSError):
                writer.write(HANGUP)
            writer.close()

    def _identify(self, door: AudioSocketDoor, uuid: UUID) -> Speaker:
        return door.identify(uuid, self._settings.roles)


class _Connection:
    """One speaker, from the UUID to the end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        identify: partial[Speaker],
        door: AudioSocketDoor,
        calls: Calls,
        settings: Settings,
    ) -> None:
        self._reader = reader
        self._dialect = AudioSocket(identify, door.slin_rate_hz)
        self._tenant = door.tenant
        self._calls = calls
        self._settings = settings
        self._leg: Listening | None = None
        self._tolerance = Tolerance("audiosocket")
        self.call_id: CallId | None = None

    async def run(self) -> None:
        """Receive until either side, silence or an error ends it. Raises CallscreenError."""
        try:
            async with asyncio.timeout(self._settings.start_deadline_s):
                while self._leg is None:
                    if not self._handle(await self._next_events()):
                        return
        except TimeoutError:
            raise StreamTimeout(f"no audio within {self._settings.start_deadline_s:g} s") from None
        reading = asyncio.create_task(self._read(self._leg), name="audiosocket reader")
        try:
            await self._leg.run()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if not reading.cancelled():
            reading.result()

    async def _read(self, leg: Listening) -> None:
        """Read to the end of the connection, which ends the leg."""
        reason = "failed"
        try:
            while self._handle(await self._next_events()):
                pass
            reason = "stopped"
        except OSError:
            reason = "disconnected"
        except CallscreenError as error:
            reason = error.ended_by
            raise
        finally:
            leg.end(reason)

    async def _next_events(self) -> list[IngestEvent] | None:
        data = await self._reader.read(READ_BYTES)
        return self._dialect.receive(data) if data else None

    def _handle(self, events: list[IngestEvent] | None) -> bool:
        """Pass events on; return False at the end of the stream."""
        for event in events or ():
            if isinstance(event, AudioReceived):
                assert self._leg is not None, "the dialect returns no audio before the start"
                self._leg.receive(event)
            elif isinstance(event, StreamStarted):
                started = dataclasses.replace(event, tenant=self._tenant)
                stream = self._calls.open(started)
                self._leg = Listening(stream, self._settings.idle_deadline_s, self._tolerance)
                self.call_id = started.call_id
            elif isinstance(event, MessageIgnored):
                self._tolerance.ignore(event.reason)
            else:
                return False
        return events is not None
