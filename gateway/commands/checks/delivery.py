"""Checks of where events and telemetry go: webhooks, NATS, OTLP.  [IO]"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

import httpx

from gateway.commands.checks.finding import Finding
from gateway.config import Settings, is_loopback
from gateway.errors import ConfigError


def webhooks(settings: Settings) -> Iterator[Finding]:
    """Read the secret of each webhook."""
    for webhook in settings.webhooks:
        try:
            webhook.key()
        except ConfigError as error:
            yield Finding(f"webhooks: {webhook.name}", "error", str(error))
            continue
        where = "private addresses, too" if webhook.allow_private else "public addresses only"
        detail = f"{', '.join(webhook.events)}; {where}; `callscreen webhooks test {webhook.name}` tries it"
        yield Finding(f"webhooks: {webhook.name}", "ok", detail)


def nats(settings: Settings) -> Iterator[Finding]:
    """Check the client, the files and the encryption; the servers are not contacted."""
    connection = settings.nats
    if connection is None:
        return
    if find_spec("nats") is None:
        yield Finding("nats", "error", "needs a package: `pip install 'callscreen[nats]'`")
        return
    try:
        if connection.ca is not None:
            ssl.create_default_context(cafile=connection.ca)
        if connection.credentials is not None:
            connection.credentials.read_bytes()
    except OSError as error:  # ssl.SSLError is an OSError
        yield Finding("nats.ca, nats.credentials", "error", str(error))
        return
    servers = [urlsplit(server) for server in connection.servers]
    if any(server.scheme != "tls" and not is_loopback(server.hostname or "") for server in servers):
        what = "events and speech" if connection.verifier_pool else "events"
        yield Finding("nats", "warning", f"{what} may cross the network unencrypted; use tls://")
    else:
        yield Finding("nats", "ok", f"events go to the stream {connection.stream}; the server was not contacted")


def otlp(settings: Settings) -> Iterator[Finding]:
    """Send an empty export, which a receiver accepts."""
    if settings.otlp_endpoint is None:
        return
    try:
        find_spec("opentelemetry.exporter.otlp.proto.http")
    except ImportError:  # a parent package is missing
        yield Finding("otlp_endpoint", "error", "needs packages: `pip install 'callscreen[otel]'`")
        return
    url = settings.otlp_endpoint.rstrip("/") + "/v1/metrics"
    try:
        answer = httpx.post(url, headers={"content-type": "application/x-protobuf"}, timeout=3.0)
    except httpx.HTTPError as error:
        yield Finding("otlp_endpoint", "warning", f"{url} cannot be reached: {error}")
    else:
        yield Finding("otlp_endpoint", "ok" if answer.is_success else "warning", f"{url} answers {answer.status_code}")
