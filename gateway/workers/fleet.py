"""Starts, supervises and drains the workers; runs in the first process.  [IO]"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import pickle
import socket
import sys
from asyncio.subprocess import Process
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter
from pydantic import ValidationError

from gateway import clock, logs
from gateway.alerts.bus import Bus
from gateway.alerts.event import EVENT_TYPES, CallEnded, CallStarted, EventData, LegEnded, LegStarted
from gateway.call.recovery import endings
from gateway.call.registry import LEGS_OF_A_CALL, CallState, Elsewhere, Registry
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.policy import Loaded
from gateway.workers.joined import JoinedCalls, Refused
from gateway.workers.link import Link, Message, hand_over, take_over
from gateway.workers.routing import FIRST

START_S = 60.0
DRAIN_S = 20.0
END_S = 12.0
ANSWER_S = 2.0
"""Time for a worker to start, to end its calls, to exit, to answer."""
RESTART_S = 1.0
"""From the end of a worker to the start of its successor."""
DIED = Counter(
    "callscreen_worker_deaths_total", "Workers that ended by themselves, and were started again.", ["worker"]
)
COUNTED = (CallStarted, CallEnded, LegStarted, LegEnded)
Relayed = Callable[[socket.socket, Message], None]
_KINDS = {name: kind for kind, name in EVENT_TYPES.items() if issubclass(kind, EventData)}
_log = logs.get(__name__)


class _Worker:
    """One worker process."""

    def __init__(self, number: int, process: Process, link: Link, connections: socket.socket) -> None:
        self.number = number
        self.process = process
        self.link = link
        self.connections = connections
        self.ready = False
        self.drained = False
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count()

    async def ask(self, kind: str) -> Any:
        """Send a request and return the answer; None if there is none in time."""
        number = next(self._ids)
        self._asked[number] = answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                self.link.send(kind, id=number)
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    def answered(self, message: Message) -> None:
        """Pass an answer on to `ask`, unless it is too late."""
        if (answer := self._asked.get(message["id"])) and not answer.done():
            answer.set_result(message["answer"])


class Fleet:
    """All workers of a gateway.

    Call `start` before connections are accepted, `drain` after the last one, `close` after all events were sent.
    """

    def __init__(self, settings: Settings, bus: Bus, policy: Loaded | None, candidate: Loaded | None) -> None:
        """`policy` is the one in force, `candidate` that of the shadow; None: there is none."""
        self._settings = settings
        self._policy, self._candidate = policy, candidate
        self._bus = bus
        self._joined = JoinedCalls()
        self._workers: dict[int, _Worker] = {}
        self._supervisors: list[asyncio.Task[None]] = []
        self._expected: defaultdict[int, deque[float]] = defaultdict(deque)
        """Times at which each process was assigned a connection whose call may not have started yet."""
        self._draining = False
        self._changed = asyncio.Event()
        """Set when the state of a worker has changed or a supervisor failed."""
        self._registry: Registry | None = None
        self._relayed: Relayed = _close

    async def start(self, registry: Registry, relayed: Relayed) -> None:
        """Start the workers, and wait until they are ready. Raises ConfigError if one is not.

        Args:
            registry: that of the first process.
            relayed: gets connections whose TLS a worker handles, but which it does not serve, and their facts.
        """
        self._registry, self._relayed = registry, relayed
        self._supervisors = [
            asyncio.create_task(self._supervise(number), name=f"worker {number}")
            for number in range(FIRST + 1, self._settings.workers)
        ]
        for supervisor in self._supervisors:
            supervisor.add_done_callback(lambda _: self._changed.set())
        try:
            async with asyncio.timeout(START_S):
                while self.missing:
                    self._changed.clear()
                    await self._changed.wait()
                    for supervisor in self._supervisors:
                        if supervisor.done():
                            supervisor.result()
        except TimeoutError:
            raise ConfigError(f"workers: {self.missing} did not start within {START_S:g} s; the log says why") from None

    def use_policy(self, policy: Loaded) -> None:
        """Use this policy for legs that start from now on, in all workers, also in those that start later."""
        self._policy = policy
        for worker in self._workers.values():
            worker.link.send("policy", text=policy.text)

    def try_policy(self, candidate: Loaded) -> None:
        """The same for the policy of the shadow."""
        self._candidate = candidate
        for worker in self._workers.values():
            worker.link.send("candidate", text=candidate.text)

    @property
    def processes(self) -> int:
        """Number of processes, including the first one."""
        return self._settings.workers

    @property
    def missing(self) -> list[int]:
        """Numbers of the workers that are not ready."""
        return [number for number in range(FIRST + 1, self._settings.workers) if not self._is_ready(number)]

    def least_loaded(self) -> int:
        """Return the process for a call whose id is unknown, and count the connection as legs of that process."""
        ready = [FIRST, *(number for number in self._workers if self._is_ready(number))]
        since_s = clock.monotonic_s() - self._settings.start_deadline_s
        for number in ready:
            while (recent := self._expected[number]) and recent[0] < since_s:
                recent.popleft()
        chosen = min(ready, key=lambda one: self._joined.load([one]).legs + LEGS_OF_A_CALL * len(self._expected[one]))
        self._expected[chosen].append(clock.monotonic_s())
        return chosen

    def read_certificate(self) -> None:
        """Let all workers reload the certificate."""
        for worker in self._workers.values():
            worker.link.send("certificate")

    def give(self, number: int, connection: socket.socket, **facts: object) -> bool:
        """Send a connection to a worker; return False, and leave it open, if that is not possible."""
        if not self._is_ready(number) or not hand_over(connection, self._workers[number].connections, **facts):
            return False
        connection.close()
        return True

    def take(self, process: int, data: EventData) -> None:
        """Publish an event of a process, merged with the parts of other processes."""
        event, refused = self._joined.take(process, data)
        if event is not None:
            self._bus.publish(event)
        if refused is not None:
            asyncio.get_running_loop().call_soon(self._end, process, refused)
        if isinstance(data, COUNTED):
            self._share_load()

    async def states(self) -> list[CallState]:
        """Return the live calls of the workers."""
        answers = await asyncio.gather(*(worker.ask("calls") for worker in self._workers.values()))
        return [state for answer in answers for state in answer or []]

    async def metrics(self) -> dict[int, str]:
        """Return the metrics of each worker that answers."""
        workers = list(self._workers.values())
        answers = await asyncio.gather(*(worker.ask("metrics") for worker in workers))
        return {worker.number: answer for worker, answer in zip(workers, answers, strict=True) if answer}

    async def drain(self) -> None:
        """Let the workers end their calls with verdicts."""
        self._draining = True
        for worker in self._workers.values():
            worker.link.send("drain")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not all(worker.drained for worker in self._workers.values()):
                    self._changed.clear()
                    await self._changed.wait()
        for worker in self._workers.values():
            if not worker.drained:
                worker.process.kill()

    async def close(self) -> None:
        """Let the workers exit."""
        workers = list(self._workers.values())
        for worker in workers:
            worker.link.close()
        if self._supervisors:
            await asyncio.wait(self._supervisors, timeout=END_S)
        for worker in workers:
            if worker.process.returncode is None:
                worker.process.kill()
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)

    def _is_ready(self, number: int) -> bool:
        return number in self._workers and self._workers[number].ready

    async def _supervise(self, number: int) -> None:
        """Run the worker of this number, and start it again when it dies."""
        while not self._draining:
            worker = await self._spawn(number)
            self._workers[number] = worker
            take_over(worker.connections, self._relayed)
            try:
                async for message in worker.link.messages():
                    self._handle(worker, message)
            finally:
                del self._workers[number]
                self._changed.set()
                asyncio.get_running_loop().remove_reader(worker.connections)
                worker.link.close()
                worker.connections.close()
            code = await worker.process.wait()
            if self._draining:
                return
            DIED.labels(number).inc()
            _log.error("worker died", number=number, exit_code=code)
            await self._end_calls_of(number)
            await asyncio.sleep(RESTART_S)

    async def _spawn(self, number: int) -> _Worker:
        messages, its_messages = socket.socketpair()
        connections, its_connections = socket.socketpair()
        connections.setblocking(False)
        with its_messages, its_connections:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.workers", str(its_messages.fileno()), str(its_connections.fileno()),
                pass_fds=(its_messages.fileno(), its_connections.fileno()), start_new_session=True,
            )  # fmt: skip
        link = await Link.open(messages)
        settings = base64.b64encode(pickle.dumps(dict(self._settings))).decode()
        policies = [policy.text if policy else None for policy in (self._policy, self._candidate)]
        link.send("settings", number=number, settings=settings, policies=policies)
        return _Worker(number, process, link, connections)

    def _handle(self, worker: _Worker, message: Message) -> None:
        match message["kind"]:
            case "event":
                try:
                    data = _KINDS[message["type"]].model_validate(message["data"])
                except (KeyError, ValidationError) as error:
                    _log.error("invalid event from a worker", number=worker.number, error=str(error))
                else:
                    self.take(worker.number, data)
            case "ready":
                worker.ready = True
                self._changed.set()
                self._share_load()
            case "drained":
                worker.drained = True
                self._changed.set()
            case "answer":
                worker.answered(message)

    def _end(self, process: int, refused: Refused) -> None:
        call_id, leg = refused
        _log.warning("leg refused", call_id=call_id, leg=leg, reason="another process has it", number=process)
        if process == FIRST and self._registry is not None:
            self._registry.end(call_id, leg, "duplicate")
        elif process in self._workers:
            self._workers[process].link.send("end", call_id=call_id, leg=leg)

    def _share_load(self) -> None:
        """Send each process the load of the others, for the limits on all calls."""
        everyone = [FIRST, *self._workers]
        for number in everyone:
            load = self._joined.load(other for other in everyone if other != number)
            if number != FIRST:
                self._workers[number].link.send("elsewhere", **dataclasses.asdict(load))
            elif self._registry is not None:
                self._registry.elsewhere = Elsewhere(load.calls, load.legs, load.calls_of, load.legs_of)

    async def _end_calls_of(self, number: int) -> None:
        """Publish the ends of a dead worker's legs and calls."""
        legs, calls = self._joined.gone(number)
        await self._bus.flush()
        started = [
            event for event in await self._bus.open_calls()
            if (isinstance(event.data, LegStarted) and (event.data.call_id, event.data.leg) in legs)
            or (isinstance(event.data, CallStarted) and event.data.call_id in calls)
        ]  # fmt: skip
        for ending in endings(started):
            if not isinstance(ending, CallEnded) or ending.call_id in calls:
                self._bus.publish(ending)
        self._share_load()


class FirstPublisher:
    """The `Publisher` of the first process: merges its events with those of the workers."""

    def __init__(self, fleet: Fleet, bus: Bus) -> None:
        self._fleet, self._bus = fleet, bus

    @property
    def healthy(self) -> bool:
        """Whether events are being stored and sent."""
        return self._bus.healthy

    def publish(self, data: EventData) -> None:
        """Publish an event."""
        self._fleet.take(FIRST, data)


def _close(connection: socket.socket, _facts: Message) -> None:
    connection.close()
