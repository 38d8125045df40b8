"""Measures the delay of the gateway, and follows the steps of `gateway.call.overload`.  [IO]"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from prometheus_client import Counter, Gauge

from gateway import clock, logs
from gateway.call.overload import Overload, Step

STEP = Gauge("callscreen_overload_step", "What is given up: 0 nothing, 1 verifications, 2 hop, 3 windows, 4 new calls.")
STEPS = Counter("callscreen_overload_steps_total", "Steps taken, up or down.", ["to"])
DELAY = Gauge("callscreen_delay_seconds", "The delay that a window meets: of the event loop, or of the scorer's queue.")

INTERVAL_S = 0.1
"""Interval of the measurement."""
LATE_S = 0.5
"""If the event loop is later than this, audio is discarded until it has caught up."""
_log = logs.get(__name__)


class Load:
    """Measures the delay: call `start` before the first call, `close` after the last."""

    def __init__(self, oldest_wait_s: Callable[[], float]) -> None:
        """`oldest_wait_s` returns how long the window that is scored next has waited."""
        self._oldest_wait_s = oldest_wait_s
        self._overload = Overload()
        self._watch: asyncio.Task[None] | None = None
        self._measured_s = math.inf

    @property
    def step(self) -> Step:
        """Current step."""
        return self._overload.step

    @property
    def stride(self) -> int:
        """Current number of hops from one window of a leg to the next."""
        return self._overload.stride

    def is_late(self, now_s: float) -> bool:
        """Whether the event loop is so late at `now_s` that audio must be discarded.

        An overloaded loop processes everything that has arrived in each round, so its rounds become longer and longer:
        the delay would grow without limit although no window waits for the scorer.
        """
        return now_s - self._measured_s > INTERVAL_S + LATE_S

    def start(self) -> None:
        """Start to measure. Needs a running loop."""
        self._watch = asyncio.create_task(self._measure(), name="load")

    async def close(self) -> None:
        """Stop."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def _measure(self) -> None:
        STEP.set(self.step)
        while True:
            self._measured_s = clock.monotonic_s()
            await asyncio.sleep(INTERVAL_S)
            now_s = clock.monotonic_s()
            delay_s = max(now_s - self._measured_s - INTERVAL_S, self._oldest_wait_s())
            DELAY.set(delay_s)
            if self._overload.observe(delay_s, now_s):
                STEP.set(self.step)
                STEPS.labels(self.step.reason).inc()
                _log.warning("overload", step=self.step.reason, stride=self.stride, delay_ms=round(1000 * delay_s))
