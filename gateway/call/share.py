"""A share of a core, as a token bucket of CPU seconds.  [S]"""

from __future__ import annotations

BURST_S = 1.0
"""CPU seconds that may be spent at once after idle time."""


class CpuShare:
    """Limits CPU time: ask `wait_s`, work, then call `spend`.

    The cost of work is known only afterwards, so the bucket may become negative; then the caller waits.
    """

    def __init__(self, share: float, now_s: float) -> None:
        """`share` is in CPU seconds per second, above 0; `now_s` is a time of a monotonic clock."""
        self._share = share
        self._left_s = BURST_S
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds to wait before more may be spent; 0: none."""
        self._left_s = min(BURST_S, self._left_s + self._share * (now_s - self._at_s))
        self._at_s = now_s
        return max(0.0, -self._left_s / self._share)

    def spend(self, cpu_s: float) -> None:
        """Subtract the time spent."""
        self._left_s -= cpu_s
