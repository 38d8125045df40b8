"""A complete gateway in this process on a virtual clock: the same code, without sockets and without waiting.  [IO]

Calls enter the gateway's ASGI application as its websocket server would deliver them, so endpoints, dialects, legs,
models, decisions, journal and event socket are those of a real gateway. Real time and UDP are not simulated: no
durations, no overload, no WebRTC.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from starlette.types import Message
from threadpoolctl import threadpool_limits

from gateway import clock
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import Heartbeat
from gateway.app import Server, running
from gateway.client.media import bearer
from gateway.config import Settings
from gateway.config_loading import load as load_settings
from gateway.errors import ConfigError
from gateway.ingest.websocket import LISTEN, Deliver
from sim.caller import Gateway
from sim.scenario import Scenario, ScenarioError
from sim.virtual import VirtualLoop

URL = "http://127.0.0.1"
"""Address given to the clients; nothing listens there."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""Wall-clock time at 0 of the virtual clock."""
LOST = 1006
"""RFC 6455, section 7.4.1: connection lost."""
_Result = TypeVar("_Result")


class InProcess:
    """A gateway in this process. Create it within `run`; `start` it, use `gateway` for calls, `stop` it."""

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        """Take settings of the gateway, and a folder for its journal. Raises ScenarioError for a wrong setting."""
        self._settings = settings_of(settings, folder)
        self._server: Server | None = None
        self._running = AsyncExitStack()
        self._up = asyncio.Event()

    @property
    def gateway(self) -> Gateway:
        """Address and transport for calls."""
        token = self._settings.token
        return Gateway(
            URL,
            token.get_secret_value() if token else None,
            dial=self._dial,
            follow=self._follow,
            restart=self.restart,
        )

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models while it runs: the light model and, if there is one, the verifier."""
        assert self._server is not None
        return tuple(name for name in (self._server.model, self._server.verifier) if name)

    @property
    def alert_p(self) -> float:
        """Probability from which it raises an alert, while it runs."""
        assert self._server is not None
        return self._server.engine.policies.usual.rules.raise_p

    async def start(self) -> None:
        """Open models and journal. Raises ScenarioError for a wrong setting."""
        try:
            self._server = await self._running.enter_async_context(running(self._settings))
        except ConfigError as error:
            raise ScenarioError(f"gateway: {error}") from None
        self._up.set()

    async def stop(self) -> None:
        """End all calls with their verdicts, close subscribers and journal."""
        self._up.clear()
        await self._running.aclose()
        self._server = None

    async def restart(self, takes_s: float) -> None:
        """Stop, and start again after `takes_s` seconds."""
        await self.stop()
        await asyncio.sleep(takes_s)
        await self.start()

    async def _dial(self, url: str, headers: Mapping[str, str], subprotocol: str | None) -> MemoryWire:
        if self._server is None:
            raise ConnectionRefusedError("the gateway is not running")
        wire = MemoryWire(self._server.app, url, headers, subprotocol)
        await wire.open()
        return wire

    async def _follow(self, url: str, *, token: str | None, types: Sequence[str]) -> AsyncGenerator[CloudEvent, None]:
        """Yield events, across restarts of the gateway."""
        query = [("type", kind) for kind in types]
        cursor: str | None = None
        while True:
            await self._up.wait()
            resume = [("last_event_id", cursor)] if cursor else []
            address = f"{url}/v1/events?{urlencode(query + resume)}"
            wire = await self._dial(address, bearer(token), None)
            try:
                while True:
                    event = CloudEvent.model_validate_json(await wire.recv())
                    cursor = event.id
                    if isinstance(event.data, Heartbeat):
                        cursor = event.data.last_event_id or cursor
                    else:
                        yield event
            except ConnectionError:
                await asyncio.sleep(0)
            finally:
                await wire.close()


def settings_of(settings: Mapping[str, Any], folder: Path) -> Settings:
    """Return a gateway's settings with a temporary journal in `folder`. Raises ScenarioError for a wrong setting."""
    try:
        return load_settings(environ={}, **{"port": 0, "journal": folder / "journal.sqlite3", **settings})
    except ConfigError as error:
        raise ScenarioError(f"gateway: {error}") from None


def settings_for(scenario: Scenario) -> dict[str, Any]:
    """Return the gateway settings for a scenario: its own, and an endpoint for each attach point."""
    transports = {plan.transport for plan in scenario.call}
    doors: dict[str, Any] = {name: {} for name in sorted(transports - {"twilio", "plain", "webrtc"})}
    most = sum(plan.count for plan in scenario.call)
    own = dict(scenario.gateway)
    return {"max_calls": max(200, most), **own, "doors": doors | own.get("doors", {})}


def run(body: Callable[[Path], Awaitable[_Result]]) -> _Result:
    """Run `body` on a virtual clock; it gets a folder for the journal."""
    with tempfile.TemporaryDirectory(prefix="callscreen-") as folder, virtual_time() as runner:
        return runner.run(_awaited(body(Path(folder))))


def check(scenario: Scenario) -> None:
    """Raise ScenarioError if a scenario cannot be played in this process."""
    if any(plan.transport == "webrtc" for plan in scenario.call):
        raise ScenarioError("transport: webrtc needs UDP and real time; use --gateway or --serve")


def check_settings(scenario: Scenario) -> None:
    """Raise ScenarioError if the gateway refuses the scenario's settings."""
    settings_of(settings_for(scenario), Path())


@contextmanager
def virtual_time() -> Iterator[asyncio.Runner]:
    """Put this process on a virtual clock; run everything with the yielded runner."""
    with (
        threadpool_limits(1, user_api="blas"),
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        clock.virtual(runner.get_loop().time, BEGAN),
    ):
        yield runner


async def _awaited(body: Awaitable[_Result]) -> _Result:
    try:
        return await body
    finally:
        await _end_tasks()


async def _end_tasks() -> None:
    """Cancel the remaining tasks until they have ended: `asyncio.wait_for` may lose a cancellation (Python 3.11), and
    the runner cancels only once."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)


class MemoryWire:
    """A websocket connection into an ASGI application; implements `gateway.client.media.Wire`."""

    def __init__(self, app: Any, url: str, headers: Mapping[str, str], subprotocol: str | None) -> None:
        parts = urlsplit(url)
        self._app = app
        self._scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "scheme": "ws",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(b"host", parts.netloc.encode())]
            + [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            + ([(b"sec-websocket-protocol", subprotocol.encode())] if subprotocol else []),
            "client": ("127.0.0.1", 1),
            "server": (parts.hostname, parts.port or 80),
            "subprotocols": [subprotocol] if subprotocol else [],
            "extensions": {"websocket.http.response": {}, LISTEN: self._listen},
        }
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[str | bytes | ConnectionError] = asyncio.Queue()
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deliver: Deliver | None = None
        self._over: ConnectionError | None = None
        self._status = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. Raises ConnectionError if the gateway refuses."""
        self._incoming.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(self._app(self._scope, self._incoming.get, self._take), name="memory-wire")
        await self._answered

    async def send(self, message: str | bytes) -> None:
        """Send one message. Raises ConnectionError if the gateway has hung up."""
        if self._over is not None:
            raise self._over
        if self._deliver is not None and self._incoming.empty():
            if (left := self._deliver(message)) is None:
                return
            self._deliver = None
            self._incoming.put_nowait(left)
        else:
            kind = "text" if isinstance(message, str) else "bytes"
            self._incoming.put_nowait({"type": "websocket.receive", kind: message})
        await asyncio.sleep(0)  # let other tasks run, as after each write to a socket

    async def recv(self) -> str | bytes:
        """Return the next message. Raises ConnectionError if the gateway has hung up."""
        message = await self._outgoing.get()
        if isinstance(message, ConnectionError):
            raise message
        return message

    async def close(self) -> None:
        """Hang up, and wait until the gateway has handled it."""
        if self._task is not None:
            self._deliver = None
            self._incoming.put_nowait({"type": "websocket.disconnect", "code": LOST})
            await asyncio.wait([self._task])
            self._task.result()

    def _listen(self, deliver: Deliver | None) -> None:
        """See `LISTEN`."""
        self._deliver = deliver

    async def _take(self, message: Message) -> None:
        """Handle a message of the application."""
        kind = message["type"]
        if kind == "websocket.accept":
            self._answer(None)
        elif kind == "websocket.send":
            self._outgoing.put_nowait(message.get("text") or message.get("bytes") or "")
        elif kind == "websocket.close":
            reason = message.get("reason") or f"closed with code {message.get('code', 1000)}"
            self._end(ConnectionResetError(reason))
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
        elif kind == "websocket.http.response.body":
            self._end(ConnectionRefusedError(f"HTTP {self._status}: {message.get('body', b'').decode()}"))

    def _end(self, error: ConnectionError) -> None:
        if self._over is None:
            self._over = error
            self._outgoing.put_nowait(error)
            self._answer(error)

    def _answer(self, error: ConnectionError | None) -> None:
        if self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)
