"""A whole gateway in this process, on a virtual clock: the same code, without sockets and without waiting.  [IO]

What a call sends goes into the gateway's ASGI application as its websocket server would put it there, so that doors,
dialects, legs, models, decisions, journal and event socket are those of a gateway that serves. What it cannot show is
what needs real time or UDP: how long things take, overload, and WebRTC.
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
"""What calls are told to call; nothing listens there."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall clock's time at the virtual clock's 0."""
LOST = 1006
"""RFC 6455, section 7.4.1: the connection was lost."""
_Result = TypeVar("_Result")


class InProcess:
    """The gateway. Make one within `run`; `start` it, let calls use `gateway`, `stop` it."""

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        """Take settings of the gateway, and a folder for its journal. Raises ScenarioError: a setting is wrong."""
        self._settings = settings_of(settings, folder)
        self._house: Server | None = None
        self._running = AsyncExitStack()
        self._up = asyncio.Event()

    @property
    def gateway(self) -> Gateway:
        """How calls reach it."""
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
        """The models that it judges with, while it runs: the light one and the verifier, if there is one."""
        assert self._house is not None
        return tuple(name for name in (self._house.model, self._house.verifier) if name)

    @property
    def alert_p(self) -> float:
        """The probability from which it raises an alert, while it runs."""
        assert self._house is not None
        return self._house.engine.policies.usual.rules.raise_p

    async def start(self) -> None:
        """Open models and journal. Raises ScenarioError: a setting is wrong."""
        try:
            self._house = await self._running.enter_async_context(running(self._settings))
        except ConfigError as error:
            raise ScenarioError(f"gateway: {error}") from None
        self._up.set()

    async def stop(self) -> None:
        """End all calls with their verdicts, tell the subscribers, close the journal."""
        self._up.clear()
        await self._running.aclose()
        self._house = None

    async def restart(self, takes_s: float) -> None:
        """Stop, and start again so much later."""
        await self.stop()
        await asyncio.sleep(takes_s)
        await self.start()

    async def _dial(self, url: str, headers: Mapping[str, str], subprotocol: str | None) -> MemoryWire:
        if self._house is None:
            raise ConnectionRefusedError("the gateway is not running")
        wire = MemoryWire(self._house.app, url, headers, subprotocol)
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
    """Return a gateway's settings with a throw-away journal in `folder`. Raises ScenarioError: a setting is wrong."""
    try:
        return load_settings(environ={}, **{"port": 0, "journal": folder / "journal.sqlite3", **settings})
    except ConfigError as error:
        raise ScenarioError(f"gateway: {error}") from None


def settings_for(scenario: Scenario) -> dict[str, Any]:
    """Return the settings that a scenario needs: its own, and a door for each attach point."""
    transports = {plan.transport for plan in scenario.call}
    doors: dict[str, Any] = {name: {} for name in sorted(transports - {"twilio", "plain", "webrtc"})}
    most = sum(plan.count for plan in scenario.call)
    own = dict(scenario.gateway)
    return {"max_calls": max(200, most), **own, "doors": doors | own.get("doors", {})}


def run(body: Callable[[Path], Awaitable[_Result]]) -> _Result:
    """Run `body`, which is given a folder for the journal, on a virtual clock of its own."""
    with tempfile.TemporaryDirectory(prefix="callscreen-") as folder, virtual_time() as runner:
        return runner.run(_awaited(body(Path(folder))))


def check(scenario: Scenario) -> None:
    """Raise ScenarioError when a scenario cannot be played here."""
    if any(plan.transport == "webrtc" for plan in scenario.call):
        raise ScenarioError("transport: webrtc needs UDP and real time; use --gateway or --serve")


def check_settings(scenario: Scenario) -> None:
    """Raise ScenarioError when the gateway does not know a setting of the scenario."""
    settings_of(settings_for(scenario), Path())


@contextmanager
def virtual_time() -> Iterator[asyncio.Runner]:
    """Let this process live on a virtual clock; all that is to happen runs by the runner."""
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
    """Cancel what still runs until it has ended: `asyncio.wait_for` may lose a cancellation (Python 3.11), and the
    runner cancels but once."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)


class MemoryWire:
    """A websocket into an ASGI application; a `gateway.client.media.Wire`."""

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
        """Connect. Raises ConnectionError when the gateway refuses."""
        self._incoming.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(self._app(self._scope, self._incoming.get, self._take), name="memory-wire")
        await self._answered

    async def send(self, message: str | bytes) -> None:
        """Send one message. Raises ConnectionError when the gateway hung up."""
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
        await asyncio.sleep(0)  # others have their turn, as after every write to a socket

    async def recv(self) -> str | bytes:
        """Return the next message. Raises ConnectionError when the gateway hung up."""
        message = await self._outgoing.get()
        if isinstance(message, ConnectionError):
            raise message
        return message

    async def close(self) -> None:
        """Hang up, and let the gateway be done with it."""
        if self._task is not None:
            self._deliver = None
            self._incoming.put_nowait({"type": "websocket.disconnect", "code": LOST})
            await asyncio.wait([self._task])
            self._task.result()

    def _listen(self, deliver: Deliver | None) -> None:
        """See `LISTEN`."""
        self._deliver = deliver

    async def _take(self, message: Message) -> None:
        """Take what the application sends."""
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
