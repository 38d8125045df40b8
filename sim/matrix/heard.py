"""What was heard: of one leg in one cell, and in all.  [S]"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sim.matrix.cells import Cell


@dataclass(frozen=True, slots=True)
class Heard:
    """One leg in one cell: who spoke, and what the gateway said of it. Times in seconds of the call."""

    cell: int
    """Number of the cell."""
    call: str
    leg: str
    label: str
    system: str
    speaker: str
    talk_s: float
    """How long it speaks, breaths included."""
    turns: tuple[tuple[float, float], ...]
    """From when to when."""
    scores: tuple[tuple[float, float], ...]
    """End of each window scored, and the rolling probability then that the voice is synthetic."""
    alerts: tuple[tuple[str, float, float], ...]
    """Stage, media time, probability."""
    time_to_alert_s: Mapping[str, float]
    """By stage: from the first synthetic speech to the alert's arrival; empty for people."""
    verdict: str | None
    p_synthetic: float | None
    """At the end; None when nothing was scored."""

    @property
    def is_synthetic(self) -> bool:
        """Whether a machine spoke."""
        return self.label == "synthetic"

    @property
    def p_highest(self) -> float:
        """The highest rolling probability: an alert is raised where this passes the threshold.

        An alert may be raised between two scores, by what the verifier says.
        """
        return max((*(p for _, p in self.scores), *(p for _, _, p in self.alerts)), default=0.0)

    def count(self, stage: str) -> int:
        """Return how many alerts of that stage there were."""
        return sum(alert[0] == stage for alert in self.alerts)


@dataclass(slots=True)
class Played:
    """What has been heard so far."""

    cells: Sequence[Cell]
    legs: list[Heard] = field(default_factory=list)
    calls_done: int = 0
    models: tuple[str, ...] = ()
    """That the gateway judged with."""
    alert_p: float = 1.0
    """The probability from which it raised an alert."""
    problems: list[str] = field(default_factory=list)
    """Why it is not all; empty when it is."""
