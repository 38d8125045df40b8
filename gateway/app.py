"""The composition root: settings in, everything wired, signals, an orderly end.  [IO]

The only file that imports all of the gateway, and the only one that decides on threads: one for the event loop, one for
the model, one for the journal, one, of low priority, for the verifier where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import uvicorn
import uvloop
from starlette.applications import Starlette
from threadpoolctl import threadpool_limits

from detection import DEFAULT_MODEL, Fusion, Policy, open_detector, open_fusion
from detection.detector import CardDetector
from detection.errors import DetectionError
from gateway import logs
from gateway.alerts.bus import Bus
from gateway.alerts.journal import Journal
from gateway.call.aftermath import endings
from gateway.call.load import Load
from gateway.call.overload import Step
from gateway.call.registry import Registry
from gateway.call.scorer import Fifo, Scorer
from gateway.call.session import Judging
from gateway.call.thresholds import threshold
from gateway.call.verification import AUTO, Verifier, verifier_name
from gateway.config import Settings
from gateway.connection import Connection, HttpConnection
from gateway.errors import ConfigError
from gateway.ingest.audiosocket import AudioSocketPort
from gateway.ingest.rtp_port import RtpPorts
from gateway.ingest.sip.server import SipServer
from gateway.ingest.whip import Whip
from gateway.web import build

_log = logs.get(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the model, the journal or the address cannot be used; nothing was started.
    """
    logs.configure(settings.log_level, settings.log_format)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # 1024, as usual, are soon taken by media
    # A second BLAS thread gains nothing on matrices of a window's size and spins on a core that other legs need.
    with threadpool_limits(1, user_api="blas"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve on the running event loop until a signal comes."""
    async with running(settings) as house:
        print(f"callscreen listening on {house.url}", flush=True)  # noqa: T201  for whoever started us
        _log.info("listening", url=house.url, model=house.model, verifier=house.verifier)
        stopping = _signalled()
        gc.freeze()  # what lives as long as the process need not be looked through again and again
        await asyncio.wait({house.serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        gc.unfreeze()
        _log.info("draining", calls=len(house.registry.calls()))
    _log.info("stopped")


@dataclass(frozen=True, slots=True)
class House:
    """A gateway that serves."""

    url: str
    model: str
    verifier: str | None
    """The heavy model that hears legs, too."""
    registry: Registry
    bus: Bus
    load: Load
    serving: asyncio.Task[None]
    """Done only if the server gave up by itself."""
    rtp: Mapping[str, tuple[str, int]]
    """Where each RTP port listens, by its name."""
    audiosocket: tuple[str, int] | None
    """Where AudioSocket connections are taken."""
    sip: Mapping[str, tuple[str, int]]
    """Where SIP is spoken, by transport."""


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[House]:
    """Serve for as long as the body runs; then drain: verdicts first, then events, then goodbye.

    Raises:
        ConfigError: the model, the journal or the address cannot be used; nothing was started.
    """
    with (
        contextlib.closing(_listen(settings)) as listener,
        contextlib.closing(await asyncio.to_thread(Journal, settings.journal, settings.journal_max_events)) as journal,
    ):
        bus = Bus(journal, subscriber_queue_events=settings.subscriber_queue_events)
        async with _judging(settings, bus) as judging:
            registry = Registry(judging, settings)
            whip = Whip(registry, settings)
            rtp = RtpPorts(registry, settings)
            audiosocket = AudioSocketPort(registry, settings)
            sip = SipServer(registry, settings, settings.sip) if settings.sip else None
            app = build(settings, registry, bus, whip.routes, lambda: _unready(judging, registry))
            doors: list[RtpPorts | AudioSocketPort | SipServer] = [rtp, audiosocket, *([sip] if sip else [])]
            server = _Server(_uvicorn_config(app, settings))
            serving: asyncio.Task[None] | None = None
            bus.start()
            try:
                for door in doors:
                    await door.open()
                for ending in endings(await asyncio.to_thread(journal.open_calls)):
                    bus.publish(ending)
                serving = asyncio.create_task(server.serve([listener]), name="http")
                host, port = listener.getsockname()[:2]
                yield House(
                    url=f"http://{host}:{port}",
                    model=judging.detector.name,
                    verifier=judging.verifier.name if judging.verifier else None,
                    registry=registry,
                    bus=bus,
                    load=judging.load,
                    serving=serving,
                    rtp=rtp.addresses,
                    audiosocket=audiosocket.address,
                    sip=sip.addresses if sip else {},
                )
            finally:
                await registry.drain()
                await whip.close()
                for door in doors:
                    await door.close()
                await bus.close()  # flushes: every subscriber has been sent every event
                server.should_exit = True
                if serving is not None:
                    await serving


@contextlib.asynccontextmanager
async def _judging(settings: Settings, bus: Bus) -> AsyncIterator[Judging]:
    """Open the models, and let them score for as long as the body runs. Raises ConfigError."""
    detector = await asyncio.to_thread(_open_detector, settings)
    second = await asyncio.to_thread(_open_verifier, settings)
    fusion = _open_fusion(detector, second) if second else None
    policy = _policy(settings, threshold(settings, detector, fusion))
    backlog = Fifo(settings.scorer_queue_windows)
    scorer = Scorer(detector, backlog, settings.scorer_batch_windows)
    load = Load(backlog.waiting_s)
    verifier = Verifier(second, fusion, settings.verifier_cpu_share, load) if second and fusion else None
    judging = Judging(detector, scorer, policy, bus, load, settings.expected_machine, verifier)
    running = [part for part in (load, scorer, verifier) if part]
    for part in running:
        part.start()
    try:
        yield judging
    finally:
        for part in running:
            await part.close()


def _unready(judging: Judging, registry: Registry) -> list[str]:
    """Return why no call should be sent here now."""
    checks = {
        "the model is not scoring": not judging.scorer.healthy,
        "the verifier is not verifying": judging.verifier is not None and not judging.verifier.healthy,
        "the journal cannot be written": not judging.bus.healthy,
        "too much to do": judging.load.step is Step.NO_NEW_CALLS,
        "shutting down": registry.draining,
    }
    return [reason for reason, holds in checks.items() if holds]


def _policy(settings: Settings, raise_p: float) -> Policy:
    try:
        policy = Policy(raise_p=raise_p)
        return dataclasses.replace(policy, clear_p=settings.clear_p or policy.clear_p)
    except ValueError as error:
        raise ConfigError(f"alert_p, clear_p: {error}") from None


class _Server(uvicorn.Server):
    """uvicorn, but signals are ours: calls must end before sockets do."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _signalled() -> asyncio.Future[None]:
    """Return a future that is done when SIGTERM or SIGINT came."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()

    def come() -> None:
        if not came.done():
            came.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, come)
    return came


def _uvicorn_config(app: Starlette, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=HttpConnection,
        ws=Connection,
        # Twice what a stream may send, so that the usual offender hears which limit it broke and not just 1009.
        ws_max_size=2 * settings.max_message_bytes,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def _listen(settings: Settings) -> socket.socket:
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=1024,
        )
    except OSError as error:
        raise ConfigError(f"host, port: cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None


def _open_detector(settings: Settings) -> CardDetector:
    try:
        return open_detector(settings.model or DEFAULT_MODEL)
    except DetectionError as error:
        raise ConfigError(f"model: {error}") from None


def _open_verifier(settings: Settings) -> CardDetector | None:
    """Open the verifier that is asked for; one that merely ships and cannot be used is only warned of."""
    name = verifier_name(settings.verifier, settings.verifier_cpu_share)
    if name is None:
        return None
    try:
        return open_detector(name)
    except DetectionError as error:
        if settings.verifier != AUTO:
            raise ConfigError(f"verifier: {error}") from None
        _log.warning("no verifier", reason=str(error))
        return None


def _open_fusion(light: CardDetector, verifier: CardDetector) -> Fusion:
    """Open how both models become one number; that nobody fitted it is warned of. Raises ConfigError."""
    try:
        fusion, plain = open_fusion(light, verifier)
    except DetectionError as error:
        raise ConfigError(f"verifier: {error}") from None
    if plain:
        _log.warning("no fitted fusion", reason=plain)
    return fusion
