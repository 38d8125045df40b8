"""The stream of jobs at the NATS server, and a verifier's share of it.  [IO]

A JetStream work queue, for three reasons. Verifiers take jobs when they are free: with plain queue groups the server
would push jobs to verifiers that are busy, while others rest. A job that a killed verifier had is given to another one.
And what nobody takes within `KEPT_S` is gone, by the server's own clock.

The stream is in memory, and must be: it holds audio. Where it is full the oldest job gives way.
"""

from __future__ import annotations

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from gateway.call.scorer import LATEST_S
from gateway.pool import messages
from gateway.pool.messages import PoolModel
from gateway.shared.connection import ANSWER_S
from gateway.shared.settings import NatsSettings

KEPT_S = LATEST_S
"""For how long a job may wait."""
KEPT_BYTES = 64 << 20
"""Of all jobs that wait: 700 windows of 3 s, half a second's work for 80 cores."""
BACK_S = 1.0
"""A job that was taken and is not answered within this is given to another verifier, if it is not too old then."""
MOST_TRIES = 3
UNUSED_S = 300.0
"""After which the server forgets a model that no verifier asks jobs of."""


async def open_jobs(client: Client, settings: NatsSettings) -> JetStreamContext:
    """Make the stream of jobs where it is not there.

    Raises:
        ConnectionError: one is there that stores audio on disk.
        NatsError, TimeoutError: the server cannot be asked.
    """
    js = client.jetstream(timeout=ANSWER_S)
    name = messages.jobs_stream(settings.stream)
    try:
        config = (await js.stream_info(name)).config
    except NotFoundError:
        config = StreamConfig(
            name=name,
            description="callscreen: windows that wait for a verifier",
            subjects=[messages.all_jobs(settings.stream)],
            storage=StorageType.MEMORY,
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.OLD,
            max_age=KEPT_S,
            max_bytes=KEPT_BYTES,
            num_replicas=settings.replicas,
            duplicate_window=KEPT_S,
        )
        await js.add_stream(config)  # of two at once both succeed: it is the same
    if config.storage != StorageType.MEMORY:
        raise ConnectionError(f"the stream {name} stores audio on disk: delete it, or make it with storage in memory")
    return js


async def open_share(js: JetStreamContext, settings: NatsSettings, model: PoolModel) -> None:
    """Have the server hand out the jobs of a model, each to one of the verifiers that ask.

    Raises:
        NatsError, TimeoutError: the server cannot be asked.
    """
    config = ConsumerConfig(
        durable_name=model.key,
        filter_subject=messages.jobs_for(settings.stream, model.key),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=BACK_S,
        max_deliver=MOST_TRIES,
        max_ack_pending=-1,
        inactive_threshold=UNUSED_S,
        mem_storage=True,
    )
    await js.add_consumer(messages.jobs_stream(settings.stream), config)
