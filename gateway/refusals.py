"""Whoever is refused is counted, and told to the log: each kind a few times a minute, however many come.  [IO]

A flood of nonsense must not become a flood of lines: they cost more than the refusals, and fill a disk.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter

from gateway import clock

REFUSED = Counter(
    "callscreen_refused_total",
    "Connections, requests, streams and messages that were refused or broken off, by the kind of error.",
    ["door", "error"],
)
LINES = 20
"""Of one kind in one period; the first line of the next one says how many were left out."""
PERIOD_S = 10.0


class _Lines:
    """How many lines of one kind there were lately."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._count = 0

    def take(self, now_s: float) -> int | None:
        """Return None when there were too many, else how many were left out before this one."""
        left_out = 0
        if now_s - self._since_s >= PERIOD_S:
            left_out = max(0, self._count - LINES)
            self._since_s, self._count = now_s, 0
        self._count += 1
        return left_out if self._count <= LINES else None


_lines: dict[str, _Lines] = {}


def note(log: Any, event: str, door: str, error: Exception | str, **facts: object) -> None:
    """Count and log a refusal.

    Args:
        log: of the module that refuses.
        event: what is said of all of its kind; always the same words.
        door: where it came in: ``http``, ``events``, ``sip``, ``audiosocket``, ``rtp``, or the name of a door.
        error: why; where it is no exception, one word for it.
        facts: more for the line.
    """
    kind = error if isinstance(error, str) else type(error).__name__
    REFUSED.labels(door, kind).inc()
    left_out = _lines.setdefault(event, _Lines()).take(clock.monotonic_s())
    if left_out is not None:
        log.warning(event, **facts, error=str(error), **({"left_out": left_out} if left_out else {}))
