"""One connection to NATS, from when it is made to when it is lost.  [IO]

The client library's own reconnecting is switched off: it would send what it had buffered after what we send again, out
of order. A connection that fails is given up; whoever needs one opens another.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from gateway.shared.settings import NatsSettings

CONNECT_S = 3
ANSWER_S = 5.0
PING_S = 5
"""Between pings; a server that leaves two unanswered is gone."""
RETRY_S = 1.0
"""Between a connection and the next attempt."""
FAILURES = (NatsError, OSError, TimeoutError, ValueError)
"""What the client library raises; ValueError is an answer that is not JSON."""


@asynccontextmanager
async def opened(settings: NatsSettings, lost: asyncio.Event) -> AsyncIterator[Client]:
    """Connect; the connection is closed with the context.

    Args:
        lost: set when the connection ends.

    Raises:
        NatsError, OSError, TimeoutError: it cannot be reached, or refuses us.
    """

    cause: list[str] = []

    async def note(error: Exception) -> None:
        cause[:] = [str(error) or type(error).__name__]

    async def closed() -> None:
        lost.set()

    client = Client()
    try:
        try:
            async with asyncio.timeout(2 * CONNECT_S * len(settings.servers)):
                await client.connect(
                    settings.servers,
                    name="callscreen",
                    error_cb=note,
                    closed_cb=closed,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=CONNECT_S,
                    ping_interval=PING_S,
                    max_outstanding_pings=2,
                    **_credentials(settings),
                )
        except NoServersError as error:
            raise ConnectionError(", ".join(cause) or str(error)) from None
        yield client
    finally:
        with suppress(*FAILURES):
            await client.close()


async def until_lost(lost: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do work on a connection, until it is done; an error of it is raised.

    Raises:
        ConnectionError: the connection was lost before.
    """
    working, losing = asyncio.create_task(work), asyncio.create_task(lost.wait())
    try:
        await asyncio.wait([working, losing], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop(working, losing)
    if working.cancelled():
        raise ConnectionError("the connection was lost")
    working.result()


async def stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they are done: `asyncio.wait_for` of Python 3.11 may swallow a cancellation.

    An error that one of them ended with is its owner's to look at; nobody need.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1.0)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # else asyncio says that nobody did


def _credentials(settings: NatsSettings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if settings.user is not None and settings.password is not None:
        options |= {"user": settings.user, "password": settings.password.get_secret_value()}
    if settings.token is not None:
        options["token"] = settings.token.get_secret_value()
    if settings.credentials is not None:
        options["user_credentials"] = str(settings.credentials)
    if settings.ca is not None:
        options["tls"] = ssl.create_default_context(cafile=settings.ca)
    return options
