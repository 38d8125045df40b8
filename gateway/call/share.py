"""A share of a core, as a bucket of CPU seconds that fills with the wall clock.  [S]"""

from __future__ import annotations

BURST_S = 1.0
"""CPU seconds that may be spent at once, after rest."""


class CpuShare:
    """Says when there is CPU time to spend, and is told what was spent: ask `wait_s`, work, tell `spend`.

    What one piece of work costs is known only after it, so the bucket may go below nothing; then it is waited for.
    """

    def __init__(self, share: float, now_s: float) -> None:
        """Take CPU seconds per second of wall time, more than 0; and the time, by any clock that never goes back."""
        self._share = share
        self._left_s = BURST_S
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Return how many seconds of wall time to wait before more may be spent; 0: none."""
        self._left_s = min(BURST_S, self._left_s + self._share * (now_s - self._at_s))
        self._at_s = now_s
        return max(0.0, -self._left_s / self._share)

    def spend(self, cpu_s: float) -> None:
        """Take away what was spent."""
        self._left_s -= cpu_s
