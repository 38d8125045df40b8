"""The results of the legs that were played.  [S]"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sim.matrix.cells import Cell


@dataclass(frozen=True, slots=True)
class PlayedLeg:
    """One leg in one cell: its speaker, and the gateway's events. Times are in seconds of the call."""

    cell: int
    """Index of the cell."""
    call: str
    leg: str
    label: str
    system: str
    speaker: str
    talk_s: float
    """Duration of its speech, pauses within turns included."""
    turns: tuple[tuple[float, float], ...]
    """Start and end of each turn."""
    scores: tuple[tuple[float, float], ...]
    """End of each scored window, and the rolling probability at that time."""
    alerts: tuple[tuple[str, float, float], ...]
    """Stage, media time, probability."""
    time_to_alert_s: Mapping[str, float]
    """By stage: from the first synthetic speech to the arrival of the alert; empty for human voices."""
    verdict: str | None
    p_synthetic: float | None
    """At the end; None if no window was scored."""

    @property
    def is_synthetic(self) -> bool:
        """Whether the voice is synthetic."""
        return self.label == "synthetic"

    @property
    def p_highest(self) -> float:
        """The highest rolling probability, with those of alerts.

        A score of the verifier can raise an alert between two `score` events.
        """
        return max((*(p for _, p in self.scores), *(p for _, _, p in self.alerts)), default=0.0)

    def count(self, stage: str) -> int:
        """Return the number of alerts of this stage."""
        return sum(alert[0] == stage for alert in self.alerts)


@dataclass(slots=True)
class Played:
    """The results so far."""

    cells: Sequence[Cell]
    legs: list[PlayedLeg] = field(default_factory=list)
    calls_done: int = 0
    models: tuple[str, ...] = ()
    """Models of the gateway."""
    alert_p: float = 1.0
    """Probability from which the gateway raises an alert."""
    problems: list[str] = field(default_factory=list)
    """Why the results are incomplete; empty if they are complete."""
