"""Rate limits of a stream: leaky buckets.  [S]

A live call sends one second of audio per second. A peer that sends more for long replays a recording or attacks the
model; both would delay other calls.
"""

from __future__ import annotations

from prometheus_client import Counter

from gateway.errors import TooFast

TOO_FAST = Counter("callscreen_too_fast_total", "Streams ended because they sent faster than allowed.", ["what"])


class Pace:
    """One rate limit of one stream."""

    def __init__(self, what: str, per_s: float, burst: float, expected: str) -> None:
        """Allow `burst` at once and `per_s` per second in the long run, in any unit.

        Args:
            what: name of the limit in the metric and in errors.
            expected: for the error, e.g. ``at most 400 a second (`max_messages_per_s`)``.
        """
        self._what = what
        self._per_s = per_s
        self._burst = burst
        self._expected = expected
        self._level = 0.0
        self._at_s = 0.0

    def take(self, amount: float, now_s: float) -> None:
        """Count `amount`. Raises TooFast if the bucket overflows."""
        self._level = max(0.0, self._level - self._per_s * (now_s - self._at_s)) + amount
        self._at_s = now_s
        if self._level > self._burst:
            TOO_FAST.labels(self._what).inc()
            raise TooFast(f"{self._what}: expected {self._expected}, got more for too long")


def messages(per_s: float, burst_s: float) -> Pace:
    """Return the limit on a connection's messages; those of `burst_s` seconds may come at once."""
    return Pace("messages", per_s, per_s * burst_s, f"at most {per_s:g} a second (`max_messages_per_s`)")


def media(speed: float, burst_s: float) -> Pace:
    """Return the limit on a leg's seconds of audio."""
    return Pace("media", speed, burst_s, f"at most {speed:g} times real time (`max_speed`)")
