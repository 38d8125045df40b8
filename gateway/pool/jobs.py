"""The stream of jobs at the NATS server, and a verifier's consumer on it.  [IO]

A JetStream work queue, for three reasons. Verifiers pull jobs when they are free; with plain queue groups the server
would push jobs to busy verifiers while others idle. The server redelivers the job of a killed verifier. And it deletes
jobs that no verifier takes within `KEPT_S`, by its own clock.

The stream must be in memory, because it holds audio. When it is full, the server deletes the oldest job.
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
"""How long a job may wait."""
KEPT_BYTES = 64 << 20
"""Size of the stream: 700 windows of 3 s, half a second's work for 80 cores."""
REDELIVERY_S = 1.0
"""The server redelivers a job that is not answered within this, unless it is too old by then."""
MAX_DELIVERIES = 3
UNUSED_S = 300.0
"""The server deletes the consumer of a model that no verifier pulls from for this long."""


async def open_jobs(client: Client, settings: NatsSettings) -> JetStreamContext:
    """Create the stream of jobs if it does not exist.

    Raises:
        ConnectionError: a stream of that name stores audio on disk.
        NatsError, TimeoutError: the server refused or did not answer.
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
        await js.add_stream(config)  # idempotent: two at once both succeed
    if config.storage != StorageType.MEMORY:
        raise ConnectionError(f"the stream {name} stores audio on disk: delete it, or make it with storage in memory")
    return js


async def open_share(js: JetStreamContext, settings: NatsSettings, model: PoolModel) -> None:
    """Create the consumer of a model's jobs; the server gives each job to one of its verifiers.

    Raises:
        NatsError, TimeoutError: the server refused or did not answer.
    """
    config = ConsumerConfig(
        durable_name=model.key,
        filter_subject=messages.jobs_for(settings.stream, model.key),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=REDELIVERY_S,
        max_deliver=MAX_DELIVERIES,
        max_ack_pending=-1,
        inactive_threshold=UNUSED_S,
        mem_storage=True,
    )
    await js.add_consumer(messages.jobs_stream(settings.stream), config)
