"""One delivery attempt: resolve the name, check the addresses, connect to a checked one, post, read the status.  [IO]

Redirects are not followed: they would lead to addresses that nobody configured. TLS still checks the name in the URL;
only the TCP connection goes to a literal address. httpcore uses no proxies and follows nothing by itself, and makes all
connections through its network backend.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import httpcore

from gateway import clock
from gateway.webhooks import signature
from gateway.webhooks.addresses import is_public
from gateway.webhooks.settings import Webhook

MAX_ADDRESSES = 4
"""Of a name that are tried in one attempt."""
MAX_RESPONSE_BYTES = 16 * 1024
"""Bytes of an answer that are read, so that the connection can be used again; its content is of no interest."""
KEPT_S = 30.0
"""How long a connection is kept for the next event."""
HTTP_ERRORS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.ConnectionNotAvailable,
)


class _Refused(Exception):
    """The name resolves to no allowed address."""


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See `httpcore.AsyncNetworkBackend`."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        allowed = [address for address in addresses if self._allow_private or is_public(address)]
        if not allowed:
            raise _Refused(f"{', '.join(addresses)[:80]} is on a private network; see allow_private")
        failed: Exception | None = None
        for address in allowed[:MAX_ADDRESSES]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed

    async def sleep(self, seconds: float) -> None:
        """See `httpcore.AsyncNetworkBackend`."""
        await self._network.sleep(seconds)


class Sender:
    """Posts to one endpoint. Call `close` when no attempt is in progress."""

    def __init__(self, webhook: Webhook) -> None:
        """Raises ConfigError if the secret cannot be read."""
        self._webhook = webhook
        self._key = webhook.key()
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=_Pinned(webhook.allow_private), max_connections=1, keepalive_expiry=KEPT_S
        )

    async def send(self, event_id: str, body: bytes) -> str | None:
        """Make one attempt; return why it failed, or None if it succeeded. Never raises."""
        headers: dict[bytes | str, bytes | str] = {"content-type": "application/json", "user-agent": "callscreen"}
        headers.update(signature.headers(self._key, event_id, int(clock.utc_now().timestamp()), body).items())
        try:
            async with asyncio.timeout(self._webhook.timeout_s):
                async with self._pool.stream("POST", self._webhook.url, headers=headers, content=body) as response:
                    status = response.status
                    if 200 <= status < 300:
                        await _read_limited(response)
        except TimeoutError:
            return f"no answer within {self._webhook.timeout_s:g} s"
        except _Refused as error:
            return f"address refused: {error}"
        except OSError as error:  # from name resolution
            return f"name cannot be resolved: {error.strerror or error}"
        except HTTP_ERRORS as error:
            return f"connection failed: {type(error).__name__}: {str(error)[:120]}"
        except UnicodeError:
            return "name cannot be resolved: invalid name"
        if 200 <= status < 300:
            return None
        return f"status {status}: redirects are not followed" if 300 <= status < 400 else f"status {status}"

    async def close(self) -> None:
        """Close the connection."""
        await self._pool.aclose()


async def _read_limited(response: httpcore.Response) -> None:
    size = 0
    async for part in response.aiter_stream():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            return
