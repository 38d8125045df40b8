"""Determines which ``coverage.reduced`` events a leg gets: audio or windows that were not scored.  [S]"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from prometheus_client import Counter

from gateway.call.leg import LegCounters
from gateway.call.overload import Step

COVERAGE_MISSING_S = 0.5
"""Lost or discarded audio from which coverage is reduced; less is a bad packet or two."""
OVERLOAD = "overload"
MEDIA_LOST = "media_lost"
"""Reasons of ``coverage.reduced``."""
SHED = Counter("callscreen_audio_shed_seconds_total", "Audio left unheard, because of overload.")


class Counts(TypedDict):
    """Audio and windows that were not scored so far, by field of the events."""

    missing_s: float
    shed_s: float
    windows_skipped: int


class Coverage:
    """The coverage of one leg. Each reason is reported once; repetitions are in the counts."""

    def __init__(self, counters: LegCounters) -> None:
        self.reported: list[str] = []
        """Reasons reported so far, in order."""
        self._counters = counters
        self._noted_s = 0.0

    def is_new(self, reason: str) -> bool:
        """Record a reason; return whether it must be reported."""
        if reason in self.reported:
            return False
        self.reported.append(reason)
        return True

    def note_shed(self) -> bool:
        """Count discarded audio in the metric; only now and then, since this must be cheap under overload.

        Returns:
            Whether it was counted.
        """
        if (shed_s := self._counters.shed_s - self._noted_s) < COVERAGE_MISSING_S:
            return False
        SHED.inc(shed_s)
        self._noted_s = self._counters.shed_s
        return True

    def new_reasons(self, windows_skipped: int, step: Step) -> Iterator[str]:
        """Return the current reasons that were not reported yet, for a leg at this `step` of overload."""
        step = min(step, Step.FEWER_WINDOWS)  # the last step concerns new calls only
        applies = {
            step.reason: step is not Step.NONE,
            OVERLOAD: windows_skipped > 0 or self._counters.shed_s >= COVERAGE_MISSING_S,
            MEDIA_LOST: self._counters.missing_s >= COVERAGE_MISSING_S,
        }
        return (reason for reason, does in applies.items() if does and self.is_new(reason))

    def counts(self, windows_skipped: int) -> Counts:
        """Return the counts so far, by field of the events."""
        counters = self._counters
        return {
            "missing_s": round(counters.missing_s, 3),
            "shed_s": round(counters.shed_s, 3),
            "windows_skipped": windows_skipped,
        }
