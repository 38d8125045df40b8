"""The gateway's side of the pool: sends windows and receives scores.  [IO]

It replaces a `Scorer`. While the pool cannot score - NATS cannot be reached, no verifier is there, or only ones with
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
"""A window without an answer after this is skipped: it may wait for `KEPT_S`, and is then scored."""
CHECK_S = 0.25
"""Seconds between two checks for overdue windows and gone verifiers."""
NO_POOL, NO_ANSWER, FAILED = "no_pool", "no_answer", "failed"
"""Outcomes of windows."""
UNREACHED = "NATS cannot be reached"
NOBODY = "no verifier is there"
OTHERS = "the verifiers that are there have another model"
_answer = msgspec.json.Decoder(Answer)
_here = msgspec.json.Decoder(Here)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A window in flight."""

    job: Job
    at_s: float


class PoolScorer:
    """Scores windows in the pool. A `Scoring`: `start` before the first offer, `close` when no leg is left."""

    def __init__(self, detector: CardDetector, backlog: Backlog, meters: Meters, settings: NatsSettings) -> None:
        """Args:
        detector: the model that verifiers must have; it is not run here.
        backlog: windows that wait to be sent.
        meters: counters of windows, by outcome.
        settings: the NATS server.
        """
        self._model = PoolModel.of(detector)
        self._backlog = backlog
        self._meters = meters
        self._settings = settings
        self._roster = Roster(self._model)
        self._flow = Flow()
        self._name = secrets.token_hex(8)
        self._numbers = count(1)
        self._in_flight: dict[str, _InFlight] = {}
        """Windows in flight by number, oldest first."""
        self._fault: str | None = UNREACHED
        self._noted: tuple[str | None, str] | None = None
        self._wake = asyncio.Event()
        self._unstored: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start connecting. Must be called on the event loop; does not wait for NATS."""
        self._task = asyncio.create_task(self._keep(), name="pool")

    @property
    def healthy(self) -> bool:
        """Whether the task that connects and sends runs."""
        return self._task is not None and not self._task.done()

    @property
    def fault(self) -> str | None:
        """Why the pool scores nothing now; None: it does."""
        return self._fault

    async def close(self) -> None:
        """Stop, and skip the windows without an answer."""
        if self._task is not None:
            await stop(self._task)
        self._skip_all(SKIPPED)

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
            self._skip_all(NO_POOL)
            await asyncio.sleep(RETRY_S)

    async def _connection(self) -> None:
        """Connect, send and receive until the connection fails."""
        lost = asyncio.Event()
        stream = self._settings.stream
        async with opened(self._settings, lost) as client:
            await open_jobs(client, self._settings)
            self._unstored = None
            await client.subscribe(messages.answer(stream, self._name, "*"), cb=self._on_answer)
            await client.subscribe(messages.here(stream), cb=self._on_announcement)
            asking = Asking(self._model.key, self._model.shown)
            await client.publish(messages.ask(stream), msgspec.json.encode(asking))
            await until_lost(lost, self._work(client))

    async def _work(self, client: Client) -> None:
        while self._unstored is None:
            self._check()
            while self._fault is None and len(self._backlog) and len(self._in_flight) < self._flow.limit:
                await self._send(client)
            self._meters.queued.set(len(self._backlog))
            UNDER_WAY.set(len(self._in_flight))
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._wake.wait()
        raise ConnectionError(f"a job was not stored: {self._unstored}")

    async def _send(self, client: Client) -> None:
        """Send the first window of the backlog."""
        batch, dropped = self._backlog.take(1)
        self._skip(dropped)
        for job in batch:
            number = next(self._numbers)
            self._in_flight[str(number)] = _InFlight(job, clock.monotonic_s())
            stream = self._settings.stream
            await client.publish(
                messages.job(stream, self._model.key, self._name, number),
                messages.to_bytes(job.window.samples),
                messages.answer(stream, self._name, messages.STORED),
            )

    def _check(self) -> None:
        """Update the roster, and skip overdue windows."""
        now_s = clock.monotonic_s()
        self._roster.expire(now_s)
        VERIFIERS.set(self._roster.able)
        if self._roster.able:
            self._note(None)
        else:
            self._note(OTHERS if self._roster.others else NOBODY, "; ".join(self._roster.others))
            self._skip_waiting(NO_POOL)
        overdue = [number for number, given in self._in_flight.items() if now_s - given.at_s > WITHIN_S]
        for number in overdue:
            self._flow.lost(now_s)
            self._skip([(self._in_flight.pop(number).job, NO_ANSWER)])
        LIMIT.set(self._flow.limit)

    def _note(self, fault: str | None, detail: str = "") -> None:
        self._fault = fault
        if self._noted == (fault, detail):
            return
        self._noted = (fault, detail)
        if fault is None:
            _log.info("pool verifies", verifiers=self._roster.able, model=self._model.shown)
        else:
            VERIFIERS.set(0)
            _log.warning("pool does not verify", fault=fault, detail=detail, model=self._model.shown)

    async def _on_announcement(self, message: Msg) -> None:
        try:
            self._roster.update(_here.decode(message.data), clock.monotonic_s())
        except UNREADABLE_JSON as error:
            refusals.note(_log, "sign of a verifier refused", "pool", "garbage", reason=str(error))
        self._wake.set()

    async def _on_answer(self, message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        if number == messages.STORED:
            self._on_acknowledgement(message)
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
        elif number not in self._in_flight:
            ANSWERS.labels("late").inc()
        else:
            self._take(number, answer)
            self._wake.set()

    def _on_acknowledgement(self, message: Msg) -> None:
        """Handle an acknowledgement. An error means that the stream is gone, as after a restart of the server."""
        status = (message.headers or {}).get("Status")
        if status is not None or b'"error"' in message.data:
            self._unstored = f"status {status}" if status else message.data.decode("utf-8", "replace")
            self._wake.set()

    def _take(self, number: str, answer: Answer) -> None:
        is_full = len(self._in_flight) + 1 > self._flow.limit
        given, now_s = self._in_flight.pop(number), clock.monotonic_s()
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

    def _skip_all(self, outcome: str) -> None:
        """Skip all windows, waiting and in flight."""
        self._skip_waiting(outcome)
        given = list(self._in_flight.values())
        self._in_flight.clear()
        self._skip((one.job, outcome) for one in given)
        UNDER_WAY.set(0)
