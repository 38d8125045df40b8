"""What is given up, and in which order, when windows come faster than they can be judged.  [S]

One number tells how far behind the gateway is: the delay that a window meets now. Where it stays above `RAISE_S`, one
step more is taken; where it stays below `CLEAR_S`, one is taken back. Steps back take longer than steps ahead, so that
a load at the limit does not make it go back and forth.

=======================  =====================================================================
step                     what changes, besides all above it
=======================  =====================================================================
`NONE`                   nothing
`FEWER_VERIFICATIONS`    the verifier hears only legs that are in doubt or alerted on
`LONGER_HOP`             windows start every second hop; each sample is still in one at least
`FEWER_WINDOWS`          windows start every sixth hop, audio between them is not even decoded; no verifications
`NO_NEW_CALLS`           calls that are not known yet are refused; while that is not enough, ever fewer windows
=======================  =====================================================================

What is still too much is skipped window by window (`gateway.call.scorer`) and payload by payload (`Load.is_late`), so
that delay stays bounded in any case.
"""

from __future__ import annotations

from enum import IntEnum

RAISE_S = 0.25
CLEAR_S = 0.1
"""Delay of a window: live windows wait some 0.03 s."""
RAISE_AFTER_S = 1.0
CLEAR_AFTER_S = 5.0
"""For how long the delay must lie there before the next step."""


class Step(IntEnum):
    """How much is given up."""

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
MOST_STRIDE = 48
"""At most, where there is no further step: a window of 3 s in 48."""


class Overload:
    """Follows the delay of windows: `observe` it several times a second, and obey `step`."""

    def __init__(self) -> None:
        self.step = Step.NONE
        self.stride = STRIDES[Step.NONE]
        """Hops from one window of a leg to the next."""
        self._since_s: float | None = None
        """From when on the delay has lain on the side where it is now."""
        self._side = 0

    def observe(self, delay_s: float, now_s: float) -> bool:
        """Take the delay that a window meets at `now_s`, by any clock that never goes back; True if `step` or `stride`
        changed."""
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
        """Go one step up or down; beyond the last step, windows become fewer by half."""
        if side > 0 and self.step is Step.NO_NEW_CALLS:
            self.stride = min(2 * self.stride, MOST_STRIDE)
        elif side < 0 and self.stride > STRIDES[self.step]:
            self.stride //= 2
        else:
            self.step = Step(max(self.step + side, Step.NONE))
            self.stride = STRIDES[self.step]
