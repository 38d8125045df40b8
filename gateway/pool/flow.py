"""Congestion control: how many jobs a gateway has in the pool at once.  [S]

The pool serves jobs first in, first out, while a gateway's backlog orders windows by the need of their leg
(`verification.Rank`), and a job that waits too long in the pool is wasted. So a gateway sends only as many jobs as the
pool takes soon. The limit follows TCP's congestion window (RFC 5681): it doubles each round while jobs are taken soon
(slow start); after the first late job it grows by one job each round, and shrinks by a quarter whenever jobs wait or
answers are missing. It grows only while it is reached (RFC 7661): a quiet hour does not show what the pool can take in
a busy minute. This way all gateways get their share of the pool.
"""

from __future__ import annotations

FIRST, MAX_JOBS = 2.0, 256.0
"""Jobs in flight, at the beginning and at most."""
SOON_S = 0.5
"""A job that waits longer than this for a verifier counts as late."""
DECREASE = 0.75
"""Factor of the limit after a late or lost job."""


class Flow:
    """The limit on jobs in flight, adapted to how long jobs waited."""

    def __init__(self) -> None:
        self.limit = FIRST
        self._doubling = True
        self._less_until_s = float("-inf")

    def answered(self, waited_s: float, now_s: float, *, is_full: bool) -> None:
        """Adapt to an answered job. The model's own time does not count.

        Args:
            waited_s: until a verifier took it.
            now_s: monotonic time.
            is_full: whether the limit was reached.
        """
        if waited_s > SOON_S:
            self.lost(now_s)
        elif is_full:
            self.limit = min(MAX_JOBS, self.limit + (1.0 if self._doubling else 1 / self.limit))

    def lost(self, now_s: float) -> None:
        """Adapt to a job without an answer in time. Losses within `SOON_S` count once."""
        self._doubling = False
        if now_s >= self._less_until_s:
            self.limit = max(1.0, DECREASE * self.limit)
            self._less_until_s = now_s + SOON_S
