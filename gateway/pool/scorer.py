"""The gateway's side of the pool: windows out, answers in, as if they were scored here.  [IO]

It has the place of a `Scorer`. Where nobody verifies - NATS cannot be reached, no verifier is there, or only ones of
another model - windows are skipped at once, and no audio leaves the gateway.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import Counter, Gauge

from detection import Score, Window
from detection.detector import CardDetector
from gateway import clock, logs, refusals
from gateway.call.scorer import SKIPPED, Backlog, Dropped, Job, Meters, ScoredLeg
from gateway.errors import UNREADABLE_JSON
from gateway.pool import messages
from gateway.pool.flow import Flow
from gateway.pool.jobs import KEPT_S, open_jobs
from gateway.pool.messages import Answer, Asking, Here, PoolModel
from gateway.pool.roster import Roster
from gateway.shared.connection import FAILURES, RETRY_S, opened, stop, until_lost
from gateway.shared.settings import NatsSettings

VERIFIERS = Gauge("callscreen_pool_verifiers", "Verifiers in the pool that have the model of this gateway.")
UNDER_WAY = Gauge("callscreen_pool_jobs", "Windows that the pool was given and has not answered.")
LIMIT = Gauge(
    "callscreen_pool_jobs_limit", "How many windows the pool is given at once; it follows how soon it answers."
)
ANSWERS = Counter(
    "callscreen_pool_answers_total",
    "Answers of the pool: taken, failed (the model did), late (the window was given up), other_model, garbage.",
    ["outcome"],
)

WITHIN_S = KEPT_S + 1.0
"""A window that is not answered within this is given up: it may wait for `KEPT_S`, and then be scored."""
LOOK_S = 0.25
"""Between two looks at what is overdue, and who is there."""
NO_POOL, NO_ANSWER, FAILED = "no_pool", "no_answer", "failed"
"""Outcomes of windows."""
UNREACHED = "NATS cannot be reached"
NOBODY = "no verifier is there"
OTHERS = "the verifiers that are there have another model"
_answer = msgspec.json.Decoder(Answer)
_here = msgspec.json.Decoder(Here)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class _Given:
    """A window that the pool has."""

    job: Job
    at_s: float


class PoolScorer:
    """Has windows scored by the pool. A `Scoring`: `start` before the first offer, `close` when no leg is left."""

    def __init__(self, detector: CardDetector, backlog: Backlog, meters: Meters, settings: NatsSettings) -> None:
        """Take the model that shall score, which is not run here, and where windows wait."""
        self._model = PoolModel.of(detector)
        self._backlog = backlog
        self._meters = meters
        self._settings = settings
        self._roster = Roster(self._model)
        self._flow = Flow()
        self._name = secrets.token_hex(8)
        self._numbers = count(1)
        self._given: dict[str, _Given] = {}
        """By number, in the order in which they were given."""
        self._fault: str | None = UNREACHED
        self._told: tuple[str | None, str] | None = None
        self._wake = asyncio.Event()
        self._unstored: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect. Must be called on the event loop; does not wait for NATS."""
        self._task = asyncio.create_task(self._keep(), name="pool")

    @property
    def healthy(self) -> bool:
        """Whether windows are taken and told of."""
        return self._task is not None and not self._task.done()

    @property
    def fault(self) -> str | None:
        """Why nobody verifies now; None: somebody does."""
        return self._fault

    async def close(self) -> None:
        """Stop. Windows that are not answered are skipped."""
        if self._task is not None:
            await stop(self._task)
        self._give_up(SKIPPED)

    def offer(self, leg: ScoredLeg, window: Window, received_s: float) -> None:
        """See `Scoring`."""
        job = Job(leg, window, received_s)
        self._skip([(job, NO_POOL)] if self._fault else self._backlog.put(job))
        self._wake.set()

    async def _keep(self) -> None:
        """Have a connection, and another one when it ends."""
        while True:
            try:
                await self._connection()
            except FAILURES as error:
                self._note(UNREACHED, str(error).removeprefix("nats: ") or type(error).__name__)
            except Exception as error:  # task root
                _log.exception("pool failed")
                self._note(UNREACHED, repr(error))
            self._roster.clear()
            self._give_up(NO_POOL)
            await asyncio.sleep(RETRY_S)

    async def _connection(self) -> None:
        """Connect, and give and take until something fails."""
        lost = asyncio.Event()
        stream = self._settings.stream
        async with opened(self._settings, lost) as client:
            await open_jobs(client, self._settings)
            self._unstored = None
            await client.subscribe(messages.answer(stream, self._name, "*"), cb=self._hear_answer)
            await client.subscribe(messages.here(stream), cb=self._hear_verifier)
            asking = Asking(self._model.key, self._model.shown)
            await client.publish(messages.ask(stream), msgspec.json.encode(asking))
            await until_lost(lost, self._work(client))

    async def _work(self, client: Client) -> None:
        while self._unstored is None:
            self._look()
            while self._fault is None and len(self._backlog) and len(self._given) < self._flow.limit:
                await self._give(client)
            self._meters.queued.set(len(self._backlog))
            UNDER_WAY.set(len(self._given))
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
        raise ConnectionError(f"a job was not stored: {self._unstored}")

    async def _give(self, client: Client) -> None:
        """Send the window that comes first."""
        batch, dropped = self._backlog.take(1)
        self._skip(dropped)
        for job in batch:
            number = next(self._numbers)
            self._given[str(number)] = _Given(job, clock.monotonic_s())
            stream = self._settings.stream
            await client.publish(
                messages.job(stream, self._model.key, self._name, number),
                messages.to_bytes(job.window.samples),
                messages.answer(stream, self._name, messages.STORED),
            )

    def _look(self) -> None:
        """See who is there, and give up what is overdue."""
        now_s = clock.monotonic_s()
        self._roster.look(now_s)
        VERIFIERS.set(self._roster.able)
        if self._roster.able:
            self._note(None)
        else:
            self._note(OTHERS if self._roster.others else NOBODY, "; ".join(self._roster.others))
            self._skip_waiting(NO_POOL)
        overdue = [number for number, given in self._given.items() if now_s - given.at_s > WITHIN_S]
        for number in overdue:
            self._flow.lost(now_s)
            self._skip([(self._given.pop(number).job, NO_ANSWER)])
        LIMIT.set(self._flow.limit)

    def _note(self, fault: str | None, detail: str = "") -> None:
        self._fault = fault
        if self._told == (fault, detail):
            return
        self._told = (fault, detail)
        if fault is None:
            _log.info("pool verifies", verifiers=self._roster.able, model=self._model.shown)
        else:
            VERIFIERS.set(0)
            _log.warning("pool does not verify", fault=fault, detail=detail, model=self._model.shown)

    async def _hear_verifier(self, message: Msg) -> None:
        try:
            self._roster.hear(_here.decode(message.data), clock.monotonic_s())
        except UNREADABLE_JSON as error:
            refusals.note(_log, "sign of a verifier refused", "pool", "garbage", reason=str(error))
        self._wake.set()

    async def _hear_answer(self, message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        if number == messages.STORED:
            self._hear_stored(message)
            return
        try:
            answer = _answer.decode(message.data)
        except UNREADABLE_JSON as error:
            ANSWERS.labels("garbage").inc()
            refusals.note(_log, "answer of a verifier refused", "pool", "garbage", reason=str(error))
            return
        if answer.model != self._model.key:
            ANSWERS.labels("other_model").inc()
            refusals.note(_log, "answer of a verifier refused", "pool", "other_model", model=answer.model)
        elif number not in self._given:
            ANSWERS.labels("late").inc()
        else:
            self._take(number, answer)
            self._wake.set()

    def _hear_stored(self, message: Msg) -> None:
        """A job was stored, or not: then the stream is not there any more, as after a restart of the server."""
        status = (message.headers or {}).get("Status")
        if status is not None or b'"error"' in message.data:
            self._unstored = f"status {status}" if status else message.data.decode("utf-8", "replace")
            self._wake.set()

    def _take(self, number: str, answer: Answer) -> None:
        is_full = len(self._given) + 1 > self._flow.limit
        given, now_s = self._given.pop(number), clock.monotonic_s()
        job = given.job
        self._flow.answered(now_s - given.at_s - answer.worked_s, now_s, is_full=is_full)
        if answer.failed is not None:
            ANSWERS.labels("failed").inc()
            self._skip([(job, FAILED)])
            return
        ANSWERS.labels("taken").inc()
        self._meters.windows.labels("scored").inc()
        self._meters.seconds.observe(now_s - job.received_s)
        log_odds = math.nan if answer.log_odds is None else answer.log_odds
        job.leg.scored(job.window, Score.of(job.window, log_odds, answer.narrow), job.received_s)

    def _skip(self, dropped: Iterable[Dropped]) -> None:
        for job, outcome in dropped:
            self._meters.windows.labels(outcome).inc()
            job.leg.skipped(job.window)

    def _skip_waiting(self, outcome: str) -> None:
        waiting, dropped = self._backlog.take(len(self._backlog))
        self._skip([*dropped, *((job, outcome) for job in waiting)])

    def _give_up(self, outcome: str) -> None:
        """Wait for nothing any longer."""
        self._skip_waiting(outcome)
        given = list(self._given.values())
        self._given.clear()
        self._skip((one.job, outcome) for one in given)
        UNDER_WAY.set(0)
