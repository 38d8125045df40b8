"""How many jobs of a gateway are in the pool at once.  [S]

What waits in the pool waits in the order in which it came, and what waits in the gateway by the need of its leg
(`verification.Rank`); and a job that waits too long in the pool has been sent for nothing. So the pool is given only
as much as it takes soon. As TCP finds its share of a line that nobody knows the width of (RFC 5681): twice as much
with each round of jobs that were taken soon; from the first that was not, one job more with each round, and a quarter
less whenever jobs wait or answers are missing. The limit only grows while it is what holds jobs back (RFC 7661): what a
quiet hour has let through says nothing of what a busy minute may give. All gateways get their part of the pool so.
"""

from __future__ import annotations

FIRST, MOST = 2.0, 256.0
"""Jobs at once, at the beginning and at most."""
SOON_S = 0.5
"""A job that waits for longer until a verifier takes it, waits behind others."""
LESS = 0.75


class Flow:
    """Counts nothing: it is told how long jobs waited, and says how many may be under way."""

    def __init__(self) -> None:
        self.limit = FIRST
        self._doubling = True
        self._less_until_s = float("-inf")

    def answered(self, waited_s: float, now_s: float, *, is_full: bool) -> None:
        """A job was answered; how long the model took says nothing of others.

        Args:
            waited_s: until a verifier took it.
            now_s: the time, by a clock that never goes back.
            is_full: whether as many jobs were under way as may be.
        """
        if waited_s > SOON_S:
            self.lost(now_s)
        elif is_full:
            self.limit = min(MOST, self.limit + (1.0 if self._doubling else 1 / self.limit))

    def lost(self, now_s: float) -> None:
        """A job was not answered in time; many at once are one sign, not many."""
        self._doubling = False
        if now_s >= self._less_until_s:
            self.limit = max(1.0, LESS * self.limit)
            self._less_until_s = now_s + SOON_S
