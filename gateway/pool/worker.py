"""A verifier of the pool: pulls jobs, scores them, answers.  [IO]

Each thread has its own model and pulls one job at a time, so that other verifiers get the rest. A job is acknowledged
after its answer; the server redelivers the job of a verifier that dies.
"""

from __future__ import annotations

import asyncio
import secrets

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCame
from nats.js import JetStreamContext
from prometheus_client import Counter, Gauge

from detection import SAMPLE_RATE_HZ, Frontend, Score, Window
from detection.detector import CardDetector
from gateway import clock, logs, refusals
from gateway.call.scorer import Fifo, Meters, Scorer
from gateway.errors import UNREADABLE_JSON, BadMessage
from gateway.pool import messages
from gateway.pool.jobs import open_jobs, open_share
from gateway.pool.messages import Answer, Asking, Here, PoolModel
from gateway.pool.roster import BEAT_S
from gateway.shared.connection import FAILURES, RETRY_S, opened, stop, until_lost
from gateway.shared.settings import NatsSettings

CONNECTED = Gauge("callscreen_verifier_connected", "1 while this verifier can take jobs, else 0.")
JOBS = Counter("callscreen_verifier_jobs_total", "Jobs of this verifier: answered, failed, refused.", ["outcome"])
PULL_S = 5.0
"""Seconds that one pull request stays open at the server."""
_asking = msgspec.json.Decoder(Asking)
_log = logs.get(__name__)


class PoolVerifier:
    """Pulls and scores jobs while `run` runs."""

    def __init__(self, detectors: list[CardDetector], meters: Meters, settings: NatsSettings) -> None:
        """`detectors`: one copy of the model for each thread."""
        self.model = PoolModel.of(detectors[0])
        self._scorers = [Scorer(detector, Fifo(1), 1, meters) for detector in detectors]
        self._detectors = detectors
        self._settings = settings
        self._instance = secrets.token_hex(8)
        self.fault: str | None = "not connected yet"
        """Why no jobs are pulled now; None: they are."""

    async def run(self, stopping: asyncio.Future[None]) -> None:
        """Score jobs until `stopping` is done; jobs in work by then are answered.

        Retries while the server cannot be reached.
        """
        for scorer in self._scorers:
            scorer.start()
        try:
            while not stopping.done():
                try:
                    await self._connection(stopping)
                except FAILURES as error:
                    self._note(str(error).removeprefix("nats: ") or type(error).__name__)
                except Exception as error:  # task root
                    _log.exception("verifier failed")
                    self._note(repr(error))
                await asyncio.wait([stopping], timeout=RETRY_S)
        finally:
            for scorer in self._scorers:
                await scorer.close()

    async def _connection(self, stopping: asyncio.Future[None]) -> None:
        """Connect, and work until `stopping` is done or the connection fails."""
        lost = asyncio.Event()
        async with opened(self._settings, lost) as client:
            js = await open_jobs(client, self._settings)
            await open_share(js, self._settings, self.model)
            try:
                await until_lost(lost, self._work(client, js, stopping))
            finally:
                CONNECTED.set(0)

    async def _work(self, client: Client, js: JetStreamContext, stopping: asyncio.Future[None]) -> None:
        async def on_request(message: Msg) -> None:
            await self._on_request(client, message)

        await client.subscribe(messages.ask(self._settings.stream), cb=on_request)
        self._note(None)
        try:
            async with asyncio.TaskGroup() as working:
                working.create_task(self._beat(client, stopping))
                for scorer, detector in zip(self._scorers, self._detectors, strict=True):
                    working.create_task(self._take(client, js, scorer, detector, stopping))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # any of them ends the connection
        await client.flush()

    async def _beat(self, client: Client, stopping: asyncio.Future[None]) -> None:
        """Announce this verifier every `BEAT_S`, and at the end that it leaves."""
        while not stopping.done():
            await self._announce(client)
            await asyncio.wait([stopping], timeout=BEAT_S)
        await self._announce(client, leaving=True)

    async def _announce(self, client: Client, *, leaving: bool = False) -> None:
        here = Here(self._instance, self.model.key, self.model.shown, leaving)
        await client.publish(messages.here(self._settings.stream), msgspec.json.encode(here))

    async def _on_request(self, client: Client, message: Msg) -> None:
        """Handle a gateway's request for an announcement."""
        try:
            asking = _asking.decode(message.data)
        except UNREADABLE_JSON as error:
            refusals.note(_log, "question of a gateway refused", "jobs", "garbage", reason=str(error))
            return
        if asking.model != self.model.key:
            _log.warning("gateway has another model: no jobs of it", its=asking.shown, own=self.model.shown)
        await self._announce(client)

    async def _take(
        self,
        client: Client,
        js: JetStreamContext,
        scorer: Scorer,
        detector: CardDetector,
        stopping: asyncio.Future[None],
    ) -> None:
        """Score jobs in one thread, one at a time."""
        stream = messages.jobs_stream(self._settings.stream)
        share = await js.pull_subscribe_bind(self.model.key, stream)
        while (message := await _next(share, stopping)) is not None:
            await self._serve(client, message, scorer, detector)

    async def _serve(self, client: Client, message: Msg, scorer: Scorer, detector: CardDetector) -> None:
        began_s = clock.monotonic_s()
        try:
            gateway, number = messages.sender(message.subject)
            samples = messages.to_samples(message.data, self.model)
        except BadMessage as error:
            JOBS.labels("refused").inc()
            refusals.note(_log, "job refused", "jobs", error)
            await message.term()
            return
        job = _Job(detector.frontend())
        seconds = len(samples) / SAMPLE_RATE_HZ
        scorer.offer(job, Window(0.0, samples, len(samples), seconds, seconds), began_s)
        score = await job.done
        worked_s = clock.monotonic_s() - began_s
        JOBS.labels("failed" if score is None else "answered").inc()
        if score is None:
            answer = Answer(self.model.key, None, narrow=False, worked_s=worked_s, failed="the model failed")
        else:  # JSON has null for NaN
            answer = Answer(self.model.key, score.log_odds, score.narrow, worked_s)
        subject = messages.answer(self._settings.stream, gateway, number)
        await client.publish(subject, msgspec.json.encode(answer))
        await message.ack()

    def _note(self, fault: str | None) -> None:
        CONNECTED.set(fault is None)
        if fault is None:
            _log.info("takes jobs", model=self.model.shown, threads=len(self._scorers), stream=self._settings.stream)
        elif fault != self.fault:
            _log.error("nats cannot be used: no jobs are taken; trying again", error=fault)
        self.fault = fault


class _Job:
    """One job; a `ScoredLeg`."""

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend
        self.done: asyncio.Future[Score | None] = asyncio.get_running_loop().create_future()
        """The score; None: the model failed."""

    def scored(self, window: Window, score: Score, received_s: float) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        self._settle(score)

    def skipped(self, window: Window) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        self._settle(None)

    def _settle(self, score: Score | None) -> None:
        if not self.done.done():  # cancelled when the job's connection was lost
            self.done.set_result(score)


async def _next(share: JetStreamContext.PullSubscription, stopping: asyncio.Future[None]) -> Msg | None:
    """Return the next job; None once `stopping` is done."""
    while not stopping.done():
        fetching = asyncio.create_task(share.fetch(1, PULL_S))
        try:
            await asyncio.wait((fetching, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await stop(fetching)
        if not fetching.cancelled():
            try:
                return fetching.result()[0]
            except NothingCame:
                continue
    return None
