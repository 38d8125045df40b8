"""Which lack of coverage is told of a leg: audio or windows that were not judged.  [S]"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from prometheus_client import Counter

from gateway.call.leg import LegCounters
from gateway.call.overload import Step

COVERAGE_MISSING_S = 0.5
"""Audio lost, or left unheard, worth telling of; less is a bad packet or two."""
OVERLOAD = "overload"
MEDIA_LOST = "media_lost"
"""Reasons of ``coverage.reduced``."""
SHED = Counter("callscreen_audio_shed_seconds_total", "Audio left unheard, because of overload.")


class Counts(TypedDict):
    """What was not judged so far, as events state it."""

    missing_s: float
    shed_s: float
    windows_skipped: int


class Coverage:
    """Of one leg. Each reason is told once in its life, for what repeats is in the counts."""

    def __init__(self, counters: LegCounters) -> None:
        self.told: list[str] = []
        """Reasons told so far, in order."""
        self._counters = counters
        self._noted_s = 0.0

    def is_new(self, reason: str) -> bool:
        """Take note of a reason; return whether it is to be told."""
        if reason in self.told:
            return False
        self.told.append(reason)
        return True

    def note_shed(self) -> bool:
        """Count what was left unheard; now and then only, for the less that costs, the more can be heard.

        Returns:
            Whether it was counted.
        """
        if (shed_s := self._counters.shed_s - self._noted_s) < COVERAGE_MISSING_S:
            return False
        SHED.inc(shed_s)
        self._noted_s = self._counters.shed_s
        return True

    def new_reasons(self, windows_skipped: int, step: Step) -> Iterator[str]:
        """Return what holds now and was not told yet, of a leg that is heard at this `step` of overload."""
        step = min(step, Step.FEWER_WINDOWS)  # that new calls are refused is nothing to this one
        holds = {
            step.reason: step is not Step.NONE,
            OVERLOAD: windows_skipped > 0 or self._counters.shed_s >= COVERAGE_MISSING_S,
            MEDIA_LOST: self._counters.missing_s >= COVERAGE_MISSING_S,
        }
        return (reason for reason, does in holds.items() if does and self.is_new(reason))

    def counts(self, windows_skipped: int) -> Counts:
        """Return the counts so far, in the names of the events."""
        counters = self._counters
        return {
            "missing_s": round(counters.missing_s, 3),
            "shed_s": round(counters.shed_s, 3),
            "windows_skipped": windows_skipped,
        }
