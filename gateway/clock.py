"""The only reader of time: everything else is told it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_monotonic_s: Callable[[], float] = time.monotonic
_thread_cpu_s: Callable[[], float] = time.thread_time
_began: datetime | None = None


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; for lags, deadlines and durations."""
    return _monotonic_s()


def utc_now() -> datetime:
    """The wall clock, for the `time` of an event and nothing else."""
    return datetime.now(UTC) if _began is None else _began + timedelta(seconds=_monotonic_s())


def thread_cpu_s() -> float:
    """CPU time that the calling thread has used: what something costs, however busy the machine is."""
    return _thread_cpu_s()


@contextmanager
def virtual(now_s: Callable[[], float], began: datetime) -> Iterator[None]:
    """Let `now_s` be the time in this process, for calls that are simulated faster than time goes by.

    Computing takes no time then, so that nothing depends on how busy the machine is.

    Args:
        now_s: seconds since `began`; never goes back.
        began: an aware datetime.
    """
    global _monotonic_s, _thread_cpu_s, _began
    kept = _monotonic_s, _thread_cpu_s, _began
    _monotonic_s, _thread_cpu_s, _began = now_s, float, began
    try:
        yield
    finally:
        _monotonic_s, _thread_cpu_s, _began = kept
