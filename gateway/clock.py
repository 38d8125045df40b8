"""The only reader of time: everything else is told it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; for lags, deadlines and durations."""
    return time.monotonic()


def utc_now() -> datetime:
    """The wall clock, for the `time` of an event and nothing else."""
    return datetime.now(UTC)


def thread_cpu_s() -> float:
    """CPU time that the calling thread has used: what something costs, however busy the machine is."""
    return time.thread_time()
