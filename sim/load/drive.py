"""Drives a load: senders in processes of their own; events and metrics of the gateway in this process.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable

import httpx
import msgspec

from gateway.alerts.event import CallEnded, Gap, Scored
from gateway.client.events import EventStreamError, events_url, follow
from sim.caller import NOBODY_THERE, Gateway
from sim.load.metrics import Metrics, MetricsError, Reading
from sim.load.result import LoadResult, Moment, Plan, delay_of_second
from sim.load.sender import Began, Failed, Go, Message, Order, Progress, Ready, command

EVENTS = ("score", "call.ended")
READY_WITHIN_S = 60.0
BEGINS_AFTER_S = 0.5
"""Time for all senders to receive the start time."""
ENDS_WITHIN_S = 10.0
"""How long to wait for the end of all calls after the last packet."""
STOPS_WITHIN_S = 20.0
INTERRUPTED = "interrupted"

OnMoment = Callable[[LoadResult], None]


class LoadError(Exception):
    """The load cannot be driven: a sender does not start, or the gateway's events cannot be followed."""


async def drive(plan: Plan, gateway: Gateway, on_moment: OnMoment) -> LoadResult:
    """Play the calls of `plan`; return the result, also when this task is cancelled.

    Args:
        plan: number of calls, ramp and duration.
        gateway: where to call.
        on_moment: called once a second.

    Raises:
        LoadError: no gateway listens, its events cannot be followed, or a sender does not start.
    """
    await _reach(gateway.url)
    result = LoadResult(plan, gateway.url)
    driving = _Drive(plan, gateway, result, on_moment)
    try:
        await driving.run()
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        result.partial = INTERRUPTED
    return result


async def _reach(url: str) -> None:
    """Raise LoadError unless something listens at `url`."""
    try:
        events_url(url)
        async with httpx.AsyncClient() as client:
            await client.get(url)
    except httpx.ConnectError as error:
        raise LoadError(f"{url}: {error}: {NOBODY_THERE}") from None
    except (ValueError, httpx.HTTPError) as error:
        raise LoadError(f"{url}: {str(error) or type(error).__name__}") from None


class _Drive:
    """One load while it is driven."""

    def __init__(self, plan: Plan, gateway: Gateway, result: LoadResult, on_moment: OnMoment) -> None:
        self._plan, self._gateway, self._findings, self._on_moment = plan, gateway, result, on_moment
        mark = secrets.token_hex(3)
        self._starts_s = {f"load-{number}.{mark}": number / plan.ramp_per_s for number in range(plan.calls)}
        self._zero_s = 0.0
        self._recent_ms: list[float] = []
        self._all_ended = asyncio.Event()

    async def run(self) -> None:
        """Drive the load. Raises LoadError."""
        async with self._following(), self._senders() as senders:
            self._zero_s = time.monotonic() + BEGINS_AFTER_S
            watching = asyncio.create_task(self._watch(), name="metrics")
            try:
                await asyncio.gather(*(self._follow_sender(sender) for sender in senders))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._all_ended.wait(), ENDS_WITHIN_S)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _senders(self) -> AsyncIterator[list[Process]]:
        """Start the senders, each with its share of the calls; stop them at the end."""
        calls = list(self._starts_s.items())
        senders: list[Process] = []
        try:
            for share in range(self._plan.processes):
                # Each sender has calls of the whole ramp. With a session of its own it does not get our Ctrl-C.
                sender = await asyncio.create_subprocess_exec(
                    *command(), stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
                )
                senders.append(sender)
                order = Order(
                    self._gateway.url,
                    self._gateway.token,
                    self._gateway.twilio_auth_token,
                    dict(calls[share :: self._plan.processes]),
                    self._plan.duration_s,
                )
                _write(sender, order)
            async with asyncio.timeout(READY_WITHIN_S):
                for sender in senders:
                    if not isinstance(await _read(sender), Ready):
                        raise LoadError(await _fault(sender))
            yield senders
        except TimeoutError:
            raise LoadError(f"senders: expected all to be ready within {READY_WITHIN_S:g} s") from None
        finally:
            await asyncio.shield(_end(senders))

    @contextlib.asynccontextmanager
    async def _following(self) -> AsyncIterator[None]:
        """Follow the events while the body runs. Raises LoadError."""
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(), name="events")
                yield
                listening.cancel()
        except* EventStreamError as errors:
            raise LoadError(f"{self._gateway.url}: events: {errors.exceptions[0]}") from None
        except* LoadError as errors:  # of the body
            raise LoadError(str(errors.exceptions[0])) from None

    async def _listen(self) -> None:
        result = self._findings
        async with contextlib.aclosing(follow(self._gateway.url, token=self._gateway.token, types=EVENTS)) as events:
            async for event in events:
                data = event.data
                if isinstance(data, Gap):
                    result.events_lost += 1
                elif isinstance(data, Scored) and data.call_id in result.began:
                    at_s = time.monotonic() - self._zero_s
                    late_ms = 1000 * (at_s - result.began[data.call_id] - data.media_time_s)
                    result.delays.append((round(at_s, 3), round(late_ms, 2)))
                    self._recent_ms.append(late_ms)
                elif isinstance(data, CallEnded) and data.call_id in result.began:
                    result.ended.add(data.call_id)
                    if result.ended >= result.began.keys() - result.failed.keys():
                        self._all_ended.set()

    async def _follow_sender(self, sender: Process) -> None:
        """Start a sender, and handle its messages until it ends."""
        _write(sender, Go(self._zero_s))
        result = self._findings
        while (message := await _read(sender)) is not None:
            if isinstance(message, Began):
                result.began[message.call_id] = message.at_s - self._zero_s
            elif isinstance(message, Failed):
                result.failed[message.call_id] = message.reason
            elif isinstance(message, Progress):
                result.sender_late_s = max(result.sender_late_s, message.late_s)
        if fault := await _fault(sender):
            result.partial = fault

    async def _watch(self) -> None:
        """Read the metrics once a second until cancelled, and once more at the end."""
        metrics = Metrics(self._gateway.url, self._gateway.token)
        first = before = await self._read(metrics)
        before_s = time.monotonic()
        try:
            while True:
                await asyncio.sleep(1.0 - (time.monotonic() - self._zero_s) % 1.0)
                reading, now_s = await self._read(metrics), time.monotonic()
                self._note(first, before, reading, now_s - before_s)
                before, before_s = reading, now_s
        finally:
            self._count_windows(first, await self._read(metrics))
            await metrics.close()

    async def _read(self, metrics: Metrics) -> Reading | None:
        try:
            return await metrics.read()
        except MetricsError as error:
            self._findings.unread = str(error)
            return None

    def _note(self, first: Reading | None, before: Reading | None, now: Reading | None, passed_s: float) -> None:
        result = self._findings
        recent_ms, self._recent_ms = self._recent_ms, []
        p50, p99 = delay_of_second(recent_ms)
        self._count_windows(first, now)
        known = now is not None and before is not None
        cpu_s = now.get(_CPU) - before.get(_CPU) if now is not None and before is not None else 0.0
        result.moments.append(
            Moment(
                at_s=round(time.monotonic() - self._zero_s, 2),
                calls_open=result.open_calls,
                calls=int(now.get("callscreen_calls")) if now is not None else None,
                cpu_cores=round(cpu_s / passed_s, 3) if known else None,
                rss_mb=round(now.get("process_resident_memory_bytes") / 1e6, 1) if now is not None else None,
                windows_scored=result.windows.get("scored", 0) if now is not None else None,
                windows_skipped=result.skipped or 0 if now is not None else None,
                overload_step=int(now.get("callscreen_overload_step")) if now is not None else None,
                delay_p50_ms=p50,
                delay_p99_ms=p99,
            )
        )
        self._on_moment(result)

    def _count_windows(self, first: Reading | None, now: Reading | None) -> None:
        if first is not None and now is not None:
            self._findings.windows = {
                outcome: int(count - first.windows.get(outcome, 0.0)) for outcome, count in sorted(now.windows.items())
            }


_CPU = "process_cpu_seconds_total"


async def _read(sender: Process) -> Message | None:
    """Return the next message of a sender; None when it has ended."""
    assert sender.stdout is not None
    line = await sender.stdout.readline()
    return msgspec.json.decode(line, type=Message) if line else None


async def _fault(sender: Process) -> str:
    """Wait until a sender has ended; return its error, or an empty string."""
    assert sender.stderr is not None
    stderr = (await sender.stderr.read()).decode(errors="replace").strip()
    code = await sender.wait()
    return f"a sender ended with {code}: {stderr.splitlines()[-1] if stderr else 'no reason given'}" if code else ""


def _write(sender: Process, what: Order | Go) -> None:
    assert sender.stdin is not None
    sender.stdin.write(msgspec.json.encode(what) + b"\n")


async def _end(senders: list[Process]) -> None:
    """Let the senders hang up, and make sure that they have ended."""
    for sender in senders:
        assert sender.stdin is not None
        sender.stdin.close()
    for sender in senders:
        try:
            await asyncio.wait_for(sender.communicate(), STOPS_WITHIN_S)
        except TimeoutError:
            sender.kill()
            await sender.wait()
