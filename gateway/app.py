"""Starts and stops a gateway: settings, components, threads, signals, graceful drain.  [IO]

The only module that imports all of the gateway. Threads: one for the event loop, one for the light model, two for the
journal, and one with low priority for the verifier.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import uvloop
from starlette.routing import BaseRoute
from starlette.types import ASGIApp
from threadpoolctl import threadpool_limits

from gateway import logs, pages, policy, policy_watch
from gateway.alerts.bus import Bus
from gateway.alerts.journal import Journal
from gateway.alerts.retention import retaining
from gateway.auth.jwt_tokens import trusted
from gateway.call.load import Load
from gateway.call.overload import Step
from gateway.call.recovery import endings
from gateway.call.registry import CallState, Registry
from gateway.call.session import Engine
from gateway.config import Settings
from gateway.engine import open_engine
from gateway.errors import ConfigError
from gateway.evidence.retention import purging
from gateway.http.calls import call_routes
from gateway.http.evidence import evidence_routes
from gateway.http.feedback import feedback_routes
from gateway.http.host import Host, listen, url
from gateway.http.web import build, contract_routes, event_routes, own_metrics, state_routes
from gateway.ingest.audiosocket.port import AudioSocketPort
from gateway.ingest.rtp.port import RtpPorts
from gateway.ingest.sip.server import SipServer
from gateway.ingest.webrtc.whip import Whip
from gateway.policy_watch import PolicyWatch, watching
from gateway.signals import signalled
from gateway.webhooks.delivery import Webhooks
from gateway.webhooks.routes import webhook_routes
from gateway.workers.entrance import Entrance
from gateway.workers.fleet import FirstPublisher, Fleet
from gateway.workers.merged import OneRequestPerConnection, labelled, merged_states
from gateway.workers.routing import FIRST

if TYPE_CHECKING:
    from gateway.shared.node import SharedStream  # its client is imported only where NATS is used

_log = logs.get(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the model, the journal or the address cannot be used; nothing was started.
    """
    logs.configure(settings.log_level, settings.log_format)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # the usual 1024 are too few for media
    # More BLAS threads do not speed up matrices of a window's size, and spin on cores that other legs need.
    with threadpool_limits(1, user_api="blas"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve on the running event loop until SIGTERM or SIGINT."""
    stopping = signalled()  # before the URL is printed
    async with running(settings) as server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reload)
        print(f"callscreen listening on {server.url}", flush=True)  # noqa: T201  for scripts that start a gateway
        _log.info("listening", url=server.url, model=server.model, verifier=server.verifier)
        gc.freeze()  # the collector need not scan objects that live as long as the process
        await asyncio.wait({server.serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        gc.unfreeze()
        _log.info("draining", calls=len(server.registry.calls()))
    _log.info("stopped")


@dataclass(frozen=True, slots=True)
class Server:
    """A running gateway."""

    url: str
    app: ASGIApp
    """The ASGI application at `url`; calls simulated in this process are sent to it directly."""
    engine: Engine
    registry: Registry
    bus: Bus
    doors: _Doors
    serving: asyncio.Task[None]
    """Ends before the shutdown only if the server failed."""
    reloads: list[Callable[[], None]]

    def reload(self) -> None:
        """Have files read again that may have changed: the policy, the certificate."""
        if not self.reloads:
            _log.warning("nothing to reload", reason="the settings name neither a policy nor a certificate")
        for reload in self.reloads:
            reload()

    @property
    def model(self) -> str:
        """Name of the light model."""
        return self.engine.detector.name

    @property
    def verifier(self) -> str | None:
        """Name of the verifier, if there is one."""
        return self.engine.verifier.name if self.engine.verifier else None

    @property
    def load(self) -> Load:
        """The load of the models."""
        return self.engine.load

    @property
    def rtp(self) -> Mapping[str, tuple[str, int]]:
        """Bound address of each RTP port, by name."""
        return self.doors.rtp.addresses

    @property
    def audiosocket(self) -> tuple[str, int] | None:
        """Bound address for AudioSocket; None if it is not configured."""
        return self.doors.audiosocket.address

    @property
    def sip(self) -> Mapping[str, tuple[str, int]]:
        """Bound addresses for SIP, by transport."""
        return self.doors.sip.addresses if self.doors.sip else {}


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Server]:
    """Serve while the body runs; then drain: verdicts, events, connections, in this order.

    Raises:
        ConfigError: the model, the journal or the address cannot be used; nothing was started.
    """
    with (
        contextlib.closing(listen(settings)) as listener,
        contextlib.closing(await asyncio.to_thread(Journal, settings.journal, settings.journal_max_events)) as journal,
    ):
        bus = Bus(journal, subscriber_queue_events=settings.subscriber_queue_events)
        live, candidate = await asyncio.to_thread(_read_policies, settings)
        fleet = Fleet(settings, bus, live, candidate) if settings.workers > 1 else None
        publisher = FirstPublisher(fleet, bus) if fleet else bus
        metrics = partial(_metrics, fleet)
        async with (
            open_engine(settings, publisher, live, candidate) as engine,
            trusted(settings.jwt) as issuer,
            _background(settings, bus, metrics),
            _watching_policies(settings, engine, fleet) as watches,
        ):
            registry = Registry(engine, settings)
            doors = _Doors(registry, settings)
            outlets = _Outlets(settings, bus)
            unready = partial(_unready, engine, registry, fleet, outlets.shared)
            warnings = partial(_warnings, engine, outlets)
            state = [*_call_routes(registry, fleet, bus), *state_routes(metrics, unready, warnings)]
            routes = [*doors.whip.routes, *pages.routes(), *contract_routes(), *outlets.routes, *state]
            app = build(settings, registry, routes, issuer)
            host = Host(OneRequestPerConnection(app) if fleet else app, settings)
            entrance = Entrance(listener, host, fleet, tls=settings.tls_cert is not None) if fleet else None
            bus.start()
            outlets.start()
            try:
                for ending in endings(await bus.open_calls()):
                    bus.publish(ending)
                if fleet and entrance:
                    await fleet.start(registry, entrance.relayed)
                await doors.open()
                serving = host.start([] if entrance else [listener])
                if entrance:
                    entrance.start()
                reloads = _reloads(settings, watches, host, fleet)
                yield Server(url(settings, listener), app, engine, registry, bus, doors, serving, reloads)
            finally:
                if entrance:
                    await entrance.close()
                await asyncio.gather(*(part.drain() for part in (registry, fleet) if part))
                await doors.close()
                await outlets.close()
                await bus.close()  # flushes: every subscriber has been sent every event
                await host.close()
                if fleet and entrance:
                    await asyncio.gather(entrance.end(), fleet.close())


class _Doors:
    """The attach points other than websockets."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.whip = Whip(registry, settings)
        self.rtp = RtpPorts(registry, settings)
        self.audiosocket = AudioSocketPort(registry, settings)
        self.sip = SipServer(registry, settings, settings.sip) if settings.sip else None
        self._ports: list[RtpPorts | AudioSocketPort | SipServer] = [
            self.rtp,
            self.audiosocket,
            *([self.sip] if self.sip else []),
        ]

    async def open(self) -> None:
        """Start to listen. Raises ConfigError if an address cannot be used."""
        for port in self._ports:
            await port.open()

    async def close(self) -> None:
        """Stop listening; the calls must have ended."""
        await self.whip.close()
        for port in self._ports:
            await port.close()


class _Outlets:
    """Where events go: subscribers, webhooks, the shared stream; and the routes about them."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        """Raises ConfigError if a secret or a package is missing."""
        self._webhooks = Webhooks(settings.webhooks, bus)
        self.shared = _shared(settings, bus)
        self.routes = [
            *event_routes(bus, settings, self.shared),
            *webhook_routes(self._webhooks),
            *feedback_routes(bus),
            *evidence_routes(settings.evidence),
        ]

    def warnings(self) -> list[str]:
        """Return problems that do not keep the gateway from serving calls."""
        return self.shared.warnings if self.shared else []

    def start(self) -> None:
        """Start to deliver and to forward; the bus must be started."""
        self._webhooks.start()
        if self.shared:
            self.shared.start()

    async def close(self) -> None:
        """Stop; the bus must still be open."""
        await self._webhooks.close()
        if self.shared:
            await self.shared.close()


def _reloads(
    settings: Settings, watches: Iterable[PolicyWatch], host: Host, fleet: Fleet | None
) -> list[Callable[[], None]]:
    certificate = [host.read_certificate, *([fleet.read_certificate] if fleet else [])]
    return [*(watch.reload for watch in watches), *(certificate if settings.tls_cert else [])]


def _read_policies(settings: Settings) -> list[policy.Loaded | None]:
    """Return the policy and the one that is tried beside it. Raises ConfigError."""
    files = (settings.policy, settings.shadow.policy if settings.shadow else None)
    return [policy.read(file) if file else None for file in files]


@contextlib.asynccontextmanager
async def _watching_policies(
    settings: Settings, engine: Engine, fleet: Fleet | None
) -> AsyncIterator[list[PolicyWatch]]:
    """Keep both policies up with their files; without a file, nothing is watched."""

    def use(loaded: policy.Loaded) -> None:
        engine.policies.publish()
        if fleet:
            fleet.use_policy(loaded)

    async with contextlib.AsyncExitStack() as stack:
        watches = []
        if settings.policy:
            watches.append(watching(policy_watch.LIVE, settings.policy, engine.policies, use))
        if engine.shadow and settings.shadow and settings.shadow.policy:
            tell = fleet.try_policy if fleet else _no_workers
            watches.append(watching(policy_watch.SHADOW, settings.shadow.policy, engine.shadow.policies, tell))
        yield [await stack.enter_async_context(watch) for watch in watches]


def _shared(settings: Settings, bus: Bus) -> SharedStream | None:
    """Return the connection to the shared stream. Raises ConfigError if its packages are missing."""
    if settings.nats is None:
        return None
    try:
        from gateway.shared.node import SharedStream
    except ImportError as error:
        raise ConfigError(f"nats: {error}; install them with `pip install 'callscreen[nats]'`") from None
    return SharedStream(settings.nats, bus)


def _call_routes(registry: Registry, fleet: Fleet | None, bus: Bus) -> list[BaseRoute]:
    async def states() -> list[CallState]:
        own = [call.state() for call in registry.calls()]
        return merged_states([*own, *await fleet.states()]) if fleet else own

    return call_routes(states, bus)


async def _metrics(fleet: Fleet | None) -> bytes:
    own = await own_metrics()
    return labelled({FIRST: own.decode()} | await fleet.metrics()) if fleet else own


@contextlib.asynccontextmanager
async def _background(settings: Settings, bus: Bus, metrics: Callable[[], Awaitable[bytes]]) -> AsyncIterator[None]:
    """Run tasks that are independent of calls, until the bus is closed: retention and telemetry."""
    async with (
        retaining(bus, settings.journal_max_days),
        purging(settings.evidence),
        _telemetry(settings, bus, metrics),
    ):
        yield


def _telemetry(
    settings: Settings, bus: Bus, metrics: Callable[[], Awaitable[bytes]]
) -> contextlib.AbstractAsyncContextManager[None]:
    """Export traces and metrics, if an endpoint is set. Raises ConfigError if packages are missing."""
    if settings.otlp_endpoint is None:
        return contextlib.nullcontext()
    try:
        from gateway.telemetry import exporting
    except ImportError as error:
        raise ConfigError(f"otlp_endpoint: {error}; install them with `pip install 'callscreen[otel]'`") from None
    return exporting(settings.otlp_endpoint, settings.otlp_interval_s, bus, metrics)


def _unready(engine: Engine, registry: Registry, fleet: Fleet | None, shared: SharedStream | None) -> list[str]:
    """Return the reasons why no call should be sent here now."""
    checks = {
        "the model is not scoring": not engine.scorer.healthy,
        "the verifier is not verifying": engine.verifier is not None and not engine.verifier.healthy,
        "the journal cannot be written": not engine.bus.healthy,
        "overloaded": engine.load.step is Step.NO_NEW_CALLS,
        "a worker is not ready": fleet is not None and bool(fleet.missing),
        "shutting down": registry.draining,
    }
    reasons = [reason for reason, holds in checks.items() if holds]
    return reasons + (shared.unready if shared else [])


def _warnings(engine: Engine, outlets: _Outlets) -> list[str]:
    """Return what does not work now, though calls are served."""
    fault = engine.verifier.fault if engine.verifier else None
    return [*outlets.warnings(), *([f"the pool does not verify: {fault}"] if fault else [])]


def _no_workers(_policy: object) -> None:
    """There are no workers that need the policy."""
