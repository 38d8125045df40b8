"""How many jobs of a gateway are in the pool at once.  [S]

What waits in the pool waits in the order in which it came, and what waits in the gateway by the need of its leg
(`verification.Rank`); and a job that waits too long in the pool has been sent for nothing. So the pool is given only
as much as it takes soon: one job more for each round of jobs that were taken soon, a quarter less once jobs wait or
answers are missing. This is how TCP shares a line that nobody knows the width of (RFC 5681), and all gateways get their
part of the pool in the same way.
"""

from __future__ import annotations

FIRST, MOST = 8.0, 256.0
"""Jobs at once, at the beginning and at most."""
SOON_S = 0.5
"""A job that waits for longer until a verifier takes it, waits behind others."""
LESS = 0.75


class Flow:
    """Counts nothing: it is told how long jobs waited, and says how many may be under way."""

    def __init__(self) -> None:
        self.limit = FIRST
        self._less_until_s = float("-inf")

    def answered(self, waited_s: float, now_s: float) -> None:
        """A job was answered that had waited for so long; how long the model then took says nothing of others."""
        if waited_s > SOON_S:
            self.lost(now_s)
        else:
            self.limit = min(MOST, self.limit + 1 / self.limit)

    def lost(self, now_s: float) -> None:
        """A job was not answered in time; many at once are one sign, not many."""
        if now_s >= self._less_until_s:
            self.limit = max(1.0, LESS * self.limit)
            self._less_until_s = now_s + SOON_S
