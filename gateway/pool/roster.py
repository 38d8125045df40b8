"""The verifiers in the pool, by their announcements.  [S]"""

from __future__ import annotations

from gateway.pool.messages import Here, PoolModel

BEAT_S = 2.0
"""Seconds between two announcements of a verifier."""
GONE_S = 3 * BEAT_S
"""A verifier that has not announced itself for this long is gone."""
MAX_VERIFIERS = 10_000
"""Verifiers that are remembered; further ones are ignored."""


class Roster:
    """The verifiers that announced themselves within `GONE_S`."""

    def __init__(self, model: PoolModel) -> None:
        self._model = model
        self._verifiers: dict[str, tuple[Here, float]] = {}

    def update(self, verifier: Here, now_s: float) -> None:
        """Record an announcement, or delete a verifier that leaves."""
        if verifier.leaving:
            self._verifiers.pop(verifier.instance, None)
        elif verifier.instance in self._verifiers or len(self._verifiers) < MAX_VERIFIERS:
            self._verifiers[verifier.instance] = (verifier, now_s)

    def expire(self, now_s: float) -> None:
        """Delete the verifiers that are gone."""
        gone = [instance for instance, (_, at_s) in self._verifiers.items() if now_s - at_s > GONE_S]
        for instance in gone:
            del self._verifiers[instance]

    def clear(self) -> None:
        """Delete all."""
        self._verifiers.clear()

    @property
    def able(self) -> int:
        """Number of verifiers with this gateway's model."""
        return sum(verifier.model == self._model.key for verifier, _ in self._verifiers.values())

    @property
    def others(self) -> list[str]:
        """Names of the other models in the pool, sorted."""
        others = {verifier.shown for verifier, _ in self._verifiers.values() if verifier.model != self._model.key}
        return sorted(others)
