"""Plays many calls on one clock, and follows the gateway's events.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from gateway.alerts.cloud_event import CloudEvent
from gateway.client.events import EventStreamError
from sim.caller import CallFailed, Gateway, play
from sim.calls import Call
from sim.observe import Ledger

LISTEN_AHEAD_S = 0.3
"""Time for the subscription to be open before the first call."""
VERDICTS_WITHIN_S = 20.0
"""How long to wait for the verdicts after the last call."""
SCORES_UP_TO_LEGS = 40
"""With more legs than this, `score` events are not requested: they would be too many to show."""

INTERRUPTED = "interrupted"
"""Reason of a call that was not played to its end."""
EVENTS = (
    "call.started",
    "leg.started",
    "leg.ended",
    "call.ended",
    "alert.raised",
    "alert.cleared",
    "voice.expected",
    "coverage.reduced",
)

OnEvent = Callable[[CloudEvent, float], None]


class FleetError(Exception):
    """The gateway's events cannot be followed."""


class ScenarioClock:
    """Scenario time from the creation of this object on; `speed` times as fast as real time."""

    def __init__(self, speed: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._speed = speed
        self._zero_s = self._loop.time() + LISTEN_AHEAD_S

    def now_s(self) -> float:
        """Return the time since the start of the scenario."""
        return (self._loop.time() - self._zero_s) * self._speed

    async def until(self, due_s: float) -> float:
        """Wait until this time; return the delay in real seconds."""
        if (wait_s := (due_s - self.now_s()) / self._speed) > 0:
            await asyncio.sleep(wait_s)
        return (self.now_s() - due_s) / self._speed


class Fleet:
    """Calls that are played together."""

    def __init__(
        self,
        calls: Sequence[Call],
        gateway: Gateway,
        speed: float,
        restarts_s: Sequence[float] = (),
        restart_takes_s: float = 0.0,
    ) -> None:
        """Take the calls, the gateway, and the times of its restarts, for which `gateway.restart` must be set."""
        self.calls = calls
        self.ledger = Ledger((call.call_id, leg) for call in calls for leg in call.parts)
        self.failures: dict[str, str] = {}
        """Why a call could not be played to its end, by call id."""
        self.clock: ScenarioClock | None = None
        self.interrupted = False
        """Whether `run` was cancelled before the end; unfinished calls are among the `failures`."""
        self._gateway = gateway
        self._speed = speed
        self._restarts_s, self._restart_takes_s = restarts_s, restart_takes_s
        self._played = False
        self._all_verdicts = asyncio.Event()

    async def run(self, on_event: OnEvent) -> None:
        """Play all calls and wait for the verdicts; when cancelled (Ctrl-C), end with the results so far.

        Args:
            on_event: called with each event of these calls and its time of arrival in scenario time.

        Raises:
            FleetError: the gateway's events cannot be followed. A call that fails is added to `failures`.
        """
        self.clock = ScenarioClock(self._speed)
        try:
            await self._run(self.clock, on_event)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            self.interrupted = True
            for call_id in self._without_verdict():
                self.failures.setdefault(call_id, INTERRUPTED)

    async def _run(self, clock: ScenarioClock, on_event: OnEvent) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(clock, on_event), name="listen")
                playing = [group.create_task(self._play(call, clock), name=call.call_id) for call in self.calls]
                restarting = group.create_task(self._restart(clock), name="restart")
                await asyncio.wait([*playing, restarting])
                self._played = True
                self._check_verdicts()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._all_verdicts.wait(), VERDICTS_WITHIN_S)
                listening.cancel()
        except* (EventStreamError, ValueError) as errors:
            raise FleetError(f"{self._gateway.url}: events: {errors.exceptions[0]}") from None

    async def _play(self, call: Call, clock: ScenarioClock) -> None:
        try:
            await play(call, self._gateway, clock)
        except CallFailed as error:
            self.failures[call.call_id] = str(error)

    async def _restart(self, clock: ScenarioClock) -> None:
        for due_s in self._restarts_s:
            await clock.until(due_s)
            assert self._gateway.restart is not None
            await self._gateway.restart(self._restart_takes_s)

    async def _listen(self, clock: ScenarioClock, on_event: OnEvent) -> None:
        types = EVENTS if len(self.ledger.legs) > SCORES_UP_TO_LEGS else (*EVENTS, "score")
        following = self._gateway.follow(self._gateway.url, token=self._gateway.token, types=types)
        async with contextlib.aclosing(following) as events:
            async for event in events:
                if self.ledger.update(event, clock.now_s()):
                    on_event(event, clock.now_s())
                    self._check_verdicts()

    def _check_verdicts(self) -> None:
        if self._played and not self._without_verdict() - self.failures.keys():
            self._all_verdicts.set()

    def _without_verdict(self) -> set[str]:
        """Return the calls with a leg without a verdict."""
        return {call_id for (call_id, _), seen in self.ledger.legs.items() if seen.verdict is None}
