"""The policy in force, and what it comes to for one leg.  [S]"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge

from detection import Policy
from gateway.ingest.events import LegDescription, StreamStarted
from gateway.policy import Loaded, facts_of

IN_FORCE = Gauge("callscreen_policy", "1 for the policy in force.", ["version"])


@dataclass(frozen=True, slots=True)
class Judge:
    """The light model alone, or its fusion with the verifier: what holds where the policy says nothing else."""

    rules: Policy
    calibration: str | None
    """Id of what makes probabilities of the raw output."""


@dataclass(frozen=True, slots=True)
class LegPolicy:
    """What holds for one leg, from its start to its end."""

    rules: Policy
    calibration: str | None
    verifier: bool
    """Whether the verifier hears it."""
    screen: bool
    """Whether it is scored at all."""
    version: str | None
    """Of the policy file; None: there is none."""


class Policies:
    """Says what holds for a leg that starts now; legs that run keep what they started with."""

    def __init__(self, alone: Judge, fused: Judge | None, loaded: Loaded | None = None) -> None:
        """Take the light model, its fusion where there is a verifier, and the policy file where there is one.

        Raises:
            ConfigError: as `use`.
        """
        self._alone, self._fused = alone, fused
        self._loaded: Loaded | None = None
        if loaded is not None:
            self.use(loaded)

    @property
    def usual(self) -> Judge:
        """What holds where the policy says nothing else."""
        return self._fused or self._alone

    @property
    def version(self) -> str | None:
        """Of the policy file in force."""
        return self._loaded.version if self._loaded else None

    def use(self, loaded: Loaded) -> None:
        """Put a policy in force, for legs that start from now on.

        Raises:
            ConfigError: thresholds that do not go with those of the settings or the models; the old policy stays.
        """
        engine = [judge.rules for judge in (self._alone, self._fused) if judge]
        loaded.policy.check_thresholds(min(one.raise_p for one in engine), max(one.clear_p for one in engine))
        self._loaded = loaded

    def tell(self) -> None:
        """Tell Prometheus that this is what is live."""
        IN_FORCE.clear()
        if self._loaded is not None:
            IN_FORCE.labels(self._loaded.version).set(1)

    def for_leg(self, stream: StreamStarted, leg: LegDescription) -> LegPolicy:
        """Return what holds for a leg that starts now."""
        if self._loaded is None:
            judge = self.usual
            return LegPolicy(judge.rules, judge.calibration, self._fused is not None, screen=True, version=None)
        held = self._loaded.policy.resolve(facts_of(stream, leg))
        given: dict[str, Any] = {key: one.value for key, one in held.items()}
        screen = given.pop("screen", True)
        judge = (self._fused if given.pop("verifier", True) else None) or self._alone
        if "alert_p" in given:
            given["raise_p"] = given.pop("alert_p")
        rules = dataclasses.replace(judge.rules, **given)
        return LegPolicy(rules, judge.calibration, judge is self._fused, screen, self._loaded.version)
