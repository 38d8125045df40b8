"""A connection to NATS and its stream.  [IO]

The client library's reconnecting is switched off: it would send its buffer after our own repeated messages, out of
order. A failed connection is dropped, and its user opens another.

Source: the JetStream wire API, https://docs.nats.io/reference/reference-protocols/nats_api_reference.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RawStreamMsg, StorageType, StreamConfig, StreamInfo
from nats.js.errors import NotFoundError

from gateway.shared import names
from gateway.shared.connection import ANSWER_S, FAILURES, opened
from gateway.shared.settings import NatsSettings

PULL_EVENTS = 250
"""Events per pull request, which also bounds the memory of a slow reader."""
PULL_S = 20.0
IDLE_READER_S = 60.0
"""The server deletes a consumer without requests after this time, in case its gateway was killed."""
DUPLICATES_S = 120.0
"""The server recognises a repeated event by its id for this time."""


class Link:
    """An open connection, and an existing stream."""

    def __init__(self, client: Client, settings: NatsSettings, info: StreamInfo) -> None:
        self.client = client
        self.stream = settings.stream
        assert info.created is not None
        self.stream_id = names.stream_id(settings.stream, info.created)
        self._js = client.jetstream(timeout=ANSWER_S)

    async def bounds(self) -> tuple[int, int]:
        """Return the sequence numbers of the oldest stored message and of the newest message ever stored."""
        state = (await self._js.stream_info(self.stream)).state
        return state.first_seq, state.last_seq

    async def publish(self, subject: str, event_id: str, text: str) -> None:
        """Store an event; returns after the server has confirmed it."""
        await self._js.publish(
            subject,
            text.encode(),
            stream=self.stream,
            headers={"Nats-Msg-Id": event_id, "content-type": "application/cloudevents+json"},
        )

    async def last(self, subjects: str) -> RawStreamMsg | None:
        """Return the newest message with these subjects; None: there is none."""
        try:
            return await self._js.get_last_msg(self.stream, subjects)
        except NotFoundError:
            return None

    async def messages(self, after: int) -> AsyncGenerator[tuple[int, str], None]:
        """Yield stream sequence and text of each message after `after`; never ends."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=IDLE_READER_S,
            mem_storage=True,
            num_replicas=1,
        )
        consumer = (await self._js.add_consumer(self.stream, config)).name
        inbox = self.client.new_inbox()
        answers = await self.client.subscribe(inbox)
        ask = json.dumps({"batch": PULL_EVENTS, "expires": int(PULL_S * 1e9)}).encode()
        try:
            while True:
                await self.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{consumer}", ask, inbox)
                for _ in range(PULL_EVENTS):
                    message = await answers.next_msg(PULL_S + ANSWER_S)
                    status = (message.headers or {}).get("Status")
                    if status in ("404", "408"):  # no message within PULL_S
                        break
                    if status is not None:
                        raise NatsError(f"reading: status {status}")
                    yield message.metadata.sequence.stream, message.data.decode("utf-8", "replace")
        finally:
            with suppress(*FAILURES):
                await answers.unsubscribe()
                await self._js.delete_consumer(self.stream, str(consumer))


@asynccontextmanager
async def connected(settings: NatsSettings, lost: asyncio.Event) -> AsyncIterator[Link]:
    """Connect, and create the stream if it does not exist.

    Args:
        settings: server, stream and credentials.
        lost: set when the connection ends.

    Raises:
        NatsError, OSError, TimeoutError: the server cannot be reached, or refuses the connection.
    """
    async with opened(settings, lost) as client:
        yield Link(client, settings, await _stream(client, settings))


async def _stream(client: Client, settings: NatsSettings) -> StreamInfo:
    """Return the stream; an existing one is used as it is, since its operator may have configured it."""
    js = client.jetstream(timeout=ANSWER_S)
    try:
        return await js.stream_info(settings.stream)
    except NotFoundError:
        config = StreamConfig(
            name=settings.stream,
            description="callscreen: the events of all gateways",
            subjects=[names.all_subjects(settings.stream)],
            storage=StorageType.FILE,
            max_age=settings.keep_s,
            max_bytes=settings.keep_bytes,
            num_replicas=settings.replicas,
            duplicate_window=min(DUPLICATES_S, settings.keep_s),
        )
        await js.add_stream(config)  # also succeeds if another gateway has just created it
        return await js.stream_info(settings.stream)
