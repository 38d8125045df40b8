"""Which verifiers are there, as far as a gateway has heard.  [S]"""

from __future__ import annotations

from gateway.pool.messages import Here, PoolModel

BEAT_S = 2.0
"""Between two signs of life of a verifier."""
GONE_S = 3 * BEAT_S
"""After so long without one it is taken to be gone."""
MOST = 10_000
"""Verifiers that are remembered; what more there are is as if it were not there."""


class Roster:
    """The verifiers that were heard of lately."""

    def __init__(self, model: PoolModel) -> None:
        self._model = model
        self._heard: dict[str, tuple[Here, float]] = {}

    def hear(self, verifier: Here, now_s: float) -> None:
        """Take a sign of life, or of leaving."""
        if verifier.leaving:
            self._heard.pop(verifier.instance, None)
        elif verifier.instance in self._heard or len(self._heard) < MOST:
            self._heard[verifier.instance] = (verifier, now_s)

    def look(self, now_s: float) -> None:
        """Forget those that are gone."""
        gone = [instance for instance, (_, at_s) in self._heard.items() if now_s - at_s > GONE_S]
        for instance in gone:
            del self._heard[instance]

    def clear(self) -> None:
        """Forget all."""
        self._heard.clear()

    @property
    def able(self) -> int:
        """How many have the model that is asked for."""
        return sum(verifier.model == self._model.key for verifier, _ in self._heard.values())

    @property
    def others(self) -> list[str]:
        """Models of those that have another one."""
        others = {verifier.shown for verifier, _ in self._heard.values() if verifier.model != self._model.key}
        return sorted(others)
