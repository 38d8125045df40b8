"""The clock of the gateway. No other module reads the time, so that simulations can replace it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_monotonic_s: Callable[[], float] = time.monotonic
_thread_cpu_s: Callable[[], float] = time.thread_time
_began: datetime | None = None


def monotonic_s() -> float:
    """Seconds on a monotonic clock; for lags, deadlines and durations."""
    return _monotonic_s()


def utc_now() -> datetime:
    """The wall clock; for timestamps and expiry only."""
    return datetime.now(UTC) if _began is None else _began + timedelta(seconds=_monotonic_s())


def thread_cpu_s() -> float:
    """CPU seconds used by the calling thread: the cost of work, independent of other load."""
    return _thread_cpu_s()


@contextmanager
def virtual(now_s: Callable[[], float], began: datetime) -> Iterator[None]:
    """Replace the clock of this process by `now_s`, to simulate calls faster than real time.

    CPU time is then zero, so that results do not depend on the machine's load.

    Args:
        now_s: seconds since `began`; monotonic.
        began: a datetime with a time zone.
    """
    global _monotonic_s, _thread_cpu_s, _began
    before = _monotonic_s, _thread_cpu_s, _began
    _monotonic_s, _thread_cpu_s, _began = now_s, float, began
    try:
        yield
    finally:
        _monotonic_s, _thread_cpu_s, _began = before
