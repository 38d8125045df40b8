"""Measures how far behind the gateway is, and says which step of `gateway.call.overload` holds.  [IO]"""

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

EVERY_S = 0.1
"""Between two looks."""
LATE_S = 0.5
"""Once the event loop is this late, audio is left unheard until it has caught up."""
_log = logs.get(__name__)


class Load:
    """Looks at the delay for as long as it runs: `start` before the first call, `close` after the last."""

    def __init__(self, oldest_wait_s: Callable[[], float]) -> None:
        """`oldest_wait_s` returns for how long the window that is scored next has waited."""
        self._oldest_wait_s = oldest_wait_s
        self._overload = Overload()
        self._watch: asyncio.Task[None] | None = None
        self._looked_s = math.inf

    @property
    def step(self) -> Step:
        """What is given up now."""
        return self._overload.step

    @property
    def stride(self) -> int:
        """Hops from one window of a leg to the next, now."""
        return self._overload.stride

    def is_late(self, now_s: float) -> bool:
        """Whether the event loop has been busy for so long at `now_s` that it must do less at once.

        A loop that has too much to do takes all that has come in each round, and its rounds grow longer and longer: the
        delay would grow without bound while no window waits for the scorer.
        """
        return now_s - self._looked_s > EVERY_S + LATE_S

    def start(self) -> None:
        """Begin to look. Must be called on the event loop."""
        self._watch = asyncio.create_task(self._look(), name="load")

    async def close(self) -> None:
        """Stop."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def _look(self) -> None:
        STEP.set(self.step)
        while True:
            self._looked_s = clock.monotonic_s()
            await asyncio.sleep(EVERY_S)
            now_s = clock.monotonic_s()
            delay_s = max(now_s - self._looked_s - EVERY_S, self._oldest_wait_s())
            DELAY.set(delay_s)
            if self._overload.observe(delay_s, now_s):
                STEP.set(self.step)
                STEPS.labels(self.step.reason).inc()
                _log.warning("overload", step=self.step.reason, stride=self.stride, delay_ms=round(1000 * delay_s))
