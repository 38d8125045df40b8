"""`callscreen verifier`: runs a pool verifier, and its health routes, until SIGTERM.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import uvloop
from starlette.applications import Starlette
from starlette.middleware import Middleware
from threadpoolctl import threadpool_limits

from detection import open_detector
from detection.detector import CardDetector
from detection.errors import DetectionError
from detection.signing import check_model, read_verify_key
from gateway import logs
from gateway.call.verification import METERS, verifier_name
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.http.host import Host, listen, url
from gateway.http.web import Guard, own_metrics, state_routes
from gateway.pool.worker import PoolVerifier
from gateway.signals import signalled

_log = logs.get(__name__)


def run(settings: Settings, threads: int, *, serves_health: bool) -> None:
    """Verify until SIGTERM or SIGINT.

    Args:
        settings: `nats`, `verifier`, `verify_key`, logs; with health also `host`, `port`, tokens and TLS.
        threads: jobs at the same time, each with a model of its own.
        serves_health: answer ``/healthz``, ``/readyz`` and ``/metrics``; the last one needs a token where one is set.

    Raises:
        ConfigError: a setting is missing, or the model or the port cannot be used; nothing was started.
    """
    logs.configure(settings.log_level, settings.log_format)
    if settings.nats is None:
        raise ConfigError("nats: expected the server with the jobs; give --nats URL, or set `nats`")
    verifier = PoolVerifier([_open(settings) for _ in range(threads)], METERS, settings.nats)
    with threadpool_limits(1, user_api="blas"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_verify(verifier, _health(settings, verifier) if serves_health else contextlib.nullcontext()))


async def _verify(verifier: PoolVerifier, health: contextlib.AbstractAsyncContextManager[None]) -> None:
    stopping = signalled()
    async with health:
        await verifier.run(stopping)
    _log.info("stopped")


def _open(settings: Settings) -> CardDetector:
    name = verifier_name(settings.verifier, 1.0)
    if name is None:
        raise ConfigError(f"verifier: expected a model's name or path, got {settings.verifier!r}; give --model")
    try:
        if settings.verify_key is not None:
            check_model(name, read_verify_key(settings.verify_key))
        return open_detector(name)
    except DetectionError as error:
        raise ConfigError(f"verifier: {str(error).removeprefix('model: ')}") from None


@contextlib.asynccontextmanager
async def _health(settings: Settings, verifier: PoolVerifier) -> AsyncIterator[None]:
    """Serve the health routes. Raises ConfigError."""

    def unready() -> list[str]:
        return ["nats cannot be used: no jobs are taken"] if verifier.fault else []

    with contextlib.closing(listen(settings)) as listener:
        guard = [Middleware(Guard, settings=settings)]
        host = Host(Starlette(routes=state_routes(own_metrics, unready, list), middleware=guard), settings)
        host.start([listener])
        print(f"callscreen verifier: health at {url(settings, listener)}", flush=True)  # noqa: T201  for scripts that start it
        try:
            yield
        finally:
            await host.close()
