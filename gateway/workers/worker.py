"""A worker process: serves calls, and sends their events to the first process: ``python -m gateway.workers``.  [IO]

It ends when the first process tells it to, or is gone.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import pickle
import signal
import socket
from collections import Counter as Counts
from functools import partial

import structlog
from prometheus_client import Counter

from gateway import logs
from gateway.alerts.event import EVENT_TYPES, EventData, Scored
from gateway.auth.jwt_tokens import trusted
from gateway.call.registry import Elsewhere, Registry
from gateway.call.session import Engine
from gateway.config import Settings
from gateway.engine import open_engine
from gateway.http.connection import Peer
from gateway.http.host import Host, Kind
from gateway.http.web import build, own_metrics
from gateway.ingest.webrtc.whip import Whip
from gateway.policy import parse
from gateway.workers.link import Link, Message, hand_over, take_over
from gateway.workers.merged import OneRequestPerConnection
from gateway.workers.routing import Route, is_for
from gateway.workers.secured import Relays, RoutedConnection

SCORES_SHARE = 0.75
"""Scores may fill this share of the buffer to the first process; the rest is for other events."""
NOT_SENT = Counter("callscreen_worker_events_dropped_total", "Events that did not fit to the first process.", ["type"])
_log = logs.get(__name__)


class Uplink:
    """The `Publisher` of a worker: sends events to the first process, which stores and distributes them."""

    healthy = True
    """Constant, since only the first process knows whether events are stored."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def publish(self, data: EventData) -> None:
        """Send an event without waiting; if the buffer is full it is dropped and counted."""
        name = EVENT_TYPES[type(data)]
        share = SCORES_SHARE if isinstance(data, Scored) else 1.0
        if not self._link.send("event", share, type=name, data=data.model_dump(mode="json")):
            NOT_SENT.labels(name).inc()


async def work(messages: socket.socket, connections: socket.socket) -> None:
    """Serve calls until the first process sends ``drain`` or is gone."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None)  # the first process gets the signal, too, and sends ``drain``
    link = await Link.open(messages)
    received = link.messages()
    first = await anext(received, None)
    if first is None:
        return
    # Pickled, because JSON would blank secrets. The data comes from the process that started this one.
    settings = Settings.model_construct(**pickle.loads(base64.b64decode(first["settings"])))  # noqa: S301
    structlog.contextvars.bind_contextvars(worker=first["number"])
    logs.configure(settings.log_level, settings.log_format)
    live, candidate = (None if text is None else parse(text, "policy") for text in first["policies"])
    async with open_engine(settings, Uplink(link), live, candidate) as engine, trusted(settings.jwt) as issuer:
        registry = Registry(engine, settings)
        whip = Whip(registry, settings)
        host = Host(OneRequestPerConnection(build(settings, registry, whip.routes, issuer)), settings)
        host.start()
        relays = Relays(partial(_give_back, connections))
        serves = partial(is_for, first["number"], processes=settings.workers)
        take_over(connections, partial(_take, host, partial(RoutedConnection, serves=serves, relays=relays)))
        link.send("ready")
        try:
            async for message in received:
                if message["kind"] == "drain":
                    break
                await _handle(message, registry, engine, host, link)
        finally:
            loop.remove_reader(connections)
            await registry.drain()
            await whip.close()
            await host.close()
            link.send("drained")
            await link.flush()
            async for _ in received:
                pass  # until the first process closes; its connections may be relayed here
            await relays.close()
            link.close()


def _take(host: Host, routed: Kind, connection: socket.socket, facts: Message) -> None:
    """Serve a connection from the first process, after a TLS handshake if it is needed."""
    if facts.get("tls"):
        host.secure(connection, routed)
    else:
        host.take(connection, tuple(facts["peer"]) if facts["peer"] else None)


def _give_back(connections: socket.socket, connection: socket.socket, route: Route, peer: Peer) -> bool:
    """Send a relayed connection to the first process, which assigns it."""
    if not hand_over(connection, connections, peer=peer, **dataclasses.asdict(route)):
        return False
    connection.close()
    return True


async def _handle(message: Message, registry: Registry, engine: Engine, host: Host, link: Link) -> None:
    match message["kind"]:
        case "certificate":
            host.read_certificate()
        case "policy":  # validated by the first process, which has the same models
            loaded = await asyncio.to_thread(parse, message["text"], "policy")
            await asyncio.to_thread(engine.policies.use, loaded)
            engine.policies.publish()
        case "candidate":
            assert engine.shadow is not None, "its policy is watched"
            loaded = await asyncio.to_thread(parse, message["text"], "shadow.policy")
            await asyncio.to_thread(engine.shadow.policies.use, loaded)
        case "elsewhere":
            registry.elsewhere = Elsewhere(
                message["calls"], message["legs"], Counts(message["calls_of"]), Counts(message["legs_of"])
            )
        case "end":
            registry.end(message["call_id"], message["leg"], "duplicate")
        case "calls":
            link.send("answer", id=message["id"], answer=[call.state() for call in registry.calls()])
        case "metrics":
            link.send("answer", id=message["id"], answer=(await own_metrics()).decode())
        case other:
            _log.error("unknown message from the first process", kind=other)
