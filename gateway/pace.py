"""How fast a peer may send: a bucket that fills with what comes and drains with time.  [S]

Real calls bring a second of audio a second. Whoever brings more for long replays a recording, or means to keep the
model busy; either is at the expense of everybody else's calls.
"""

from __future__ import annotations

from prometheus_client import Counter

from gateway.errors import TooFast

TOO_FAST = Counter("callscreen_too_fast_total", "Streams ended because they sent faster than allowed.", ["what"])


class Pace:
    """One limit of one stream."""

    def __init__(self, what: str, per_s: float, burst: float, expected: str) -> None:
        """Allow `burst` at once and `per_s` a second for good, in any unit.

        Args:
            what: is limited, as the metric and the error name it.
            expected: ends the error's sentence, e.g. ``at most 400 a second (`max_messages_per_s`)``.
        """
        self._what = what
        self._per_s = per_s
        self._burst = burst
        self._expected = expected
        self._level = 0.0
        self._at_s = 0.0

    def take(self, amount: float, now_s: float) -> None:
        """Count what came. Raises TooFast."""
        self._level = max(0.0, self._level - self._per_s * (now_s - self._at_s)) + amount
        self._at_s = now_s
        if self._level > self._burst:
            TOO_FAST.labels(self._what).inc()
            raise TooFast(f"{self._what}: expected {self._expected}, got more for too long")


def messages(per_s: float, burst_s: float) -> Pace:
    """The limit on the messages of one connection; `burst_s` worth of them may come at once."""
    return Pace("messages", per_s, per_s * burst_s, f"at most {per_s:g} a second (`max_messages_per_s`)")


def media(speed: float, burst_s: float) -> Pace:
    """The limit on the seconds of audio of one leg."""
    return Pace("media", speed, burst_s, f"at most {speed:g} times real time (`max_speed`)")
