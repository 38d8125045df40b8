"""The steps by which an overloaded gateway reduces its work, and when they are taken.  [S]

The measure is the delay that a window meets now. While it stays above `RAISE_S`, one more step is taken; while it stays
below `CLEAR_S`, one is taken back. Taking back is slower, so that a load at the limit does not cause oscillation.

=======================  ===================================================================== step
change, in addition to those above it =======================
===================================================================== `NONE`                   none
`FEWER_VERIFICATIONS`    the verifier scores only legs in doubt or with an alert `LONGER_HOP`             windows start
every second hop; each sample is still in at least one `FEWER_WINDOWS`          windows start every sixth hop, audio
between them is not decoded; no verifications `NO_NEW_CALLS`           new calls are refused; while that is not enough,
windows become ever fewer =======================  =====================================================================

Beyond that, single windows are skipped (`gateway.call.scorer`) and single payloads discarded (`Load.is_late`), so that
the delay is always bounded.
"""

from __future__ import annotations

from enum import IntEnum

RAISE_S = 0.25
CLEAR_S = 0.1
"""Delay of a window; without overload it is some 0.03 s."""
RAISE_AFTER_S = 1.0
CLEAR_AFTER_S = 5.0
"""How long the delay must be there before the next step."""


class Step(IntEnum):
    """The steps of overload."""

    NONE = 0
    FEWER_VERIFICATIONS = 1
    LONGER_HOP = 2
    FEWER_WINDOWS = 3
    NO_NEW_CALLS = 4

    @property
    def reason(self) -> str:
        """The `reason` of ``coverage.reduced``."""
        return self.name.lower()


STRIDES = {Step.NONE: 1, Step.FEWER_VERIFICATIONS: 1, Step.LONGER_HOP: 2, Step.FEWER_WINDOWS: 6, Step.NO_NEW_CALLS: 6}
"""Hops from one window of a leg to the next, at least."""
MAX_STRIDE = 48
"""Greatest number of hops, when there is no further step: a window of 3 s in 48."""


class Overload:
    """Follows the delay of windows: call `observe` several times a second, and apply `step` and `stride`."""

    def __init__(self) -> None:
        self.step = Step.NONE
        self.stride = STRIDES[Step.NONE]
        """Hops from one window of a leg to the next."""
        self._since_s: float | None = None
        """Since when the delay has been on its current side."""
        self._side = 0

    def observe(self, delay_s: float, now_s: float) -> bool:
        """Add the delay at `now_s`, on a monotonic clock; return whether `step` or `stride` changed."""
        side = (delay_s > RAISE_S) - (delay_s < CLEAR_S)
        if side != self._side or self._since_s is None:
            self._side, self._since_s = side, now_s
        after_s = RAISE_AFTER_S if side > 0 else CLEAR_AFTER_S
        if not side or now_s - self._since_s < after_s:
            return False
        self._since_s = now_s
        before = self.step, self.stride
        self._take(side)
        return (self.step, self.stride) != before

    def _take(self, side: int) -> None:
        """Take one step, up or down; beyond the last step, halve or double the number of windows."""
        if side > 0 and self.step is Step.NO_NEW_CALLS:
            self.stride = min(2 * self.stride, MAX_STRIDE)
        elif side < 0 and self.stride > STRIDES[self.step]:
            self.stride //= 2
        else:
            self.step = Step(max(self.step + side, Step.NONE))
            self.stride = STRIDES[self.step]
